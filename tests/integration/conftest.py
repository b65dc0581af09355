# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's states that tests start from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.tests.unit.emulated_devices import Emulator
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._device.conftest import plant, running_plant

from .loopback_fleet import LoopbackFleet, enrolled_ca, robot_names
from .machines import Lab, lab_command, robot
from .playbook import run_playbook, site

# Emulated devices, as the unit tests of their modules have them.
__all__ = ["plant", "running_plant"]


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The running lab (`make integration` started it)."""
    return Lab()


@pytest.fixture(scope="module")
def factory(lab: Lab) -> Lab:
    """All hosts and robots as they left the factory: no CA, no trust, built-in certificates."""
    lab_command("reset")
    return lab


@pytest.fixture(scope="module")
def converged(lab: Lab) -> Lab:
    """Enrolled, and everything proved."""
    robot("all", "unset")
    enrolled = run_playbook("playbooks/enrol.yml")
    assert enrolled.rc == 0, enrolled.output
    # What an earlier test left behind may wait after its failure; this fixture does not.
    done = site(extra={"tls_retry_now": True})
    assert done.rc == 0, done.output
    return lab


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write an additional inventory: C({host: {variable: value}}), hosts put into groups by the variable C(groups)."""

    def write(hosts: dict[str, dict[str, Any]]) -> Path:
        groups: dict[str, Any] = {}
        for host, variables in hosts.items():
            for group in variables.pop("groups", []):
                groups.setdefault(group, {"hosts": {}})["hosts"][host] = {}
        path = tmp_path / "overlay.json"
        path.write_text(json.dumps({"all": {"hosts": hosts, "children": groups}}))
        return path

    return write


@pytest.fixture(scope="session")
def loopback_robots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator's process, for all tests that need no lab."""
    devices = [{"name": name} for name in robot_names()]
    with Emulator(tmp_path_factory.mktemp("robots"), *devices) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def enrolled_folder(loopback_robots: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA that has issued nothing yet; each test gets a copy."""
    return enrolled_ca(tmp_path_factory.mktemp("authority"), loopback_robots).folder


@pytest.fixture
def loopback_fleet(tmp_path: Path, loopback_robots: Emulator, enrolled_folder: Path) -> LoopbackFleet:
    """Robots as they left the factory."""
    return LoopbackFleet(tmp_path, loopback_robots, enrolled_folder)
