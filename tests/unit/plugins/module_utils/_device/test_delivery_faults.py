# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Robots that cut, restart, or take their time: what is served in the end decides, and is said."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import (
    Access,
    Delivered,
    Waiting,
    deliver,
    take_back,
)
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair

from .conftest import Plant

PATIENT = {"wait": {"timeout": 20, "interval": 0.05}}


def patient(plant: Plant, given: Pair, **more: Any) -> Access:
    """To a device whose built-in key is pinned, with time for it."""
    return plant.access(plant.served().spki, leaves=(given.leaf.fingerprint,), **{**PATIENT, **more})


def methods(plant: Plant) -> list[str]:
    return [method for method, _login, _status in plant.requests()]


def settled(plant: Plant, requests: int) -> None:
    """Wait for answers that nobody waited for: they are logged when they are given, and would be counted by the next test."""
    deadline = time.monotonic() + 10
    while len(plant.requests()) < requests and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(plant.requests()) == requests


def test_cut_while_it_reads_it_is_sent_once_more_and_then_said(plant: Plant) -> None:
    built_in, given = plant.served(), plant.pair()
    plant.emulator.control("robot-1", "set", "reset=body")
    done = deliver(patient(plant, given, wait={"timeout": 0.4, "interval": 0.05}), plant.wish(given))
    assert (done.outcome, done.after) == ("failed", built_in)
    assert "the connection broke before the answer was complete" in done.said
    assert "former certificate is still served" in done.said
    assert methods(plant) == ["POST", "POST"]


def test_cut_after_it_took_the_pair_it_is_installed_with_one_upload(plant: Plant) -> None:
    given = plant.pair()
    plant.emulator.control("robot-1", "set", "reset=body_applied")
    assert deliver(patient(plant, given), plant.wish(given)).outcome == "installed"
    assert methods(plant) == ["POST"]


@pytest.mark.parametrize("applies_late", ["0", "0.6"])
def test_a_robot_that_answers_later_than_anybody_waits(plant: Plant, applies_late: str) -> None:
    given = plant.pair()
    plant.emulator.control("robot-1", "set", "answer_delay=1.2", f"delay={applies_late}")
    done = deliver(patient(plant, given, upload={"timeout": 0.3}), plant.wish(given))
    assert done.outcome == "installed"
    settled(plant, 1)


def test_a_robot_that_takes_its_time_is_waited_for_longer_than_other_answers(plant: Plant) -> None:
    given = plant.pair()
    plant.emulator.control("robot-1", "set", "answer_delay=0.6")
    access = patient(plant, given, timeout=0.2, upload={"timeout": 5})
    assert access.client(access.meet()).upload(plant.wish(given).pair).kind == "accepted"
    impatient = patient(plant, given, timeout=5, upload={"timeout": 0.2})
    assert impatient.client(impatient.meet()).upload(plant.wish(plant.pair()).pair).kind == "uncertain"
    settled(plant, 2)


def test_a_robot_that_reboots_with_the_new_pair(plant: Plant) -> None:
    given = plant.pair()
    plant.emulator.control("robot-1", "set", "reboot=0.6")
    assert deliver(patient(plant, given), plant.wish(given)).outcome == "installed"
    assert methods(plant) == ["POST"]


def test_a_robot_that_reboots_for_longer_than_is_waited_is_said_and_the_next_run_finds_it_done(plant: Plant) -> None:
    given = plant.pair()
    plant.emulator.control("robot-1", "set", "reboot=1.2")
    access = patient(plant, given, wait={"timeout": 0.5, "interval": 0.05})
    done = deliver(access, plant.wish(given))
    assert (done.outcome, done.after) == ("failed", None)
    assert "refuses connections" in done.said
    deadline = time.monotonic() + 10
    while access.meet().leaf is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert deliver(plant.access(), plant.wish(given)).outcome == "unchanged"


class Restarting:
    """A clock for waiting: switches the robot off once the new pair was seen, and on again some looks later."""

    def __init__(self, plant: Plant, given: Pair, *, off_for: int) -> None:
        self._plant, self._given = plant, given
        self._looks, self._off_for = 0, off_for
        self._off_at: int | None = None

    def sleep(self, _seconds: float) -> None:
        self._looks += 1
        if self._off_at is None and self._plant.served().fingerprint == self._given.leaf.fingerprint:
            self._plant.emulator.control("robot-1", "set", "power=off")
            self._off_at = self._looks
        elif self._off_at is not None and self._looks == self._off_at + self._off_for:
            self._plant.emulator.control("robot-1", "set", "power=on")

    def clock(self) -> float:
        return float(self._looks)


