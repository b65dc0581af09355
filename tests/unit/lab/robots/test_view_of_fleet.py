# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the emulated Fleet says of its robots: what they really answer, and what its switches make of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.certfleet.tls.tests.unit.emulated_devices import Emulator
from ansible_collections.certfleet.tls.tests.unit.lab.robots.device_client import ask, upload
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

UNAVAILABLE = (False, "Unavailable", "Ready")
READY = (True, "Ready", "Ready")
ERROR = (True, "Error", "Error")


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    devices = [{"name": "robot-1"}, {"name": "robot-2"}, {"name": "fleet", "profile": "fleet"}]
    with Emulator(tmp_path_factory.mktemp("emulator"), *devices) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    running.forget_log()
    yield running
    running.control("all", "factory")


def robots(emulator: Emulator) -> Any:
    return ask(emulator, "fleet", "GET", "/api/v2.0.0/robots")[1]


def seen(emulator: Emulator, number: int) -> tuple[bool, str, str] | None:
    """(active, state of the Fleet, state of the robot); None for a robot that Fleet does not know."""
    status, robot = ask(emulator, "fleet", "GET", f"/api/v2.0.0/robots/{number}")
    return (robot["active"], robot["fleet_state_text"], robot["status"]["state_text"]) if status == 200 else None


def test_the_list_is_shallow_and_details_name_the_robot(emulator: Emulator) -> None:
    assert [set(robot) for robot in robots(emulator)] == [{"id", "url"}] * 2
    detail = ask(emulator, "fleet", "GET", "/api/v2.0.0/robots/2")[1]
    assert (detail["id"], detail["ip"]) == (2, emulator.address("robot-2"))
    assert detail["status"]["robot_name"] == "robot-2"
    serial = ask(emulator, "robot-2", "GET", "/api/v2.0.0/status")[1]["serial_number"]
    assert detail["serial_number"] == serial
    assert ask(emulator, "fleet", "GET", "/api/v2.0.0/robots/3")[0] == 404
    emulator.control("fleet", "set", "status_as=string")
    detail = ask(emulator, "fleet", "GET", "/api/v2.0.0/robots/2")[1]
    assert json.loads(detail["status"])["robot_name"] == "robot-2"


def test_the_list_may_be_full_or_broken(emulator: Emulator) -> None:
    emulator.control("fleet", "set", "robots_list=full")
    assert [robot["ip"] for robot in robots(emulator)] == [emulator.address(name) for name in ("robot-1", "robot-2")]
    emulator.control("fleet", "set", "robots_list=error")
    assert ask(emulator, "fleet", "GET", "/api/v2.0.0/robots")[0] == 500
    emulator.control("fleet", "set", "robots_list=garbage")
    assert isinstance(robots(emulator), str)


def test_fleet_really_connects(emulator: Emulator) -> None:
    assert seen(emulator, 2) == READY
    entry = emulator.log("request", "robot-2")[-1]
    assert (entry["client"], entry["scheme"]) == (emulator.address("fleet"), "https")
    assert not entry["authorization"]
    for switch in ("https=off", "power=off"):
        emulator.control("robot-2", "set", switch)
        assert seen(emulator, 2) == UNAVAILABLE
    emulator.control("robot-2", "unset")
    assert seen(emulator, 2) == READY


def test_a_robot_that_never_answers_costs_fleet_a_bounded_time(emulator: Emulator) -> None:
    emulator.control("robot-2", "set", "https=hang")
    begin = time.monotonic()
    assert seen(emulator, 2) == UNAVAILABLE
    assert time.monotonic() - begin < 4


@pytest.mark.parametrize(("view", "expected"), [("unavailable", UNAVAILABLE), ("error", ERROR), ("gone", None)])
def test_the_view_worsens_with_an_upload_to_that_robot(
    emulator: Emulator, ours: TestAuthority, view: str, expected: tuple[bool, str, str] | None
) -> None:
    emulator.control("robot-2", "set", f"fleet_view_after={view}")
    assert seen(emulator, 2) == READY
    upload(emulator, ours.pair("IP:127.0.0.1"), "robot-2")
    assert seen(emulator, 2) == expected
    assert [robot["id"] for robot in robots(emulator)] == ([1] if view == "gone" else [1, 2])
    assert seen(emulator, 1) == READY
    ask(emulator, "robot-2", "DELETE", "/api/v2.0.0/ssl/cert")
    assert seen(emulator, 2) == READY


def test_the_view_may_worsen_for_a_moment_or_before_any_upload(emulator: Emulator, ours: TestAuthority) -> None:
    emulator.control("robot-1", "set", "fleet_view_after=error", "fleet_view_time=0.6")
    upload(emulator, ours.pair("IP:127.0.0.1"))
    assert seen(emulator, 1) == ERROR
    time.sleep(0.7)
    assert seen(emulator, 1) == READY
    emulator.control("robot-1", "set", "fleet_view=unavailable")
    assert seen(emulator, 1) == UNAVAILABLE


def test_unset_ends_a_view_that_an_upload_has_worsened(emulator: Emulator, ours: TestAuthority) -> None:
    emulator.control("robot-1", "set", "fleet_view_after=gone")
    upload(emulator, ours.pair("IP:127.0.0.1"))
    assert seen(emulator, 1) is None
    emulator.control("robot-1", "unset")
    assert seen(emulator, 1) == READY
