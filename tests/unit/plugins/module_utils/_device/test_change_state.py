# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Robots are changed in configured states only; what cannot be read is no yes."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.change_state import check_state
from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Access, Waiting, deliver
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError

from .conftest import Plant


def access(plant: Plant, **more: Any) -> Access:
    return plant.access(plant.served().spki, **{"change_states": [3, "4"], **more})


def test_nobody_is_asked_where_any_state_will_do(plant: Plant) -> None:
    assert check_state(access(plant, change_states=[])) is None
    assert plant.requests() == []


@pytest.mark.parametrize("state", [3, 4])
def test_a_state_that_is_allowed(plant: Plant, state: int) -> None:
    plant.emulator.control("robot-1", "set", f"state_id={state}")
    assert check_state(access(plant)) is None
    assert plant.requests() == [("GET", True, 200)]


def test_another_state_is_said_with_its_words(plant: Plant) -> None:
    plant.emulator.control("robot-1", "set", "state_id=5")
    assert check_state(access(plant)) == "it is in state 5 (Executing), and it is only changed in 3, 4"


@pytest.mark.parametrize(
    ("switches", "more", "said"),
    [
        (["status=error"], {}, "could not be read (127."),
        (["status=no_state"], {}, "without a state (looked for: state_id || [0].state)"),
        ([], {"status": {"path": "/nowhere"}}, "status 404"),
        ([], {"status": {"field": "errors"}}, "without a state (looked for: errors)"),
        ([], {"base_path": "", "status": {"path": "/index.html"}}, "something that is no JSON"),
        ([], {"status": {"field": "to_number(@)"}}, "without a state"),
    ],
)
def test_a_state_that_cannot_be_read_is_no_yes(
    plant: Plant, switches: list[str], more: dict[str, Any], said: str
) -> None:
    if switches:
        plant.emulator.control("robot-1", "set", *switches)
    told = check_state(access(plant, **more))
    assert told is not None
    assert said in told
    assert "only changed in 3, 4" in told


def test_a_stranger_is_not_asked(plant: Plant) -> None:
    told = check_state(plant.access(change_states=[3]))
    assert told is not None
    assert "could not be asked for" in told
    assert plant.requests() == []


def test_a_login_that_is_refused_or_missing_is_an_error_and_not_a_matter_of_waiting(plant: Plant) -> None:
    with pytest.raises(DeviceError, match="refuses the login of user 'operator'"):
        check_state(access(plant, password="wrong-Passw0rd"))
    with pytest.raises(DeviceError, match="no login is given"):
        check_state(access(plant, password=""))


def test_texts_are_states_too_and_lists_are_looked_into(plant: Plant) -> None:
    assert check_state(access(plant, change_states=["ready"], status={"field": "state_text"})) is None


def test_right_before_the_upload_it_is_looked_at_once_more(plant: Plant) -> None:
    built_in, given = plant.served(), plant.pair()
    plant.emulator.control("robot-1", "set", "state_id=5")
    done = deliver(access(plant), plant.wish(given))
    assert (done.outcome, done.after) == ("deferred", built_in)
    assert "state 5 (Executing)" in done.said
    assert plant.requests() == [("GET", True, 200)]
    plant.emulator.control("robot-1", "set", "state_id=3")
    assert deliver(access(plant), plant.wish(given)).outcome == "installed"


def test_a_second_upload_waits_for_no_mission_either(plant: Plant) -> None:
    """The first one was ignored; by the second the robot has left."""
    built_in = plant.served()
    plant.emulator.control("robot-1", "set", "upload=ignore")
    there = access(plant)
    clock = iter(range(1000))

    def leave(_seconds: float) -> None:
        plant.emulator.control("robot-1", "set", "state_id=5")

    done = deliver(there, plant.wish(plant.pair()), waiting=Waiting(sleep=leave, clock=lambda: next(clock) / 4))
    assert (done.outcome, done.after) == ("failed", built_in)
    assert "It was not sent again: it is in state 5" in done.said
    assert [method for method, _login, _status in plant.requests()] == ["GET", "POST", "GET"]
