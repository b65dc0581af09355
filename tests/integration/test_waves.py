# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waves, the canary, the failure budget and the pause after a failure, on a fleet of loopback robots. They need no lab."""

from __future__ import annotations

from itertools import pairwise

import pytest

from .loopback_fleet import IN_WINDOW, LoopbackFleet, robot_names
from .playbook import later

pytestmark = pytest.mark.loopback

# The proof finds the new leaf, and a moment later the former one is back: rolled back.
RELAPSES = "revert=0.15"
LONG_HOLD = {"mir_robot_hold": 0.6}
# A conflict, and nothing new is served: failed.
REFUSES = "conflict=always"


def waves_by_upload(fleet: LoopbackFleet, *sizes: int) -> list[set[str]]:
    """The robots that got a pair, in the order of the uploads, cut into waves."""
    uploads, waves = fleet.uploads(), []
    assert len(set(uploads)) == len(uploads) == sum(sizes), uploads
    for size in sizes:
        waves.append(set(uploads[:size]))
        uploads = uploads[size:]
    return waves


def test_the_canary_goes_first_and_each_wave_is_proved_before_the_next_begins(loopback_fleet: LoopbackFleet) -> None:
    fleet = loopback_fleet
    run = fleet.run()
    assert run.rc == 0, run.output
    assert run.proved == (24, 24)
    waves = waves_by_upload(fleet, 1, 2, 9, 12)
    names = robot_names()
    assert waves == [set(names[:1]), set(names[1:3]), set(names[3:12]), set(names[12:])]
    uploaded = {entry["device"]: entry["time"] for entry in fleet.requests("POST")}
    for wave, following in pairwise(waves):
        begin = min(uploaded[name] for name in following)
        for name in wave:
            # Its client has come back to look at what it serves now.
            assert any(uploaded[name] < moment < begin for moment in fleet.moments(name)), name
    # A wave is issued once the one before it is in the ledger.
    signed, recorded = (
        [set(row[0].split(",")) for row in fleet.workshop.sql(statement)]
        for statement in (
            "SELECT group_concat(identity) FROM certificates WHERE identity != '' GROUP BY reserved_at ORDER BY reserved_at",
            "SELECT group_concat(identity) FROM outcomes WHERE outcome = 'installed' GROUP BY at ORDER BY at",
        )
    )
    assert signed == recorded == waves

    mark = len(fleet.requests())
    again = fleet.run()
    assert (again.rc, again.changed, again.proved) == (0, {}, (24, 24)), again.output
    assert [entry for entry in fleet.requests()[mark:] if entry["authorization"] or entry["method"] != "GET"] == []


def test_the_first_that_can_be_reached_is_the_canary_and_those_that_are_away_wait(
    loopback_fleet: LoopbackFleet,
) -> None:
    fleet, names = loopback_fleet, robot_names(*range(1, 11))
    away = {names[0], names[1], names[5]}
    inventory = fleet.inventory(names)
    fleet.switch(away, "power=off")
    run = fleet.run(inventory=inventory)
    assert run.rc == 0, run.output
    assert run.proved == (7, 10)
    assert waves_by_upload(fleet, 1, 6) == [{names[2]}, set(names) - away - {names[2]}]
    assert run.standings["absent"] == away
    assert run.standings["new"] == set(names) - away
    assert set(fleet.issued()) == set(names) - away

    fleet.switch(away)
    # One that the ledger believes to have failed is found right, and put right there.
    fleet.has_failed(names[3], ago=60)
    run = fleet.run(inventory=inventory)
    assert (run.rc, run.proved) == (0, (10, 10)), run.output
    assert run.standings == {"new": away, "old": set(names) - away}
    assert set(fleet.uploads()[7:]) == away
    assert set(fleet.issued().values()) == {1}
    assert fleet.outcomes(names[3]) == ["installed", "failed", "unchanged"]
    assert fleet.workshop.info(names[3])["open_failures"] == []


