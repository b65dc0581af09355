# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_deploy of host `web` under strace: the very process that Ansible starts there, watched, or killed at a call.

Ansible is told of another Python on that host, which is the same one, but begins the next host_deploy under strace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..integration.machines import on
from .strace_log import CALLS, Event, below, flip_of, read_events
from .targets import WEB_FOLDER, Service, web

ROOM = "/run/strace"
PYTHON = "/usr/local/bin/python3-under-strace"
STORE = f"{WEB_FOLDER}/.certfleet-https"
WATCHDOGS = "/var/lib/certfleet-watchdog"
UNITS = "/etc/systemd/system"
ROOTS = {"pairs": STORE, "tls": WEB_FOLDER, "watchdog": WATCHDOGS, "units": UNITS}
STRACE = f"strace -o {ROOM}/log -y -s 0 -e trace={','.join(CALLS)}"
_PYTHON_TEXT = f"""#!/bin/sh
# The next host_deploy runs under strace, with the options of a file; its archive and what it finds are kept beside.
case "$*" in *AnsiballZ_host_deploy.py*)
    if mv {ROOM}/options {ROOM}/used 2>/dev/null; then
        cp "$1" {ROOM}/host_deploy.py
        rm -rf {ROOM}/tls; cp -a {WEB_FOLDER} {ROOM}/tls
        exec {STRACE} $(cat {ROOM}/used) /usr/bin/python3 "$@"
    fi;;
esac
exec /usr/bin/python3 "$@"
"""


@dataclass(frozen=True)
class Traced(Service):
    """nginx of host `web`, deployed by a Python that may be under strace."""

    def variables(self, wish: str) -> dict[str, Any]:
        """A file on the host for each module, so that the module can be told by its name."""
        return {
            **super().variables(wish),
            "ansible_python_interpreter": PYTHON,
            "ansible_pipelining": False,
        }


def traced_web(**settings: Any) -> Traced:
    """See Traced; O(settings) are fields of the certificate."""
    plain = web()
    return Traced(plain.name, plain.endpoint, plain.playbook, store=plain.store, settings=settings)


@contextmanager
def strace_ready() -> Iterator[None]:
    """The other Python is there."""
    on("web", "sh", "-c", f"mkdir -p -m 0700 {ROOM}; cat > {PYTHON}; chmod 0755 {PYTHON}", given=_PYTHON_TEXT)
    try:
        yield
    finally:
        on("web", "rm", "-rf", ROOM, PYTHON)


def watch_next() -> None:
    """The next host_deploy is watched, with all programs that it runs."""
    on("web", "sh", "-c", f"rm -f {ROOM}/log; echo -f > {ROOM}/options")


def kill_next(event: Event) -> None:
    """The next host_deploy is killed when it is about to do this."""
    on("web", "sh", "-c", f"rm -f {ROOM}/log; echo '{kill_options(event)}' > {ROOM}/options")


def kill_options(event: Event) -> str:
    """Counted by strace as Event.nth is; only the process itself is traced."""
    return f"-e inject={event.call}:signal=KILL:when={event.nth}"


def log() -> str:
    """What strace has written."""
    return on("web", "cat", f"{ROOM}/log")


def was_killed_at(event: Event) -> bool:
    """Whether the log ends with this call, which did not come about any more."""
    lines = log().splitlines()
    name = event.path if event.call in ("fsync", "fchmod", "write") else event.path.rpartition("/")[2]
    return "killed by SIGKILL" in lines[-1] and lines[-2].startswith(f"{event.call}(") and name in lines[-2]


def events() -> list[Event]:
    """All changes to the service's files and to the watchdog's, and the programs that were run."""
    return below(read_events(log()), WEB_FOLDER, WATCHDOGS, UNITS)


@dataclass(frozen=True)
class Listed:
    """A whole deploy as strace lists it, and which of the events are the promotion and the commit."""

    events: list[Event]

    @property
    def flip(self) -> int:
        """From the next event on the service's paths read the new pair."""
        return flip_of(self.events, STORE)

    @property
    def commit(self) -> int:
        """From the next event on nothing goes back by itself."""
        (number,) = [
            n for n, item in enumerate(self.events) if item.call == "unlink" and item.path.endswith("/unfinished")
        ]
        return number

    def kills(self) -> list[Event]:
        """All at which the process can be killed."""
        return [item for item in self.events if item.is_main and item.call != "execve"]
