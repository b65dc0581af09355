# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_request and device_deploy where something is due, but is only planned, or has to wait."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import iso

from .device_fleet import Fleet, codes, verdict

MATERIAL = {"csr", "sealed"}


def closed() -> list[dict[str, str]]:
    """A window that opens in two hours."""
    begin = datetime.now(tz=timezone.utc) + timedelta(hours=2)
    return [{"from": f"{begin:%H:%M}", "to": f"{begin + timedelta(hours=1):%H:%M}"}]


def failed(count: int = 1) -> dict[str, Any]:
    now = iso(time.time() - 60)
    said = "the robot serves its old certificate"
    return {"https": {"count": count, "first_at": now, "last_at": now, "outcome": "kept", "said": said}}


def test_a_plan_makes_no_key_and_the_play_behind_it_does(fleet: Fleet) -> None:
    planned = fleet.request(tls_certificate_plans=True)
    (entry,) = planned["certificates"]
    assert (entry["verdict"], planned["due"], planned["changed"]) == ("issue", True, False)
    assert not MATERIAL & set(entry)
    assert (entry["names"], entry["lifetime"]) == (sorted(fleet.spec()["subject_alt_names"]), 90 * 86400)
    requested = fleet.request(tls_certificate_plans=False)
    assert requested["changed"]
    assert set(requested["certificates"][0]) - set(entry) == MATERIAL


@pytest.mark.parametrize("more", [{}, {"check": True}, {"tls_certificate_plans": True}])
def test_outside_its_window_a_device_is_left_alone(fleet: Fleet, more: dict[str, Any]) -> None:
    requested = fleet.request(tls_change_windows=closed(), **more)
    (entry,) = requested["certificates"]
    assert (verdict(requested), codes(requested), entry["deferred"]["code"]) == ("issue", ["missing"], "window")
    assert (requested["due"], requested["changed"], "ticket" in requested) == (False, False, False)
    assert not MATERIAL & set(entry)
    assert "deferred (window)" in requested["msg"]
    done = fleet.deploy(requested, {})
    assert (done["certificates"], done["problems"], done["changed"]) == ([], [], False)
    assert fleet.requests() == []


def test_after_a_failure_it_rests_and_says_what_it_was(fleet: Fleet) -> None:
    fleet.failures = failed(2)
    requested = fleet.request()
    (entry,) = requested["certificates"]
    assert (entry["deferred"]["code"], entry["failures"]) == ("backoff", 2)
    assert "this has failed 2 times in a row" in entry["reasons"][0]["message"]
    assert "(kept): the robot serves its old certificate" in entry["reasons"][0]["message"]
    assert not requested.get("failed")
    assert fleet.request(tls_retry_now=True)["due"]
    assert fleet.request(fleet.spec(name="other"))["due"]


def test_a_pause_of_the_whole_run_holds_back_what_has_not_failed(fleet: Fleet) -> None:
    ca = {**fleet.ca(), "pause": {"message": "6 certificates have failed lately", "except": []}}
    requested = fleet.request(ca=ca)
    assert requested["certificates"][0]["deferred"] == {
        "code": "budget",
        "message": "6 certificates have failed lately",
    }
    assert fleet.request(ca={**ca, "pause": {**ca["pause"], "except": ["robot-1"]}})["due"]


def test_a_deferred_certificate_does_not_hold_back_another(fleet: Fleet) -> None:
    fleet.failures = failed()
    requested = fleet.request(fleet.spec(), fleet.spec(name="other"))
    assert (requested["due"], requested["changed"]) == (True, True)
    done = fleet.deploy(requested, fleet.issue(requested))
    assert [(entry["id"], entry["outcome"]) for entry in done["certificates"]] == [("robot-1/other", "installed")]


def test_a_device_that_is_refused_does_not_wait(fleet: Fleet) -> None:
    fleet.pins = []
    requested = fleet.request(tls_change_windows=closed())
    assert verdict(requested) == "refuse"
    assert "deferred" not in requested["certificates"][0]


def test_a_wrong_window_is_said_where_something_is_due(fleet: Fleet) -> None:
    requested = fleet.request(tls_change_windows=[{"from": 1320}])
    assert requested["failed"]
    assert requested["msg"].startswith("robot-1: tls_change_windows[0].from is 1320")
    fleet.converge()
    assert verdict(fleet.request(tls_change_windows=[{"from": 1320}])) == "none"
