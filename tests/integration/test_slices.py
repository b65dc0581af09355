# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs over a part of a fleet, several at once, without a CA, or only to look: with loopback robots, without the lab."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .loopback_fleet import CONNECTION, LoopbackFleet, robot_names
from .playbook import CHECKOUT, Run, environment_for, read_run

pytestmark = pytest.mark.loopback


def at_once(fleet: LoopbackFleet, *inventories: Path) -> list[Run]:
    """One run for each inventory, all begun at the same time."""
    started = [
        subprocess.Popen(
            fleet.command(inventory),
            cwd=CHECKOUT,
            env=environment_for(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for inventory in inventories
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in started]
    finally:
        for process in started:
            process.kill()  # without effect on those that have ended
    return [read_run(process.returncode, output) for process, output in zip(started, outputs)]


def test_the_syntax_of_a_whole_inventory_can_be_checked(loopback_fleet: LoopbackFleet) -> None:
    command = [*loopback_fleet.command(loopback_fleet.inventory()), "--syntax-check"]
    checked = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=environment_for(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_three_slices_of_the_inventory_at_once(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names(*range(1, 16))
    # As AWX slices: each holds its own robots, and only the first one the CA host as well.
    elsewhere = {"tls_ca_connection": CONNECTION}
    slices = [
        fleet.inventory(names[0::3]),
        *(fleet.inventory(names[n::3], variables=elsewhere, with_ca=False) for n in (1, 2)),
    ]
    runs = at_once(fleet, *slices)
    for run in runs:
        assert (run.rc, run.proved, run.failed) == (0, (5, 5), set()), run.output
    assert fleet.issued() == dict.fromkeys(names, 1)
    assert len(set(fleet.serials())) == len(names)
    assert sorted(fleet.uploads()) == names

    # A slice knows nothing of the others, and has taken nothing from them.
    assert {row[0] for row in fleet.workshop.sql("SELECT state FROM certificates WHERE identity != ''")} == {"issued"}
    assert len(fleet.workshop.sql("SELECT DISTINCT identity FROM pins")) == len(robot_names())


def test_two_whole_runs_at_once(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names(*range(1, 7))
    inventory = fleet.inventory(names, variables={"tls_waves": [1, 5], "mir_robot_hold": 0.6})
    for run in at_once(fleet, inventory, inventory):
        assert (run.rc, run.proved) == (0, (6, 6)), run.output
        assert set(run.standings) <= {"new", "old"}
    # Whoever came second has left alone what the first had brought in.
    known = dict(fleet.workshop.sql("SELECT fingerprint, identity FROM certificates"))
    assert all(known[fleet.served()[name]] == name for name in names)
    assert {outcome for name in names for outcome in fleet.outcomes(name)} <= {"installed", "unchanged"}
    again = fleet.run(inventory=inventory)
    assert (again.rc, again.changed, again.proved) == (0, {}, (6, 6)), again.output


def test_limited_to_one_host(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names()
    before = fleet.served()
    run = fleet.run(limit=names[4])
    assert (run.rc, run.proved, run.standings) == (0, (1, 1), {"new": {names[4]}}), run.output
    assert set(run.recap) == {names[4]}
    assert {entry["device"] for entry in fleet.emulator.log()} == {names[4]}
    assert fleet.issued() == {names[4]: 1}
    assert {name for name, leaf in fleet.served().items() if leaf != before[name]} == {names[4]}


def test_a_ca_outside_of_the_inventory_needs_a_connection(loopback_fleet: LoopbackFleet) -> None:
    wrong = {"tls_ca_connection": {"address": "198.19.0.10"}}
    run = loopback_fleet.run(inventory=loopback_fleet.inventory(robot_names(1), variables=wrong, with_ca=False))
    assert run.rc != 0
    assert "tls_ca_connection must hold variables of a connection" in " ".join(run.output.split())
    assert "'ca', which is not in this inventory" in " ".join(run.output.split())
    assert loopback_fleet.emulator.log() == []


def test_without_its_ca_a_fleet_is_judged_and_left_as_it_is(loopback_fleet: LoopbackFleet) -> None:
    fleet, (old, new) = loopback_fleet, robot_names(1, 2)
    assert fleet.run(inventory=fleet.inventory([old])).rc == 0
    before, mark = fleet.served(), len(fleet.uploads())
    away = {"tls_ca_connection": {"ansible_host": "127.77.0.1", "ansible_port": 1}}
    run = fleet.run(inventory=fleet.inventory([old, new], variables=away, with_ca=False))
    # Nobody has given this machine, the client, the fleet's anchors (trust.yml does), so it accepts neither.
    assert run.rc != 0
    assert "the CA host 'ca' cannot be reached" in run.output
    assert run.standings == {"old": {old}, "not tried": {new}}
    assert "unchanged" in run.row(old)
    assert old not in run.changed
    assert "not_tried (missing)" in run.row(new)
    assert (fleet.served(), len(fleet.uploads()), fleet.issued()) == (before, mark, {old: 1})

    run = fleet.run(inventory=fleet.inventory([old, new]))
    assert (run.rc, run.standings) == (0, {"old": {old}, "new": {new}}), run.output


def test_check_mode_changes_nothing(loopback_fleet: LoopbackFleet) -> None:
    fleet, names = loopback_fleet, robot_names()
    ledger = Path(fleet.workshop.store.ledger)
    before, content = fleet.served(), ledger.read_bytes()
    run = fleet.run("--check", "--diff")
    assert (run.rc, run.proved) == (0, (0, len(names))), run.output
    assert f"due: {len(names)} (" in run.output
    assert "due: issue (missing)" in run.row(names[-1])
    assert set(run.changed) == set(names)
    assert run.output.count("key: a new one") == len(names)
    assert [entry for entry in fleet.requests() if entry["authorization"] or entry["method"] != "GET"] == []
    assert fleet.served() == before
    assert ledger.read_bytes() == content
