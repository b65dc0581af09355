# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reload methods that there are, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import HostError
from .reload_command import Command, Nothing
from .reload_docker import Docker
from .reload_method import Method
from .reload_signal import Signal
from .reload_systemd import Systemd

__all__ = ["METHODS", "Method", "method_of"]

METHODS: dict[str, type[Method]] = {method.NAME: method for method in (Nothing, Command, Systemd, Docker, Signal)}


def method_of(options: Mapping[str, Any] | None, *, where: str, files: Sequence[str] = ()) -> Method:
    """The reload method that a user described. Raises HostError for one that there is not."""
    name = str((options or {}).get("method") or "none")
    if name not in METHODS:
        raise HostError(f"{where}: there is no reload method '{name}'. Choose one of {', '.join(METHODS)}.")
    return METHODS[name](options or {}, where=where, files=files)
