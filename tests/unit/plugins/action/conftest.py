# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An emulated robot as it left the factory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.certfleet.tls.tests.unit.emulated_devices import Emulator

from .device_fleet import Fleet


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("fleet"), {"name": "robot-1"}) as running:
        yield running


@pytest.fixture
def fleet(emulator: Emulator) -> Fleet:
    """A robot as it left the factory, and a CA that has pinned its key."""
    emulator.control("robot-1", "factory")
    fleet = Fleet(emulator)
    fleet.pins = [fleet.served().spki]
    emulator.forget_log()
    return fleet
