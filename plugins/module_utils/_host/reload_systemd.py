# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are units of systemd."""

from __future__ import annotations

import re

from .command import TimedOutError, end_whole, is_there, run
from .errors import HostError
from .reload_method import Method, must

_KINDS = (".service", ".socket", ".target", ".timer", ".path", ".mount", ".slice", ".scope")


class Systemd(Method):
    """A unit of systemd: restarted, or reloaded where C(action) says so."""

    NAME = "systemd"
    OPTIONS = frozenset({"name", "action"})

    def validate(self, *, where: str) -> None:
        """A unit and a known action."""
        name = str(self.options.get("name") or "")
        if not name:
            raise HostError(
                f"{where}: the reload method 'systemd' needs the name of the unit. Write reload: {{name: …}}."
            )
        if name.startswith("-") or any(character.isspace() for character in name):
            raise HostError(f"{where}: '{name}' is no name of a unit. Correct reload.name.")
        self._action(("restart", "reload"), where=where)
        self.unit = name
        self._hung = False

    def obstacle(self) -> str | None:
        """The unit exists and is meant to run. One that failed may have failed for want of a good pair."""
        if not is_there("systemctl"):
            return "there is no systemctl on this host. Choose another reload method, such as command."
        state = self._state()
        if state.get("LoadState") != "loaded":
            return (
                f"systemd knows no unit '{self.unit}' ({state.get('LoadState') or 'not-found'}). Install it, or correct"
                " reload.name."
            )
        if state.get("ActiveState") in ("inactive", "deactivating"):
            return (
                f"the unit '{self.unit}' is stopped, and is not started behind your back. Start it, or set the reload"
                " method to none."
            )
        return None

    def user(self) -> str | None:
        """C(User=) of the unit, unless systemd hands it its files as credentials."""
        user = self._state().get("User") or None
        # Older systemd shows an empty LoadCredential= as something unprintable, so the unit's text is read.
        gets_credentials = user and re.search(
            r"^\s*LoadCredential", run(["systemctl", "cat", self.unit]).text, re.MULTILINE
        )
        return None if gets_credentials else user

    def note(self) -> str | None:
        """A unit that was not running properly before."""
        state = self._state().get("ActiveState")
        return None if state in ("active", "reloading") else f"the unit '{self.unit}' was {state} before"

    def is_running(self) -> bool | None:
        """Stopped, or not started yet, is no; failed is a service that a good pair may mend."""
        return self._state().get("ActiveState") not in ("inactive", "deactivating", None)

    def before_units(self) -> list[str]:
        """The unit itself."""
        return [self.unit if self.unit.endswith(_KINDS) else f"{self.unit}.service"]

    def apply(self) -> None:
        """Restart or reload, and see it active afterwards.

        A restart takes the place of whatever job an attempt that was given up has left, and ends what hangs in it.
        """
        action = self._next_action()
        try:
            must(run(["systemctl", action, self.unit], timeout=self.timeout), f"systemctl {action} {self.unit}")
        except TimedOutError as exc:
            self._hung = True
            now = self._state()
            was_ended = action == "reload" and self._end_reload(now)
            raise HostError(
                f"The unit '{self.unit}' did not finish its {action} within {self.timeout:g} s: it is {_in_words(now)}."
                f" {'Its command was ended' if was_ended else 'Systemd goes on with it'}. See journalctl -u"
                f" {self.unit} on the host."
            ) from exc
        state = self._state()
        is_up = state.get("ActiveState") in ("active", "reloading", "activating")
        if not is_up or state.get("SubState") == "auto-restart":
            raise HostError(
                f"The unit '{self.unit}' is {_in_words(state)} after its {action}. See journalctl -u {self.unit} on the"
                " host."
            )

    def _next_action(self) -> str:
        """Only what runs properly can be reloaded: a second reload would wait for one that hangs."""
        is_fine = not self._hung and self._state().get("ActiveState") == "active"
        return str(self.options.get("action", "restart")) if is_fine else "restart"

    @staticmethod
    def _end_reload(state: dict[str, str]) -> bool:
        """End the command of a reload that hangs. The service itself goes on, with what it had loaded before."""
        command = state.get("ControlPID", "0")
        has_command = state.get("ActiveState") == "reloading" and command.isdigit() and int(command) > 1
        return has_command and not end_whole(int(command))

    def _state(self) -> dict[str, str]:
        fields = "LoadState,ActiveState,SubState,User,ControlPID"
        done = run(["systemctl", "show", "--property", fields, self.unit])
        pairs = (line.partition("=") for line in done.text.splitlines())
        return {field: value for field, _equals, value in pairs}


def _in_words(state: dict[str, str]) -> str:
    detail = f" ({state['SubState']})" if state.get("SubState") else ""
    return f"{state.get('ActiveState') or 'in no known state'}{detail}"