def test_a_canary_that_fails_pauses_everybody_else(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names(*range(1, 9))
    inventory = fleet.inventory(names, variables=LONG_HOLD)
    assert fleet.run(inventory=inventory, limit=":".join(names[6:])).rc == 0
    before = fleet.served()
    fleet.switch(names[5:6], "power=off")
    fleet.switch(names[:1], RELAPSES)
    run = fleet.run(inventory=inventory)
    assert run.rc != 0
    assert run.standings == {
        "old": set(names[6:]),
        "absent": {names[5]},
        "deferred": set(names[1:5]),
        "rolled back": {names[0]},
    }
    assert f"the first that this run tried went wrong ({names[0]}/https), so the others were left alone" in run.output
    assert "rolled_back (missing)" in run.row(names[0])
    assert "deferred (budget): issue (missing)" in run.row(names[1])
    # One of those that were left alone speaks for all of them.
    assert run.failed == set(names[:2])
    assert run.proved == (2, 8)
    # Nobody but the canary was given anything, nor was anything signed for others.
    assert set(fleet.uploads()[2:]) == {names[0]}
    assert fleet.issued() == dict.fromkeys([names[0], *names[6:]], 1)
    assert fleet.outcomes(names[0]) == ["rolled_back"]
    assert fleet.served() == before


def test_a_budget_that_is_spent_stops_the_run_and_those_after_it(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names(*range(1, 10))
    variables = {"tls_waves": [1, 4], "tls_failure_budget": 1}
    inventory = fleet.inventory(names, variables=variables)
    fleet.switch(names[2:4], REFUSES)
    first = fleet.run(inventory=inventory)
    assert first.rc != 0
    assert first.standings == {"new": {*names[:2], names[4]}, "deferred": set(names[5:]), "failed": set(names[2:4])}
    why = f"2 certificates have failed lately ({names[2]}/https, {names[3]}/https), more than tls_failure_budget (1)"
    assert why in first.output
    assert fleet.issued() == dict.fromkeys(names[:5], 1)

    # The next run knows, and begins with nobody.
    mark = len(fleet.requests("POST"))
    second = fleet.run(inventory=inventory)
    assert second.rc != 0
    assert second.changed == {}
    assert second.standings == {"old": {*names[:2], names[4]}, "deferred": set(names[2:4]) | set(names[5:])}
    assert why in second.output
    assert "deferred (budget)" in second.row(names[5])
    assert "deferred (backoff" in second.row(names[2])
    assert len(fleet.requests("POST")) == mark
    assert fleet.issued() == dict.fromkeys(names[:5], 1)

    # What was repaired may be tried all the same; with it the count goes down.
    fleet.switch(names[2:3])
    third = fleet.run(inventory=inventory, limit=names[2], extra={"tls_retry_now": True})
    assert (third.rc, third.standings) == (0, {"new": {names[2]}}), third.output
    assert fleet.outcomes(names[2]) == ["failed", "installed"]

    fourth = fleet.run(inventory=inventory)
    assert fourth.standings == {"old": {*names[:3], names[4]}, "new": set(names[5:]), "deferred": {names[3]}}
    assert fleet.issued() == {**dict.fromkeys(names, 1), names[2]: 2}


def test_a_raised_budget_lets_a_run_go_on(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names(1, 2, 3)
    fleet.has_failed(names[0], ago=60)
    # One of all three, not of the two that are due: a share is rounded down.
    run = fleet.run(inventory=fleet.inventory(names), extra={"tls_failure_budget": "34%"})
    assert run.standings == {"new": set(names[1:]), "deferred": {names[0]}}
    assert fleet.issued() == dict.fromkeys(names[1:], 1)


def test_what_failed_is_left_alone_for_a_while(loopback_fleet: LoopbackFleet) -> None:
    fleet, (name,) = loopback_fleet, robot_names(1)
    inventory = fleet.inventory([name])
    fleet.has_failed(name, ago=5400)
    fleet.has_failed(name, ago=1800)
    run = fleet.run(inventory=inventory)
    assert run.standings == {"deferred": {name}}
    said = " ".join(run.output.split())
    assert "it has failed 2 times in a row and is left alone until" in said
    assert "(failed): a wrench in the works" in said
    assert "deferred (backoff until" in run.row(name)
    # Until it is put right, it stays a complaint that clients suffer from.
    assert (run.rc != 0, run.failed) == (True, {name})
    assert fleet.issued() == {}
    assert [entry for entry in fleet.requests() if entry["authorization"]] == []

    fleet.switch([name], REFUSES)
    run = fleet.run(inventory=inventory, extra={"tls_retry_now": True})
    assert (run.rc != 0, run.standings) == (True, {"failed": {name}}), run.output
    assert fleet.issued() == {name: 1}

    # Sixteen hours after the third failure it is tried without being told to.
    fleet.switch([name])
    fleet.workshop.sql("UPDATE failures SET last_at = last_at - 16 * 3600")
    run = fleet.run(inventory=inventory)
    assert (run.rc, run.standings, run.proved) == (0, {"new": {name}}, (1, 1)), run.output

    # A renewal that failed: clients are content with the old certificate, so there is nothing to complain of.
    fleet.has_failed(name, ago=60 - IN_WINDOW)
    run = fleet.run(inventory=inventory, environment=later(IN_WINDOW))
    assert (run.rc, run.standings, run.proved) == (0, {"deferred": {name}}, (1, 1)), run.output
    assert "it has failed once and is left alone until" in run.output
    assert fleet.issued() == {name: 2}
