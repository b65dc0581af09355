# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending a run at its n-th change of the file system, as a kill would: nothing that comes after it is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._host import durable

CHANGES = ("open", "fchown", "fchmod", "fsync", "rename", "symlink", "unlink", "mkdir", "chmod")


class Killed(BaseException):
    """The run ends here. No handler of ours catches it."""


class _CountingOs:
    """C(os), with a count of what changes files."""

    def __init__(self, strike: Callable[[str], None]) -> None:
        self._strike = strike

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CHANGES:
            return real

        def counted(*arguments: Any, **options: Any) -> Any:
            self._strike(name)
            # Flushing changes nothing that a process could see, and takes most of the time.
            return None if name == "fsync" else real(*arguments, **options)

        return counted


@contextmanager
def struck(at: int | None, blow: Callable[[], BaseException] = Killed) -> Iterator[list[str]]:
    """Let the change with this number (from 0) fail before it is made; answers the names of all that came so far."""
    seen: list[str] = []

    def strike(name: str) -> None:
        seen.append(name)
        if at is not None and len(seen) == at + 1:
            raise blow()

    names = vars(durable)
    real = names["os"]
    names["os"] = _CountingOs(strike)
    try:
        yield seen
    finally:
        names["os"] = real
