# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL of a process of ours before each of its writes, one after the other."""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._ca import local
from ansible_collections.certfleet.tls.tests.unit.child_process import in_child

from .workshop import KILLED, Workshop

WRITES = ("open", "mkdir", "link", "unlink", "rename", "fsync", "ftruncate", "pwrite", "chmod")


class Interruption:
    """Counts writes to disk, ledger and the signatures, and kills its own process before the one whose number is given."""

    def __init__(self, at: int, signed: Path) -> None:
        self.at = at
        self.count = 0
        self._signed = signed

    def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Only ever in a child: nothing is put back."""
        for name in WRITES:
            setattr(os, name, self._counted(getattr(os, name)))
        interruption = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                interruption.step()
                return super().execute(*arguments)

            def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
                return super().executemany(sql, (row for row in rows if interruption.step() is None))

        for place, name, replacement in (
            (sqlite3, "connect", functools.partial(sqlite3.connect, factory=Connection)),
            (local, "sign_leaf", self._remembered(local.sign_leaf)),
        ):
            setattr(place, name, replacement)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.step()
            return call(*arguments, **options)

        return counted

    def _remembered(self, sign: Callable[..., Any]) -> Callable[..., Any]:
        """A signature that exists is written down beside the CA, before anything else can happen."""

        def remembered(*arguments: Any, **options: Any) -> Any:
            self.step()
            certificate = sign(*arguments, **options)
            with self._signed.open("a") as file:
                file.write(f"{certificate.serial_number:x}\n")
            self.step()
            return certificate

        return remembered


def killed_at_every_step(
    make: Callable[[], Workshop], work: Callable[[Workshop], object]
) -> Iterable[tuple[Workshop, bool]]:
    """For each number of steps a new host whose process was killed then; the last one was not killed any more."""
    for at in range(1, 500):
        workshop = make()
        interruption = Interruption(at, workshop.folder / "signed")

        def child(workshop: Workshop = workshop, interruption: Interruption = interruption) -> None:
            interruption.install()
            work(workshop)

        status = in_child(child)
        assert status in (0, KILLED), at
        yield workshop, status == KILLED
        if status == 0:
            return
    raise AssertionError("it never ended")


def files(folder: str) -> dict[str, bytes]:
    """What a folder holds, by name; nothing where there is none."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()} if Path(folder).exists() else {}
