# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that a command reloads, such as an init script, and those that need nothing."""

from __future__ import annotations

import os

from .command import is_there, run
from .errors import HostError
from .reload_method import Method, must

_INIT_SCRIPTS = ("/etc/init.d", "/etc/rc.d/init.d")


class Nothing(Method):
    """The service notices new files by itself, or is told by other means."""

    NAME = "none"


class Command(Method):
    """A command, as a list of arguments, never through a shell."""

    NAME = "command"
    OPTIONS = frozenset({"command"})

    def validate(self, *, where: str) -> None:
        """The command is a list with a program in it."""
        argv = self.options.get("command")
        if not isinstance(argv, (list, tuple)) or not argv:
            raise HostError(f"{where}: give the reload command as a list, such as [/etc/init.d/nginx, restart].")
        self.argv = [str(word) for word in argv]

    def obstacle(self) -> str | None:
        """The program is there."""
        if is_there(self.argv[0]):
            return None
        return (
            f"the reload command '{self.argv[0]}' is not there or cannot be run. Install it, or correct reload.command."
        )

    def before_units(self) -> list[str]:
        """The unit that an init script is for systemd, too."""
        folder, program = os.path.split(self.argv[0])
        if folder in _INIT_SCRIPTS:
            return [f"{program}.service"]
        is_by_name = program == "service" and len(self.argv) > 2
        return [f"{self.argv[1]}.service"] if is_by_name and not self.argv[1].startswith("-") else []

    def apply(self) -> None:
        """Run it; anything but exit code 0 is a refusal."""
        must(run(self.argv, timeout=self.timeout), f"the reload command '{' '.join(self.argv)}'")
