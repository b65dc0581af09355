# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host goes back by itself when a run breaks off between promotion and commit: after a time limit, and at its next start.

Armed before the promotion, disarmed after the commit or the going back, always under the store's lock. Two units:

- C(certfleet-watchdog-<hash>.service), a file that is enabled, for the next start of the host. It comes before the units that
  read the pair, so it only has to put files back. Nothing but a boot starts it: it needs no daemon-reload.
- C(certfleet-watchdog-<hash>-limit.timer) and C(.service), transient, for the time limit. They must not come before the
  units that they restart: systemd would wait for their end first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from . import durable
from .command import is_there, run
from .errors import HostError

METHODS = ("systemd", "none")
# On top of what a deploy may take.
MARGIN = 60.0
PROGRAM, PLAN = "watchdog.pyz", "plan.json"
_FIELDS = frozenset({"method", "limit"})
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+\Z")
_NOT_LOADED = 5


@dataclass(frozen=True)
class Places:
    """Where units and the watchdog's own files are, and the folder that says that systemd runs this host."""

    units: str = "/etc/systemd/system"
    state: str = "/var/lib/certfleet-watchdog"
    booted: str = "/run/systemd/system"


@dataclass(frozen=True)
class Settings:
    """C(limit): seconds from the arming on."""

    method: str
    limit: float

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None, *, longest: float, where: str) -> Settings:
        """Check a user's description. O(longest): the seconds that the deploy may take, so the least limit."""
        given = {str(field): value for field, value in (data or {}).items() if value not in (None, "")}
        strange = sorted(set(given) - _FIELDS)
        if strange:
            raise HostError(f"{where}: 'watchdog' has no field {', '.join(strange)}. There are method and limit.")
        method = str(given.get("method", "systemd"))
        if method not in METHODS:
            raise HostError(f"{where}: there is no watchdog '{method}'. Choose one of {', '.join(METHODS)}.")
        try:
            limit = float(given.get("limit", longest + MARGIN))
        except (TypeError, ValueError) as exc:
            raise HostError(f"{where}: watchdog.limit '{given['limit']}' is no number. Give seconds.") from exc
        if not limit >= longest:
            raise HostError(
                f"{where}: the watchdog's limit of {limit:g} s is shorter than a deploy may take (reload.timeout, "
                f"prove.timeout and prove.hold together). Give at least {longest:g} s, or leave it out."
            )
        return cls(method, limit)


