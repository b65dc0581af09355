# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real process of a deploy at the real system calls: their order, and a SIGKILL at any of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.watchdog import Watchdog

from ..integration.machines import Lab, on
from .case import Case, UnsafeError
from .strace_log import Event, as_table, violations
from .targets import WEB_FOLDER
from .tracing import (
    ROOM,
    ROOTS,
    STORE,
    STRACE,
    UNITS,
    WATCHDOGS,
    Listed,
    Traced,
    events,
    kill_next,
    kill_options,
    strace_ready,
    traced_web,
    was_killed_at,
    watch_next,
)

# Short enough to be waited for, and not shorter than reload and proof may take.
LIMIT = {"reload": {"timeout": 5}, "prove": {"hold": 0.3}, "watchdog": {"limit": 12}}
BEFORE, ON_TRIAL, DECIDED = "at the promotion", "between proof and commit", "after the commit"


@pytest.fixture(scope="module")
def target() -> Iterator[Traced]:
    """nginx, deployed by a Python that may be under strace."""
    with strace_ready():
        yield traced_web(**LIMIT)


@pytest.fixture(scope="module")
def listed(lab: Lab, target: Traced, tmp_path_factory: pytest.TempPathFactory) -> Listed:
    """A whole deploy that nothing disturbs, as strace sees it."""
    case = Case("listed", "none", folder=tmp_path_factory.mktemp("listed"))
    # The pair before is one of ours already, as it mostly is.
    case.begin(target)
    first = case.run()
    assert first.rc == 0, first.output
    case.end()
    case = Case("listed", "none", folder=tmp_path_factory.mktemp("listed"))
    case.begin(target)
    watch_next()
    run = case.run()
    case.end()
    assert run.rc == 0, run.output
    return Listed(events())


def test_everything_is_on_the_disk_before_what_relies_on_it(listed: Listed) -> None:
    """the order of writes, flushes and renames of a deploy"""
    print(f"\n{as_table(listed.events, ROOTS)}\n")
    assert violations(listed.events) == []
    before, after = listed.events[: listed.flip], listed.events[listed.flip + 1 :]
    # Whole and durable before the service can read it: the pair, the way back, and the watchdog for both of its occasions.
    generation = next(
        item.path for item in reversed(before) if item.call == "rename" and item.path.startswith(f"{STORE}/")
    )
    made = [item.path for item in before if item.call in ("rename", "mkdir")]
    assert {f"{STORE}/unfinished"} <= set(made), generation
    assert any(path.startswith(WATCHDOGS) and path.endswith("/plan.json") for path in made)
    assert any(path.startswith(f"{UNITS}/multi-user.target.wants/") for path in made)
    assert "systemd-run" in [Path(item.path).name for item in before if item.call == "execve"]
    # Flushed at once, and only then the service is told; what is useless goes only after the commit.
    assert (after[0].call, after[0].path) == ("fsync", STORE)
    told = next(number for number, item in enumerate(listed.events) if number > listed.flip and item.call == "execve")
    assert listed.flip + 1 < told < listed.commit
    removals = [n for n, item in enumerate(listed.events) if item.call in ("unlink", "unlinkat", "rmdir")]
    assert min(removals) == listed.commit
    assert (listed.events[listed.commit + 1].call, listed.events[listed.commit + 1].path) == ("fsync", STORE)


def test_nobody_else_writes_to_the_service(listed: Listed) -> None:
    """no program that a deploy runs changes the service's files"""
    strange = [item for item in listed.events if not item.is_main and item.path.startswith(WEB_FOLDER)]
    assert strange == []


@pytest.mark.parametrize("moment", [BEFORE, ON_TRIAL, DECIDED])
def test_killed(case: Case, listed: Listed, target: Traced, moment: str) -> None:
    """SIGKILL of the deploy's process {moment}"""
    event = listed.events[{BEFORE: listed.flip, ON_TRIAL: listed.commit, DECIDED: listed.commit + 1}[moment]]
    case.begin(target)
    kill_next(event)
    run = case.run()
    assert was_killed_at(event)
    case.told(run, "wholly old or wholly new")
    # The host goes back by itself when the time limit has passed.
    wait_for_watchdog()
    case.ends(target, "new" if moment == DECIDED else "old")
    case.converges()


