# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a managing system thinks worse of a device, and by what it knows it. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.description import find_api
from ansible_collections.certfleet.tls.plugins.module_utils._device.description_reading import View
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.health import (
    Record,
    Wanted,
    known_by,
    opened,
    values_of,
    worse_by,
)

READY: dict[str, Any] = {"active": True, "fleet_state": 3, "fleet_state_text": "Ready", "status": {"state_id": 3}}


def view(**health: Any) -> View:
    found = find_api("mir", described={}, overrides={"view": {"health": health}} if health else {}, where="fleet").view
    assert found is not None
    return found


def worse(before: dict[str, Any], now: dict[str, Any], seen_by: View | None = None) -> list[str]:
    seen_by = seen_by or view()
    return worse_by(
        seen_by, Record("1", "address", values_of(seen_by, before)), Record("1", "address", values_of(seen_by, now))
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"active": False}, "active was true and is false"),
        ({"fleet_state_text": "Unavailable"}, "fleet_state was Ready and is Unavailable"),
        ({"fleet_state_text": "UNAVAILABLE"}, "fleet_state was Ready and is UNAVAILABLE"),
        ({"fleet_state_text": "Error"}, "fleet_state was Ready and is Error"),
        ({"fleet_state_text": "", "fleet_state": 1}, "fleet_state was Ready and is 1"),
        ({"status": {"state_id": 12}}, "state was 3 and is 12"),
    ],
)
def test_what_is_worse(change: dict[str, Any], said: str) -> None:
    assert worse(READY, {**READY, **change}) == [said]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"status": {"state_id": 5}},
        {"status": {"state_id": 4711}},
        {"fleet_state_text": "Waiting for an elevator"},
        {"fleet_state_text": None, "fleet_state": None},
        {"status": None},
        {"status": "Ready"},
        {"active": None},
    ],
)
def test_what_is_not_worse_or_not_known_to_be(change: dict[str, Any]) -> None:
    assert worse(READY, {**READY, **change}) == []


def test_what_was_bad_before_is_no_worse_and_unknown_counts_as_good() -> None:
    error = {**READY, "fleet_state_text": "Error", "active": False}
    assert worse(error, error) == []
    assert worse(error, {**READY, "fleet_state_text": "Unavailable"}) == []
    strange = {**READY, "fleet_state_text": "Waiting for an elevator"}
    assert worse(strange, {**READY, "fleet_state_text": "Unavailable"}) == [
        "fleet_state was Waiting for an elevator and is Unavailable"
    ]


def test_each_guess_can_be_replaced_or_left_out() -> None:
    mine = view(
        fleet_state={"order": [["Docked"], ["Lost"]]}, active=None, lamp={"field": "lamp", "order": [["on"], ["off"]]}
    )
    assert [criterion.name for criterion in mine.health] == ["fleet_state", "state", "lamp"]
    assert worse(READY, {**READY, "active": False, "fleet_state_text": "Unavailable"}, mine) == []
    assert worse({**READY, "lamp": "on"}, {**READY, "fleet_state_text": "Lost", "lamp": "off"}, mine) == [
        "fleet_state was Ready and is Lost",
        "lamp was on and is off",
    ]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"view": {"item": "/robots"}}, "no {id} in it"),
        (
            {"view": {"health": {"active": {"order": [["x"]]}}}},
            "view.health.active.order is no list of at least two lists",
        ),
        ({"view": {"health": {"active": {"order": [[{}], []]}}}}, "neither a number nor a text"),
        ({"view": {"health": {"active": {"field": "a["}}}}, "no JMESPath expression"),
        ({"view": {"health": {"active": None, "fleet_state": None, "state": None}}}, "names nothing by which"),
        ({"view": {"address": "", "serial": "", "name": ""}}, "could not be told apart"),
        ({"change_states": 3}, "change_states (the states in which the device may be changed"),
        ({"change_states": [3], "status": None}, "no 'status' says how the state is asked for"),
        ({"status": {"path": "status"}}, "no path that begins with a slash"),
    ],
)
def test_descriptions_that_cannot_be_used(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(DeviceError) as caught:
        find_api("mir", described={}, overrides=overrides, where="fleet")
    assert said in str(caught.value)
    assert str(caught.value).startswith("fleet: API 'mir': ")


@pytest.mark.parametrize(
    ("data", "by"),
    [
        ({"ip": "2001:2:0:0::11"}, "address"),
        ({"ip": "::ffff:198.18.0.11"}, "address"),
        ({"ip": "198.18.0.99", "serial_number": "ab12"}, "serial number"),
        ({"ip": "198.18.0.99", "status": {"robot_name": "ROBOT-1"}}, "name"),
        ({"ip": "198.18.0.99", "serial_number": "", "status": "Ready"}, ""),
        ({}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_by_what_a_record_is_known(data: Any, by: str) -> None:
    wanted = Wanted.of(
        "robot-1",
        addresses=["[2001:2::11]", "198.18.0.11", ""],
        serial="AB12",
        names=["robot-1", "", "robot-1.example"],
    )
    assert known_by(view(), data, wanted) == by


def test_nothing_is_known_by_what_nobody_said() -> None:
    nameless = Wanted.of("robot-1", addresses=[""], serial="", names=[""])
    assert known_by(view(), {"ip": "", "serial_number": "", "status": {"robot_name": ""}}, nameless) == ""


def test_a_status_that_is_json_in_a_text_is_opened() -> None:
    assert opened({"status": '{"state_id": 3}', "name": "{broken"}) == {"status": {"state_id": 3}, "name": "{broken"}
    assert opened(["x"]) == ["x"]
    deep = "{" * 100000
    assert opened({"status": deep}) == {"status": deep}