class Watchdog:
    """That of one store of generations."""

    def __init__(self, root: str, *, places: Places | None = None) -> None:
        self.root = root
        self.places = places or Places()
        self.name = f"certfleet-watchdog-{hashlib.sha256(root.encode()).hexdigest()[:12]}"
        self.folder = os.path.join(self.places.state, self.name[len("certfleet-watchdog-") :])
        self._unit = os.path.join(self.places.units, f"{self.name}.service")
        self._wanted = os.path.join(self.places.units, "multi-user.target.wants", f"{self.name}.service")
        self._timer, self._timed = f"{self.name}-limit.timer", f"{self.name}-limit.service"

    def obstacle(self) -> str | None:
        """Why it cannot be armed on this host, with the next step, or None."""
        otherwise = (
            "Correct that, or set tls_certificate_watchdog: none for this host: then a pair whose run breaks off stays "
            "in place unproved until the next run."
        )
        if not os.path.isdir(self.places.booted) or not is_there("systemd-run"):
            return (
                "systemd does not run this host, so nothing could put the previous pair back if the run broke off. "
                "Set tls_certificate_watchdog: none for it: then a pair whose run breaks off stays in place unproved "
                "until the next run."
            )
        for folder in (self.places.units, os.path.dirname(self.places.state)):
            if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
                return (
                    f"the watchdog needs to write to {folder}, which user {os.geteuid()} cannot: it is mounted "
                    f"read-only, or the task lacks become. {otherwise}"
                )
        return None

    def arm(
        self, plan: Mapping[str, Any], program: bytes, *, limit: float, files: Iterable[str], before: Iterable[str]
    ) -> None:
        """From here on the host goes back by itself. What an earlier run left armed is replaced.

        O(plan): what C(program) needs to know; O(files): what it puts back; O(before): the units that read these when the
        host starts.
        """
        try:
            if os.path.lexists(self.folder) or os.path.lexists(self._unit):
                self._stop(self._timer, self._timed)
            self._write_program(plan, program)
            self._enable(sorted({self.folder, *map(os.path.dirname, files)}), before)
            self._start(limit)
        except (HostError, OSError) as exc:
            said = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
            said = f"The watchdog could not be armed, so nothing was changed: {said}"
            try:
                self.disarm()
            except (HostError, OSError) as worse:
                said += f" What is left of it finds nothing to do and removes itself ({worse})."
            raise HostError(said) from exc

    def disarm(self) -> None:
        """All is decided. Called under the store's lock: one that fired meanwhile has done nothing but wait for it."""
        self._stop(self._timer, self._timed)
        self.forget()

    def forget(self) -> None:
        """Remove its files. systemd forgets what it may have loaded of them at the next daemon-reload; till then the
        unit's condition is not met."""
        for path in (self._wanted, self._unit):
            durable.clear_aside(path)
            durable.remove(path)
        durable.remove(self.folder)

    def is_ticking(self) -> bool:
        """Whether the time limit still runs. It does not survive the end of the host."""
        return run(["systemctl", "is-active", "--quiet", self._timer]).rc == 0

    def _write_program(self, plan: Mapping[str, Any], program: bytes) -> None:
        for folder in (self.places.state, self.folder):
            if not os.path.isdir(folder):
                durable.make_folder(folder, mode=0o700)
        whole = {**plan, "places": asdict(self.places), "environment": _environment()}
        durable.write_file(os.path.join(self.folder, PROGRAM), program, mode=0o600)
        durable.write_file(os.path.join(self.folder, PLAN), json.dumps(whole).encode(), mode=0o600)

    def _enable(self, mounts: Iterable[str], before: Iterable[str]) -> None:
        """As systemctl enable does, flushed to the disk and without its daemon-reload."""
        folder = os.path.dirname(self._wanted)
        if not os.path.isdir(folder):
            durable.make_folder(folder, mode=0o755)
        durable.write_file(self._unit, self._unit_text(mounts, before).encode(), mode=0o644)
        durable.point(self._wanted, self._unit)

    def _unit_text(self, mounts: Iterable[str], before: Iterable[str]) -> str:
        units = [name for name in before if _UNIT_NAME.match(name)]
        lines = [
            "# Written by certfleet.tls.host_deploy while a new pair is on trial; removed when that is decided.",
            "[Unit]",
            f"Description=certfleet: put the previous pair back in {_escaped(self.root)}",
            f"ConditionPathExists={_escaped(os.path.join(self.folder, PLAN))}",
            f"RequiresMountsFor={' '.join(_quoted(path) for path in mounts)}",
            *([f"Before={' '.join(units)}"] if units else []),
            "[Service]",
            "Type=oneshot",
            f"ExecStart={' '.join(_quoted(word).replace('$', '$$') for word in self._command('boot'))}",
            "[Install]",
            "WantedBy=multi-user.target",
        ]
        return "".join(f"{line}\n" for line in lines)

    def _command(self, occasion: str) -> list[str]:
        return [sys.executable, "-I", os.path.join(self.folder, PROGRAM), occasion]

    def _start(self, limit: float) -> None:
        argv = ["systemd-run", "--quiet", "--no-ask-password", "--collect", f"--unit={self.name}-limit"]
        argv += [f"--description=certfleet: time limit of a new pair in {self.root}", f"--on-active={limit:g}s"]
        done = run([*argv, "--timer-property=AccuracySec=1s", *self._command("limit")])
        if done.rc:
            raise HostError(f"systemd-run failed with exit code {done.rc}: {done.said}")

    def _stop(self, *units: str) -> None:
        done = run(["systemctl", "stop", *units])
        if done.rc not in (0, _NOT_LOADED):
            raise HostError(f"systemctl stop {' '.join(units)} failed with exit code {done.rc}: {done.said}")


def _environment() -> dict[str, str]:
    """What decides which programs are found, and which Docker they speak to."""
    return {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("DOCKER_")}


def _escaped(text: str) -> str:
    """For a setting of a unit, in which a percent sign begins a specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """As one word of a unit's setting."""
    return '"' + _escaped(word).replace("\\", "\\\\").replace('"', '\\"') + '"'
