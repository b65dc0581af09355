# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people ask the ledger."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.identities import Act, perform
from ansible_collections.certfleet.tls.plugins.module_utils._ca.inquiries import Inquiry, answer
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error

from .workshop import DAY, Workshop, request


def ask(workshop: Workshop, kind: str, *, within: str = "30d", **only: list[str]) -> dict[str, Any]:
    asked = Inquiry.parse(kind, within=within, identities=only.get("identities", ()), names=only.get("names", ()))
    return answer(asked, store=workshop.store, now=workshop.now)


def listed(workshop: Workshop, kind: str, **more: Any) -> list[str]:
    return [f"{item['identity']}/{item['name']}" for item in ask(workshop, kind, **more)["certificates"]]


def named(name: str) -> dict[str, Any]:
    """What differs in the request of another machine, so that no name is held twice."""
    return {"common_name": name, "names": [f"DNS:{name}.plant.example"]}


@pytest.fixture
def fleet(workshop: Workshop) -> Workshop:
    """Three machines: leaves of 20, 90 and 90 days; that of robot-2 is in service."""
    requests = [
        request("robot-1", lifetime=20 * DAY, **named("robot-1")),
        request("robot-2", key=1, **named("robot-2")),
        request("robot-3", key=2, **named("robot-3")),
    ]
    issued = workshop.issue(*requests)["certificates"]
    workshop.install(issued["robot-2/https"], "robot-2")
    return workshop


def test_a_certificate_is_told_as_the_ledger_knows_it(fleet: Workshop) -> None:
    (told,) = ask(fleet, "issued", identities=["robot-2"])["certificates"]
    assert told == {
        "identity": "robot-2",
        "name": "https",
        "authority": "fleet",
        "profile": "server",
        "common_name": "robot-2",
        "names": ["DNS:robot-2.plant.example"],
        "serial": told["serial"],
        "fingerprint": told["fingerprint"],
        "spki": request(key=1)["spki"],
        "state": "issued",
        "not_before": "2027-01-15T07:00:00Z",
        "not_after": "2027-04-15T08:00:00Z",
        "why": ["missing"],
        "issued_at": "2027-01-15T08:00:00Z",
        "installed_at": "2027-01-15T08:00:00Z",
        "outcome": {"outcome": "installed", "at": "2027-01-15T08:00:00Z", "said": ""},
    }
    (undeployed,) = ask(fleet, "issued", identities=["robot-3"])["certificates"]
    assert {"installed_at", "outcome", "revoked_at", "revocation_reason"}.isdisjoint(undeployed)


def test_all_leaves_in_force_and_none_of_the_authority_itself(fleet: Workshop) -> None:
    everybody = ["robot-1/https", "robot-2/https", "robot-3/https"]
    assert listed(fleet, "issued") == listed(fleet, "all") == everybody
    fleet.now += 21 * DAY
    assert listed(fleet, "issued") == everybody[1:]
    states = {item["identity"]: item["state"] for item in ask(fleet, "all")["certificates"]}
    assert states == {"robot-1": "expired", "robot-2": "issued", "robot-3": "issued"}


def test_expiring_is_what_ends_within_or_has_ended_the_first_first(fleet: Workshop) -> None:
    assert listed(fleet, "expiring", within="19d") == []
    assert listed(fleet, "expiring", within="20d") == ["robot-1/https"]
    assert listed(fleet, "expiring", within="90d") == ["robot-1/https", "robot-2/https", "robot-3/https"]
    fleet.now += 30 * DAY
    assert listed(fleet, "expiring", within="1d") == ["robot-1/https"]


def test_a_renewal_ends_the_care_for_the_old_one_once_it_is_in_service(fleet: Workshop) -> None:
    fleet.now += 70 * DAY
    renewed = fleet.issue_one("robot-2", key=3, **named("robot-2"))
    assert renewed["issued"]
    assert "robot-2/https" in listed(fleet, "expiring")
    fleet.install(renewed, "robot-2")
    assert "robot-2/https" not in listed(fleet, "expiring")
    # robot-3 has never been deployed: what is newest counts.
    assert "robot-3/https" in listed(fleet, "expiring")
    fleet.issue_one("robot-3", key=0, **named("robot-3"))
    assert "robot-3/https" not in listed(fleet, "expiring")


def test_a_decommissioned_machine_needs_no_care_until_it_comes_back(fleet: Workshop) -> None:
    fleet.now += 30 * DAY
    gone = Act.from_options({"identity": "robot-1", "state": "decommissioned"})
    perform(gone, store=fleet.store, now=fleet.now)
    assert listed(fleet, "expiring") == []
    fleet.now += DAY
    perform(Act("present", "robot-1"), store=fleet.store, now=fleet.now)
    assert listed(fleet, "expiring") == []
    fleet.issue_one("robot-1", key=3, lifetime=DAY, **named("robot-1"))
    assert listed(fleet, "expiring") == ["robot-1/https"]


def test_by_identity_and_by_name(fleet: Workshop) -> None:
    assert listed(fleet, "all", identities=["robot-3", "robot-9"]) == ["robot-3/https"]
    assert listed(fleet, "all", names=["DNS:Robot-1.plant.example", "CN:robot-2"]) == ["robot-1/https", "robot-2/https"]
    assert listed(fleet, "all", names=["DNS:plant.example"]) == []
    assert listed(fleet, "all", identities=["robot-3"], names=["CN:robot-2"]) == []
    with pytest.raises(X509Error, match="names: the name 'robot-1' is neither DNS nor IP"):
        ask(fleet, "all", names=["robot-1"])


def test_what_was_refused(fleet: Workshop) -> None:
    row = "INSERT INTO refusals (identity, name, code, message, count, first_at, last_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
    fleet.sql(row, "robot-8", "https", "bad_csr", "no CSR", 1, fleet.now - 9, fleet.now - 9)
    fleet.sql(row, "robot-9", "https", "name_held", "held by robot-1", 3, fleet.now - 60, fleet.now)
    told = ask(fleet, "refused")
    assert told["certificates"] == []
    assert told["refusals"] == [
        {
            "identity": "robot-9",
            "name": "https",
            "code": "name_held",
            "message": "held by robot-1",
            "count": 3,
            "first_at": "2027-01-15T07:59:00Z",
            "last_at": "2027-01-15T08:00:00Z",
        },
        {**told["refusals"][1], "identity": "robot-8", "code": "bad_csr"},
    ]
    assert [item["identity"] for item in ask(fleet, "all", identities=["robot-8"])["refusals"]] == ["robot-8"]
    assert ask(fleet, "issued")["refusals"] == []


def test_without_a_ca_there_is_no_answer(empty: Workshop) -> None:
    with pytest.raises(CAError) as caught:
        ask(empty, "all")
    assert caught.value.code == "missing"
