# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_deploy's step confirm: what others say of a robot's new certificate, and what follows from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.action.device_deploy import ActionModule as Deploy
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD

from .device_fleet import Fleet


class Deployed:
    """A robot that has just got its certificate, and the run's variables."""

    def __init__(self, fleet: Fleet, **spec: Any) -> None:
        self.fleet = fleet
        self.requested = fleet.request(fleet.spec(**spec))
        self.issued = fleet.issue(self.requested)
        self.done = fleet.deploy(self.requested, self.issued)
        assert [entry["outcome"] for entry in self.done["certificates"]] == ["installed"], self.done
        fleet.emulator.forget_log()

    def confirm(self, *, looks: Any = None, view: Any = None, check: bool = False, **more: Any) -> dict[str, Any]:
        variables = {
            "__tls_certificate_ca": self.fleet.ca(),
            "__tls_certificate_request": self.requested,
            "__tls_certificate_issue": self.issued,
            "__tls_certificate_deploy": self.done,
            "__tls_certificate_look": looks,
            "__tls_certificate_view": view,
            **more,
        }
        return self.fleet.run(Deploy, {"step": "confirm"}, check=check, **variables)


def seen(*, trusted: bool = True, failure: str | None = None) -> dict[str, Any]:
    look = {"name": "robot-1/https", "trusted": trusted, "failure": failure, "said": "the client's own words"}
    return {"results": [{"item": "client", "endpoints": [look]}]}


def worse(said: str = "fleet thinks worse of it") -> dict[str, Any]:
    return {"available": True, "devices": {"robot-1": {"worse": True, "said": said}}}


def only(result: dict[str, Any]) -> dict[str, Any]:
    (entry,) = result["certificates"]
    return dict(entry)


def test_what_clients_accept_is_confirmed_and_nothing_is_sent(fleet: Fleet) -> None:
    deployed = Deployed(fleet)
    result = deployed.confirm(looks=seen())
    assert (result["changed"], result["confirmed"], result["problems"]) == (False, True, [])
    assert result["ticket"] == deployed.done["ticket"] != ""
    entry = only(result)
    assert (entry["outcome"], entry["confirmed"]) == ("installed", True)
    assert "revised" not in entry
    assert fleet.requests() == []


def test_where_nobody_could_look_it_stays_with_a_note(fleet: Fleet) -> None:
    result = Deployed(fleet).confirm()
    entry = only(result)
    assert (result["changed"], result["problems"], entry["outcome"]) == (False, [], "installed")
    assert "Not confirmed: no other machine could look at it" in entry["said"]
    assert "confirmed" not in entry
    assert fleet.requests() == []


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"looks": seen(trusted=False, failure="chain")}, "clients do not accept it"),
        ({"looks": seen(), "view": worse()}, "fleet thinks worse of it"),
    ],
)
def test_by_default_what_is_not_accepted_is_kept_and_said(fleet: Fleet, others: dict[str, Any], said: str) -> None:
    deployed = Deployed(fleet)
    result = deployed.confirm(**others)
    entry = only(result)
    assert (entry["outcome"], entry["revised"], result["changed"]) == ("kept", True, False)
    assert said in result["problems"][0]
    assert "The new certificate was left in place" in entry["said"]
    assert entry["after"] == only(deployed.done)["after"]
    assert fleet.requests() == []


def test_on_failure_remove_brings_the_built_in_certificate_back(fleet: Fleet) -> None:
    built_in = fleet.served()
    result = Deployed(fleet, on_failure="remove").confirm(looks=seen(), view=worse())
    entry = only(result)
    assert (entry["outcome"], entry["revised"], result["changed"]) == ("removed", True, True)
    assert fleet.served() == built_in
    assert entry["after"]["fingerprint"] == built_in.fingerprint
    assert fleet.requests() == [("DELETE", True, 204)]
    assert PASSWORD not in json.dumps(result)


def test_what_cannot_be_removed_is_kept_and_said(fleet: Fleet) -> None:
    deployed = Deployed(fleet, on_failure="remove")
    deployed.requested["certificates"][0]["sealed"] = "AAAA"
    result = deployed.confirm(view=worse())
    assert only(result)["outcome"] == "kept"
    assert "It was to be removed, but: " in only(result)["said"]


def test_an_impostor_is_sent_no_removal(fleet: Fleet) -> None:
    deployed = Deployed(fleet, on_failure="remove")
    fleet.emulator.control("robot-1", "set", "impostor=on")
    assert only(deployed.confirm(view=worse()))["outcome"] == "failed"
    assert fleet.requests() == []


def test_other_outcomes_are_handed_on_as_they_are(fleet: Fleet) -> None:
    deployed = Deployed(fleet)
    deployed.done["certificates"][0].update(outcome="failed", said="no")
    result = deployed.confirm(view=worse())
    assert result["certificates"] == deployed.done["certificates"]
    assert result["problems"] == ["robot-1/https: failed: no"]


def test_in_check_mode_and_without_a_deploy_there_is_nothing_to_do(fleet: Fleet) -> None:
    deployed = Deployed(fleet, on_failure="remove")
    assert deployed.confirm(view=worse(), check=True)["certificates"] == deployed.done["certificates"]
    assert deployed.confirm(view=worse(), __tls_certificate_deploy=None)["certificates"] == []
    assert fleet.requests() == []


def test_it_belongs_to_the_flow(fleet: Fleet) -> None:
    result = fleet.run(Deploy, {"step": "confirm", "address": fleet.address})
    assert result["failed"]
    assert "belongs to the flow" in result["msg"]