@pytest.mark.slow
def test_killed_at_every_call(case: Case, listed: Listed, target: Traced) -> None:
    """SIGKILL of the deploy's process at every write, flush and rename that strace lists"""
    case.begin(target)
    watch_next()
    run = case.run()
    assert run.rc == 0, run.output
    again = Repetition()
    kills = again.listed.kills()
    for number, event in enumerate(kills):
        again.strike(event, goes_back=number % 2 == 0)
    case.note(f"{len(kills)} kills: old or new as a whole after each, and the next deploy converged")
    case.ends(target, "new")
    case.converges()


def wait_for_watchdog() -> None:
    """Until its time limit has passed and it is gone."""
    script = f"i=0; while ls {WATCHDOGS}/* >/dev/null 2>&1; do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 0.1; done"
    on("web", "sh", "-c", script)


class Repetition:
    """The same deploy again and again, as Ansible had sent it, from the same beginning, without Ansible."""

    def __init__(self) -> None:
        self._watchdog = Watchdog(STORE).name
        shell(f"rm -rf {ROOM}/before {ROOM}/new; mv {ROOM}/tls {ROOM}/before; cp -aL {WEB_FOLDER} {ROOM}/new")
        self._begin_again()
        # Started in another way than by Ansible, it makes other calls before it comes to its work.
        self._run("-f")
        self.listed = Listed(events())

    def strike(self, event: Event, *, goes_back: bool) -> None:
        """Kill it there; then the watchdog (O(goes_back)), and the deploy again."""
        self._begin_again()
        self._run(kill_options(event))
        if not was_killed_at(event):
            raise UnsafeError(f"the process was not killed at {event}")
        self._assert_whole(event)
        if goes_back:
            self._go_back(event)
        answer = self._run("")
        outcomes = [item["outcome"] for item in answer.get("certificates", [])]
        if outcomes != ["installed"]:
            raise UnsafeError(f"after a kill at {event} the next deploy says {answer}")
        self._assert_clean(event)

    def _begin_again(self) -> None:
        self._stop_timer()
        shell(f"rm -rf {WATCHDOGS}/* {UNITS}/certfleet-watchdog-* {UNITS}/multi-user.target.wants/certfleet-watchdog-*")
        shell(f"find {WEB_FOLDER} -mindepth 1 -delete; cp -a {ROOM}/before/. {WEB_FOLDER}/")
        # More restarts in a few seconds than systemd grants a service.
        shell("systemctl reset-failed nginx.service; systemctl restart nginx.service")

    def _go_back(self, event: Event) -> None:
        """As when the time limit had passed."""
        was_armed = bool(shell(f"ls {WATCHDOGS}/*/plan.json 2>/dev/null || true"))
        shell(f"cd {WATCHDOGS} || exit 0; for one in */watchdog.pyz; do python3 -I $one limit || true; done")
        self._stop_timer()
        self._assert_whole(event)
        # One that was not armed yet, or disarmed already, leaves the rest to the next run.
        found = shell(f"find {STORE} {WATCHDOGS} {UNITS} -mindepth 1 -name unfinished -o -name '*certfleet-[nw]*'")
        if was_armed and (left := found.split()):
            raise UnsafeError(f"the watchdog left {left} after a kill at {event}")

    def _stop_timer(self) -> None:
        shell(f"systemctl stop {self._watchdog}-limit.timer 2>/dev/null || true")

    @staticmethod
    def _run(options: str) -> dict[str, Any]:
        said = shell(
            f"systemctl reset-failed nginx.service; {STRACE} {options} /usr/bin/python3 {ROOM}/host_deploy.py || true"
        )
        return dict(json.loads(said)) if said else {}

    @staticmethod
    def _assert_whole(event: Event) -> None:
        same = " || ".join(
            f"( cmp -s {WEB_FOLDER}/cert.pem {ROOM}/{which}/cert.pem && cmp -s {WEB_FOLDER}/key.pem {ROOM}/{which}/key.pem )"
            for which in ("before", "new")
        )
        if shell(f"{same} || echo mixed"):
            raise UnsafeError(f"killed at {event}, the service's paths read neither the old nor the new pair")

    @staticmethod
    def _assert_clean(event: Event) -> None:
        left = shell(f"ls -A {STORE} | grep -vx -e current -e $(readlink {STORE}/current) || true")
        left += shell(f"ls -A {WEB_FOLDER} | grep -vx -e cert.pem -e key.pem -e .certfleet-https || true")
        left += shell(f"ls -A {WATCHDOGS} {UNITS} | grep certfleet-watchdog- || true")
        if left:
            raise UnsafeError(f"after a kill at {event} and a whole deploy there is left over: {left.split()}")


def shell(script: str) -> str:
    """Run it on host `web`."""
    return on("web", "sh", "-c", script)
