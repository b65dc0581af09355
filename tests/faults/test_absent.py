# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a fleet is away. The robots are emulated on loopback addresses, ten of them; the lab has too few."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.tests.unit.emulated_devices import Emulator

from ..integration.loopback_fleet import LoopbackFleet, enrolled_ca, robot_names
from .case import Case
from .sampler import look
from .targets import LoopbackRobot, spki_of

NAMES = robot_names(*range(1, 11))
# The canary would be the first of them.
AWAY = {NAMES[0], NAMES[4], NAMES[9]}


@pytest.fixture
def fleet_of_ten(tmp_path: Path) -> Iterator[LoopbackFleet]:
    """Ten robots as they left the factory, known to their CA."""
    for folder in ("robots", "authority", "fleet"):
        (tmp_path / folder).mkdir()
    with Emulator(tmp_path / "robots", *({"name": name} for name in robot_names())) as emulator:
        ca = enrolled_ca(tmp_path / "authority", emulator)
        yield LoopbackFleet(tmp_path / "fleet", emulator, ca.folder)


def robots_of(fleet: LoopbackFleet) -> list[LoopbackRobot]:
    """They as targets."""
    inventory, emulator = fleet.inventory(NAMES), fleet.emulator
    root = Path(fleet.workshop.store.directory) / "authorities" / "fleet" / "root.pem"
    targets = []
    for name in NAMES:
        address = emulator.address(name)
        endpoint = {"address": address, "port": emulator.https_port, "server_name": address}
        leaf = look(endpoint)
        assert leaf is not None
        targets.append(
            LoopbackRobot(
                name, endpoint, str(fleet.playbook), inventory=inventory, root=root, factory_key=spki_of(leaf)
            )
        )
    return targets


def test_third_of_the_fleet_away(case: Case, fleet_of_ten: LoopbackFleet) -> None:
    """30 % of the hosts unreachable, the first one among them"""
    fleet, robots = fleet_of_ten, robots_of(fleet_of_ten)
    case.begin(*robots)
    fleet.switch(AWAY, "power=off")
    run = case.run()
    assert run.rc == 0, run.output
    assert run.standings["absent"] == AWAY
    case.told(run, "absent: 3 (")
    for target in robots:
        case.ends(target, "nothing" if target.name in AWAY else "new")
    fleet.switch(AWAY)
    case.converges()