def served_then_restarted(plant: Plant, *, off_for: int) -> Delivered:
    given = plant.pair()
    access = patient(plant, given, wait={"timeout": 20, "interval": 1})
    restarting = Restarting(plant, given, off_for=off_for)
    waiting = Waiting(sleep=restarting.sleep, clock=restarting.clock)
    return deliver(access, plant.wish(given, hold=4), waiting=waiting)


def test_a_robot_that_serves_the_new_pair_and_restarts_then_is_proved_anew_without_another_upload(plant: Plant) -> None:
    done = served_then_restarted(plant, off_for=5)
    assert done.outcome == "installed"
    assert done.proof is not None
    assert done.proof["held"] >= 4
    assert methods(plant) == ["POST"]


def test_one_that_does_not_come_back_is_no_success(plant: Plant) -> None:
    done = served_then_restarted(plant, off_for=1000)
    assert (done.outcome, done.after) == ("failed", None)
    assert "served, but after" in done.said
    assert "refuses connections" in done.said


def test_what_another_run_brought_in_since_the_request_is_left_alone(plant: Plant) -> None:
    judged = plant.served().fingerprint
    others = installed(plant)
    done = deliver(plant.access(), replace(plant.wish(plant.pair()), judged=judged))
    assert (done.outcome, plant.requests()) == ("unchanged", [])
    assert done.after is not None
    assert done.after.fingerprint == others.leaf.fingerprint
    assert "Another run has brought in a certificate meanwhile" in done.said
    # It must be as good as what was asked for.
    done = deliver(plant.access(), replace(plant.wish(plant.pair()), judged=others.leaf.fingerprint))
    assert (done.outcome, methods(plant)) == ("installed", ["POST"])


def test_two_runs_at_once_do_not_take_turns(plant: Plant) -> None:
    given, others = plant.pair(), plant.pair()
    access = patient(plant, given)
    seconds = 0.0

    def sleep(duration: float) -> None:
        nonlocal seconds
        if seconds == 0:
            assert access.client(access.meet()).upload(plant.wish(others).pair).kind == "accepted"
        seconds += duration

    done = deliver(access, plant.wish(given, hold=1), waiting=Waiting(sleep=sleep, clock=lambda: seconds))
    assert done.outcome == "unchanged"
    assert done.after is not None
    assert done.after.fingerprint == plant.served().fingerprint == others.leaf.fingerprint
    assert methods(plant) == ["POST", "POST"]


def installed(plant: Plant) -> Pair:
    given = plant.pair()
    assert deliver(patient(plant, given), plant.wish(given)).outcome == "installed"
    plant.emulator.forget_log()
    return given


def test_a_proved_pair_is_taken_back(plant: Plant) -> None:
    built_in, given = plant.served(), installed(plant)
    done = take_back(plant.access(), fingerprint=given.leaf.fingerprint, why="Clients do not accept it.")
    assert (done.outcome, done.after) == ("removed", built_in)
    assert done.said.startswith("Clients do not accept it. The new certificate was removed")
    assert methods(plant) == ["DELETE"]


@pytest.mark.parametrize(
    ("switches", "outcome", "said"),
    [
        (["delay=30"], "kept", "did not help"),
        (["login_status=403"], "kept", "did not help"),
        (["power=off"], "failed", "refuses connections"),
        (["impostor=on"], "failed", "By now another certificate is served"),
    ],
)
def test_what_cannot_be_taken_back_is_said(plant: Plant, switches: list[str], outcome: str, said: str) -> None:
    given = installed(plant)
    plant.emulator.control("robot-1", "set", *switches)
    password = {"password": "wrong-Passw0rd"} if "login_status=403" in switches else {}
    done = take_back(plant.access(**password), fingerprint=given.leaf.fingerprint, why="No.")
    assert (done.outcome, said in done.said) == (outcome, True), done.said
    assert "wrong-Passw0rd" not in done.said


def test_nothing_is_taken_back_from_whoever_is_not_recognised(plant: Plant) -> None:
    theirs = plant.authority.pair("DNS:somebody-else.example")
    access = plant.access(plant.served().spki)
    assert access.client(access.meet()).upload(plant.wish(theirs).pair).kind == "accepted"
    plant.emulator.forget_log()
    done = take_back(plant.access(), fingerprint=theirs.leaf.fingerprint, why="No.")
    assert (done.outcome, "the peer is not known" in done.said) == ("kept", True)
    assert plant.requests() == []
