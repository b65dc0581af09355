# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change windows and states of robots: outside, a run says what is due and ends clean. Loopback robots, no lab."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from .loopback_fleet import LoopbackFleet, robot_names

pytestmark = pytest.mark.loopback


def window(begin: int, end: int, *, zone: str = "UTC", shift: int = 0) -> dict[str, Any]:
    """From and to so many hours from now, on the clock of a place that is O(shift) hours ahead."""
    now = datetime.now(timezone.utc) + timedelta(hours=shift)
    edges = ((now + timedelta(hours=hours)).strftime("%H:%M") for hours in (begin, end))
    return {**dict(zip(("from", "to"), edges)), "timezone": zone}


def tomorrow() -> str:
    """Name of the day that is the next one everywhere."""
    return (datetime.now(timezone.utc) + timedelta(days=2)).strftime("%a").lower()


def test_outside_of_its_window_a_machine_is_reported_and_left_alone(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names(*range(1, 7))
    now = {"tls_change_windows": [window(5, 6), window(-2, 2)]}
    later = {"tls_change_windows": [window(3, 5)]}
    # Three hours from now on the clock of a place that is nine hours ahead all the year round: now.
    abroad = {"tls_change_windows": [window(-1, 1, zone="Asia/Tokyo", shift=9)]}
    not_today = {"tls_change_windows": [{"days": [tomorrow()]}]}
    never_mind: dict[str, Any] = {"tls_change_windows": []}
    of_hosts = dict(zip(names, (later, now, abroad, not_today, never_mind)))
    inventory = fleet.inventory(names, variables=later, of_hosts=of_hosts)
    before = fleet.served()
    run = fleet.run(inventory=inventory)
    assert run.rc == 0, run.output
    waiting = {names[0], names[3], names[5]}
    assert run.standings == {"new": set(names) - waiting, "deferred": waiting}
    # As the inventory has it, not by a clock that has gone on since.
    opens = f"{later['tls_change_windows'][0]['from']}:00Z"
    assert (
        f"deferred: {names[0]}, {names[5]}: outside the change windows of this host, the next one opens" in run.output
    )
    assert f"{opens}): issue (missing)" in run.row(names[0])
    assert run.proved == (3, 6)
    assert set(fleet.uploads()) == set(fleet.issued()) == set(names) - waiting
    assert {name for name in names if fleet.served()[name] == before[name]} == waiting
    assert [entry for entry in fleet.requests() if entry["device"] in waiting and entry["authorization"]] == []


def test_robots_change_only_in_the_states_that_are_configured(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names(*range(1, 6))
    ready = {"mir_robot_change_states": [3, 4]}
    inventory = fleet.inventory(names, variables=ready)
    fleet.switch(names[:1], "state_id=5")
    fleet.switch(names[1:2], "state_id=4")
    fleet.switch(names[2:3], "status=error")
    before = fleet.served()
    run = fleet.run(inventory=inventory)
    assert run.rc == 0, run.output
    waiting = {names[0], names[2]}
    # The first that may be changed is the canary.
    assert fleet.uploads()[0] == names[1]
    assert run.standings == {"deferred": waiting, "new": set(names) - waiting}
    assert "deferred (window): issue (missing)" in run.row(names[0])
    assert set(fleet.uploads()) == set(fleet.issued()) == set(names) - waiting
    assert {name for name in names if fleet.served()[name] == before[name]} == waiting
    for name in waiting:
        assert [entry["path"] for entry in fleet.requests() if entry["device"] == name and entry["authorization"]] == [
            "/api/v2.0.0/status"
        ]

    fleet.switch(names[:3])
    run = fleet.run(inventory=inventory)
    assert (run.rc, run.proved) == (0, (5, 5)), run.output
    assert run.standings == {"new": waiting, "old": set(names) - waiting}
