# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a service is brought to read its files again: one small class per method."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .command import Ran, is_there, run
from .errors import HostError

TIMEOUT = 120


class Method:
    """What all methods have: C(OPTIONS) they take, check() before anything is touched, apply() afterwards."""

    NAME = ""
    OPTIONS: frozenset[str] = frozenset()

    def __init__(self, options: Mapping[str, Any], *, where: str, files: Sequence[str] = ()) -> None:
        """O(files): what the service reads, and last the folder that its links lead into."""
        self.files = files
        given = {field: value for field, value in options.items() if value not in (None, "", []) and field != "method"}
        strange = sorted(set(given) - self.OPTIONS)
        if strange:
            raise HostError(f"{where}: the reload method '{self.NAME}' takes no {', '.join(strange)}. Leave it out.")
        self.options = given
        self.validate(where=where)

    def validate(self, *, where: str) -> None:
        """Complain about missing or wrong options."""

    def check(self) -> str | None:
        """Why it cannot work here, with the next step; None when it can. Changes nothing."""
        return None

    def user(self) -> str | None:
        """The user under whom the service reads its files, where that is known."""
        return None

    def note(self) -> str | None:
        """What is remarkable about the service's state now (down, failing), for the report."""
        return None

    def apply(self) -> None:
        """Make the service read its files. Raises HostError when it refuses."""

    def _name(self, what: str, *, where: str) -> None:
        if not self.options.get("name"):
            raise HostError(
                f"{where}: the reload method '{self.NAME}' needs the name of the {what}. Write reload: {{name: …}}."
            )

    def _action(self, choices: tuple[str, ...], *, where: str) -> None:
        if self.options.get("action", choices[0]) not in choices:
            raise HostError(
                f"{where}: the reload method '{self.NAME}' has the actions {', '.join(choices)}. Choose one of them."
            )


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
            raise HostError(f"{where}: give the reload command as a list, such as [systemctl, reload, nginx].")
        self.argv = [str(word) for word in argv]

    def check(self) -> str | None:
        """The program is there."""
        if is_there(self.argv[0]):
            return None
        return (
            f"the reload command '{self.argv[0]}' is not there or cannot be run. Install it, or correct reload.command."
        )

    def apply(self) -> None:
        """Run it; anything but exit code 0 is a refusal."""
        _must(run(self.argv, timeout=TIMEOUT), f"the reload command '{' '.join(self.argv)}'")


class Systemd(Method):
    """A unit of systemd: restarted, or reloaded where C(action) says so."""

    NAME = "systemd"
    OPTIONS = frozenset({"name", "action"})

    def validate(self, *, where: str) -> None:
        """A unit and a known action."""
        self._name("unit", where=where)
        self._action(("restart", "reload"), where=where)
        self.unit = str(self.options["name"])

    def check(self) -> str | None:
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

    def apply(self) -> None:
        """Restart or reload, and see it active afterwards."""
        wanted = str(self.options.get("action", "restart"))
        action = "restart" if self._state().get("ActiveState") == "failed" else wanted
        _must(run(["systemctl", action, self.unit], timeout=TIMEOUT), f"systemctl {action} {self.unit}")
        state = self._state()
        if state.get("ActiveState") not in ("active", "reloading", "activating"):
            raise HostError(
                f"The unit '{self.unit}' is {state.get('ActiveState')} after its {action}. See journalctl -u"
                f" {self.unit} on the host."
            )

    def _state(self) -> dict[str, str]:
        fields = "LoadState,ActiveState,User"
        done = run(["systemctl", "show", "--property", fields, self.unit])
        pairs = (line.partition("=") for line in done.text.splitlines())
        return {field: value for field, _equals, value in pairs}


