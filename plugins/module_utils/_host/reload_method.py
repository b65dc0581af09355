# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all reload methods have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .command import Ran
from .errors import HostError

TIMEOUT = 120.0
_LONGEST = 3600.0


class Method:
    """How one service is brought to read its files again.

    C(OPTIONS) are what a method takes besides C(timeout), the seconds after which a service that hangs is given up.
    check() comes before anything is touched, apply() afterwards; both may come again, in a process that knows nothing of
    the first.
    """

    NAME = ""
    OPTIONS: frozenset[str] = frozenset()

    def __init__(self, options: Mapping[str, Any], *, where: str, files: Sequence[str] = ()) -> None:
        """O(files): what the service reads, and last the folder that its links lead into."""
        self.files = files
        given = {field: value for field, value in options.items() if value not in (None, "", []) and field != "method"}
        self.timeout = _seconds(given.pop("timeout", TIMEOUT), where=where)
        strange = sorted(set(given) - self.OPTIONS)
        if strange:
            raise HostError(f"{where}: the reload method '{self.NAME}' takes no {', '.join(strange)}. Leave it out.")
        self.options = given
        self.validate(where=where)

    def validate(self, *, where: str) -> None:
        """Complain about missing or wrong options."""

    def check(self) -> str | None:
        """Why it cannot work here, with the next step; None when it can. Changes nothing."""
        try:
            return self.obstacle()
        except HostError as exc:
            return str(exc)

    def obstacle(self) -> str | None:
        """What check() answers; may raise HostError instead."""
        return None

    def user(self) -> str | None:
        """The user under whom the service reads its files, where that is known."""
        return None

    def note(self) -> str | None:
        """What is remarkable about the service's state now (down, failing), for the report."""
        return None

    def is_running(self) -> bool | None:
        """Whether there is a service to be told of new files: it runs, or would if it had not failed. None: not known."""
        return None

    def before_units(self) -> list[str]:
        """Units of systemd that read the files when the host starts, as far as that can be known."""
        return []

    def apply(self) -> None:
        """Make the service read its files. Raises HostError when it refuses or hangs."""

    def _action(self, choices: tuple[str, ...], *, where: str) -> None:
        if self.options.get("action", choices[0]) not in choices:
            raise HostError(
                f"{where}: the reload method '{self.NAME}' has the actions {', '.join(choices)}. Choose one of them."
            )


def must(done: Ran, what: str) -> None:
    """Raise HostError for a program that said no."""
    if done.rc:
        raise HostError(f"{what[0].upper()}{what[1:]} failed with exit code {done.rc}: {done.said}")


def _seconds(value: Any, *, where: str) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError) as exc:
        raise HostError(f"{where}: reload.timeout '{value}' is no number. Give seconds.") from exc
    if not 0 < seconds <= _LONGEST:
        raise HostError(f"{where}: reload.timeout {value} is out of bounds. Give seconds, up to {_LONGEST:g}.")
    return seconds
