# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are containers of Docker, by name or as a service of a compose project."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .command import TimedOutError, is_there, run
from .errors import HostError
from .reload_method import Method, must

_ENGINE = "docker.service"
_LABEL = "com.docker.compose"


class Docker(Method):
    """Containers, restarted: that also makes single files that are mounted into them new."""

    NAME = "docker"
    OPTIONS = frozenset({"name", "project", "service", "action"})

    def validate(self, *, where: str) -> None:
        """A container, or project and service; they can only be restarted."""
        self.container, self.project, self.service = (
            str(self.options.get(field) or "") for field in ("name", "project", "service")
        )
        given = (bool(self.container), bool(self.project), bool(self.service))
        if given not in ((True, False, False), (False, True, True)):
            raise HostError(
                f"{where}: the reload method 'docker' needs the name of the container, or project and service of a"
                " compose file. Write reload: {name: …}, or reload: {project: …, service: …}."
            )
        for value in (self.container, self.project, self.service):
            if value.startswith("-") or any(character.isspace() for character in value):
                raise HostError(f"{where}: '{value}' is no name that Docker knows. Correct reload.")
        self._action(("restart",), where=where)
        self.what = f"container '{self.container}'" if self.container else f"service '{self.project}/{self.service}'"
        self._restarted: set[str] = set()

    def obstacle(self) -> str | None:
        """A container exists, is meant to run, and can follow the links that the files become."""
        if not is_there("docker"):
            return f"there is no docker command on this host, so the {self.what} cannot be restarted. Install Docker."
        found = self._containers()
        meant = [container for container in found if _is_meant_to_run(container)]
        if not meant:
            states = ", ".join(sorted({str(_state(container).get("Status")) for container in found}))
            how = f"docker start {' '.join(_name(container) for container in found)}"
            return (
                f"the {self.what} is {states}, and is not started behind your back. Start it ({how}), or set the reload"
                " method to none."
            )
        obstacles = (_mount_obstacle(_name(item), item.get("Mounts") or [], self.files) for item in meant)
        return next((obstacle for obstacle in obstacles if obstacle), None)

    def user(self) -> str | None:
        """A numeric user of the image or container; names are the container's own."""
        found = self._seen()
        user = str((found[0].get("Config") or {}).get("User") or "").partition(":")[0] if found else ""
        return user if user.isdigit() else None

    def note(self) -> str | None:
        """Containers that were not running properly before."""
        notes = [
            f"the container '{_name(container)}' was {_state(container).get('Status')} before"
            f" (exit code {_state(container).get('ExitCode')})"
            for container in self._seen()
            if _state(container).get("Status") != "running"
        ]
        return "; ".join(notes) or None

    def is_running(self) -> bool | None:
        """Whether a container runs or died by itself; None when Docker cannot be asked."""
        if self._is_engine_down():
            return False
        try:
            return any(_is_meant_to_run(container) for container in self._containers())
        except HostError:
            return None

    def before_units(self) -> list[str]:
        """The engine starts its containers."""
        return [_ENGINE]

    def apply(self) -> None:
        """Restart them and see them running."""
        found = self._containers()
        # What ended since we restarted it, however politely, is ours to bring back; what was stopped before is not.
        meant = [item for item in found if self.container or _is_meant_to_run(item) or _name(item) in self._restarted]
        names = [_name(container) for container in meant]
        if not names:
            raise HostError(f"No container of the {self.what} runs, so there is none to restart. Start it.")
        self._restarted.update(names)
        command = f"docker restart {' '.join(names)}"
        try:
            must(run(["docker", "restart", *names], timeout=self.timeout), command)
        except TimedOutError as exc:
            raise HostError(
                f"'{command}' did not end within {self.timeout:g} s and was given up; Docker may go on with it. See"
                f" docker ps and docker logs {names[0]} on the host."
            ) from exc
        for container in self._containers():
            name, status = _name(container), _state(container).get("Status")
            if name in names and status not in ("running", "restarting"):
                raise HostError(
                    f"The container '{name}' is {status} after its restart. See docker logs {name} on the host."
                )

    def _seen(self) -> list[dict[str, Any]]:
        try:
            return self._containers()
        except HostError:
            return []

    def _containers(self) -> list[dict[str, Any]]:
        """What Docker knows of the containers, at least one. Raises HostError that says why there is none."""
        names = [self.container] if self.container else self._names_of_service()
        done = run(["docker", "inspect", "--type", "container", *names]) if names else None
        found: list[dict[str, Any]] = json.loads(done.text) if done and done.rc == 0 else []
        # What 'compose run' leaves behind reads no files of the service.
        found = [item for item in found if _labels(item).get(f"{_LABEL}.oneoff", "False") != "True"]
        if found:
            return found
        running = run(["docker", "ps", "--format", "{{.Names}}"])
        if running.rc:
            raise HostError(
                f"docker cannot be asked for the {self.what}: {running.said}. Start Docker; run with become."
            )
        there = ", ".join(sorted(running.text.split())) or "none"
        wrong = "reload.name" if self.container else "reload.project and reload.service (docker compose ls; docker ps)"
        raise HostError(
            f"there is no {self.what} on this host (containers that run: {there}). Start it, or correct {wrong}."
        )

    def _names_of_service(self) -> list[str]:
        """The replicas by the labels that compose gives them, so that no compose command is needed."""
        labels = (f"label={_LABEL}.project={self.project}", f"label={_LABEL}.service={self.service}")
        filters = [word for label in labels for word in ("--filter", label)]
        done = run(["docker", "ps", "--all", *filters, "--format", "{{.ID}}"])
        return done.text.split() if done.rc == 0 else []

    def _is_engine_down(self) -> bool:
        """Whether systemd has the engine, and it does not run: asking it would start it, or wait for it at boot."""
        if not os.path.isdir("/run/systemd/system") or not is_there("systemctl"):
            return False
        done = run(["systemctl", "show", "--property", "LoadState,ActiveState", _ENGINE])
        return "LoadState=loaded" in done.text and "ActiveState=active" not in done.text


def _state(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return container.get("State") or {}


def _name(container: Mapping[str, Any]) -> str:
    return str(container.get("Name") or "").lstrip("/")


def _labels(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return (container.get("Config") or {}).get("Labels") or {}


def _is_meant_to_run(container: Mapping[str, Any]) -> bool:
    """It runs, or ended by itself with an error, as one does that finds no good pair; 137 and 143 are a stop."""
    state = _state(container)
    has_died = state.get("Status") == "exited" and state.get("ExitCode") not in (0, 137, 143)
    return state.get("Status") in ("running", "restarting") or has_died


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