class Docker(Method):
    """A container of Docker, restarted: that also makes single files that are mounted into it new."""

    NAME = "docker"
    OPTIONS = frozenset({"name", "action"})

    def validate(self, *, where: str) -> None:
        """A container; it can only be restarted."""
        self._name("container", where=where)
        self._action(("restart",), where=where)
        self.container = str(self.options["name"])

    def check(self) -> str | None:
        """The container exists, is meant to run, and can follow the links that the files become."""
        if not is_there("docker"):
            return (
                f"there is no docker command on this host, so the container '{self.container}' cannot be restarted."
                " Install Docker."
            )
        found = self._inspect()
        if isinstance(found, str):
            return found
        state = found.get("State") or {}
        if state.get("Status") not in ("running", "restarting") and not _died(state):
            return (
                f"the container '{self.container}' is {state.get('Status')}, and is not started behind your back. "
                f"Start it (docker start {self.container}), or set the reload method to none."
            )
        return _mount_obstacle(self.container, found.get("Mounts") or [], self.files)

    def user(self) -> str | None:
        """A numeric user of the image or container; names are the container's own."""
        found = self._inspect()
        user = "" if isinstance(found, str) else str((found.get("Config") or {}).get("User") or "").partition(":")[0]
        return user if user.isdigit() else None

    def note(self) -> str | None:
        """A container that was not running properly before."""
        found = self._inspect()
        state = {} if isinstance(found, str) else found.get("State") or {}
        if not state or state.get("Status") == "running":
            return None
        return f"the container '{self.container}' was {state.get('Status')} before (exit code {state.get('ExitCode')})"

    def apply(self) -> None:
        """Restart it and see it running."""
        _must(run(["docker", "restart", self.container], timeout=TIMEOUT), f"docker restart {self.container}")
        found = self._inspect()
        status = found if isinstance(found, str) else (found.get("State") or {}).get("Status")
        if status not in ("running", "restarting"):
            raise HostError(
                f"The container '{self.container}' is {status} after its restart. See docker logs {self.container} on"
                " the host."
            )

    def _inspect(self) -> dict[str, Any] | str:
        """What Docker knows of the container, or why it says nothing."""
        done = run(["docker", "inspect", "--type", "container", self.container])
        if done.rc == 0:
            found: dict[str, Any] = json.loads(done.text)[0]
            return found
        running = run(["docker", "ps", "--format", "{{.Names}}"])
        if running.rc:
            return (
                f"docker cannot be asked for the container '{self.container}': {running.said}. Start Docker; run with"
                " become."
            )
        names = ", ".join(sorted(running.text.split())) or "none"
        return (
            f"there is no container '{self.container}' on this host (running: {names}). Start it, or correct"
            " reload.name."
        )


METHODS: dict[str, type[Method]] = {method.NAME: method for method in (Nothing, Command, Systemd, Docker)}


def method_of(options: Mapping[str, Any] | None, *, where: str, files: Sequence[str] = ()) -> Method:
    """The reload method that a user described. Raises HostError for one that there is not."""
    name = str((options or {}).get("method") or "none")
    if name not in METHODS:
        raise HostError(f"{where}: there is no reload method '{name}'. Choose one of {', '.join(METHODS)}.")
    return METHODS[name](options or {}, where=where, files=files)


def _must(done: Ran, what: str) -> None:
    if done.rc:
        raise HostError(f"{what[0].upper()}{what[1:]} failed with exit code {done.rc}: {done.said}")


def _died(state: Mapping[str, Any]) -> bool:
    """Whether a container ended by itself with an error, as one does that finds no good pair; 137 and 143 are a stop."""
    return state.get("Status") == "exited" and state.get("ExitCode") not in (0, 137, 143)


def _mount_obstacle(container: str, mounts: Sequence[Mapping[str, Any]], files: Sequence[str]) -> str | None:
    """A folder mount that holds a file but not the folder of the pairs: the link would lead nowhere inside."""
    sources = [
        os.path.realpath(str(mount["Source"])) for mount in mounts if os.path.isdir(str(mount.get("Source") or ""))
    ]
    *paths, store = files
    for path in paths:
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        around = [source for source in sources if os.path.commonpath([source, real]) == source]
        if around and not any(os.path.commonpath([source, store]) == source for source in around):
            return (
                f"the container '{container}' mounts the folder of {path}, but not {os.path.dirname(store)}, where key"
                " and certificate are kept together. Put both into one folder, or mount one folder that holds both."
            )
    return None
