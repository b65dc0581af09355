# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Robots that are busy are put off by the request step, and once more by the deploy step."""

from __future__ import annotations

from typing import Any

import pytest

from .device_fleet import Fleet, verdict

ALLOWED = {"change_states": [3, 4]}


def deferred(result: dict[str, Any]) -> dict[str, str]:
    return dict(result["certificates"][0].get("deferred") or {})


@pytest.mark.parametrize("plans", [False, True])
def test_a_busy_robot_is_due_and_put_off(fleet: Fleet, plans: bool) -> None:
    fleet.emulator.control("robot-1", "set", "state_id=5")
    requested = fleet.request(fleet.spec(api=ALLOWED), tls_certificate_plans=plans)
    entry = requested["certificates"][0]
    assert entry["verdict"] == "issue"
    assert deferred(requested) == {
        "code": "window",
        "message": "it is in state 5 (Executing), and it is only changed in 3, 4",
    }
    assert (requested["due"], requested["changed"], requested.get("failed")) == (False, False, None)
    assert not {"csr", "sealed"} & set(entry)
    assert fleet.requests() == [("GET", True, 200)]
    assert fleet.deploy(requested, {})["certificates"] == []


@pytest.mark.parametrize("plans", [False, True])
def test_a_robot_that_is_ready_is_due(fleet: Fleet, plans: bool) -> None:
    requested = fleet.request(fleet.spec(api=ALLOWED), tls_certificate_plans=plans)
    assert (verdict(requested), deferred(requested), requested["due"]) == ("issue", {}, True)
    assert ("csr" in requested["certificates"][0]) == (not plans)


def test_what_cannot_be_read_is_put_off_too(fleet: Fleet) -> None:
    fleet.emulator.control("robot-1", "set", "status=no_state")
    assert "answers without a state" in deferred(fleet.request(fleet.spec(api=ALLOWED)))["message"]


def test_nobody_is_asked_in_the_steady_state_in_check_mode_or_a_stranger(fleet: Fleet) -> None:
    fleet.converge(fleet.spec(api=ALLOWED))
    fleet.emulator.forget_log()
    assert verdict(fleet.request(fleet.spec(api=ALLOWED))) == "none"
    assert deferred(fleet.request(fleet.spec(api=ALLOWED, key={"type": "ec-p256"}), check=True)) == {}
    fleet.emulator.control("robot-1", "set", "impostor=on")
    assert verdict(fleet.request(fleet.spec(api=ALLOWED))) == "refuse"
    assert fleet.requests() == []


def test_a_robot_that_leaves_between_request_and_deploy_is_put_off_then(fleet: Fleet) -> None:
    requested = fleet.request(fleet.spec(api=ALLOWED))
    issued = fleet.issue(requested)
    fleet.emulator.control("robot-1", "set", "state_id=5")
    built_in = fleet.served()
    done = fleet.deploy(requested, issued)
    entry = done["certificates"][0]
    assert (entry["outcome"], done["problems"], done["changed"]) == ("deferred", [], False)
    assert "state 5 (Executing)" in entry["said"]
    assert fleet.served() == built_in
    assert [method for method, _login, _status in fleet.requests()] == ["GET", "GET"]


def test_a_wrong_login_is_said_and_not_waited_for(fleet: Fleet) -> None:
    requested = fleet.request(fleet.spec(api={**ALLOWED, "password": "Wr0ng-passw0rd!"}))
    assert requested["failed"]
    assert requested["msg"].startswith("robot-1, certificate 'https'")
    assert "refuses the login of user 'operator'" in requested["msg"]
    assert "Wr0ng-passw0rd!" not in str(requested)
