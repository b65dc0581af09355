# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA host whose clock is wrong: nothing is signed by it, what is there goes on, and what it has made before is repaired."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.clock import UNCOMPARED, Clock
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import iso

from .company import Company
from .test_issuing_ca import issuing, openssl_says
from .workshop import DAY, NOW, Workshop, request

LIMIT = 1800
ELSEWHERE: dict[str, Any] = {"root": {"location": "elsewhere"}}


@pytest.mark.parametrize("error", [0, LIMIT, -LIMIT, LIMIT + 0.9])
def test_within_the_limit(error: float) -> None:
    Clock(NOW - error, LIMIT).refuse_wrong(now=NOW)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (7200, f"2 h ahead of the controller's (it says {iso(NOW)}, the controller {iso(NOW - 7200)})"),
        (-1801, "30 min 1 s behind the controller's"),
    ],
)
def test_beyond_it_both_clocks_are_named(error: int, said: str) -> None:
    with pytest.raises(CAError) as refused:
        Clock(NOW - error, LIMIT).refuse_wrong(now=NOW)
    assert refused.value.code == "ca_clock"
    for part in (said, "more than tls_clock_limit (30 min) allows", "Nothing was changed", "NTP"):
        assert part in str(refused.value)


def test_without_a_controller_nothing_is_compared() -> None:
    UNCOMPARED.refuse_wrong(now=0)


def is_refused(workshop: Workshop, **options: Any) -> bool:
    with pytest.raises(CAError) as refused:
        workshop.create(**options)
    return refused.value.code == "ca_clock"


@pytest.mark.parametrize("fast_by", [10 * 365 * DAY, -LIMIT - 1])
@pytest.mark.parametrize("options", [{}, ELSEWHERE])
def test_no_authority_is_made_by_a_wrong_clock(empty: Workshop, fast_by: int, options: dict[str, Any]) -> None:
    empty.clock = Clock(NOW - fast_by, LIMIT)
    assert is_refused(empty, **options)
    assert list(empty.folder.iterdir()) == []


def test_nothing_is_changed_by_it_and_what_is_there_needs_none(workshop: Workshop) -> None:
    workshop.clock = Clock(NOW - DAY, LIMIT)
    assert workshop.create().due == []
    before = workshop.store.read_text("fleet", "issuing.pem")
    assert is_refused(workshop, domains=["plant.example"])
    os.chmod(workshop.store.path("fleet", "issuing.key"), 0o644)
    assert is_refused(workshop)
    assert workshop.store.read_text("fleet", "issuing.pem") == before
    assert workshop.sql("SELECT count(*) FROM acts") == [(0,)]
    workshop.clock = Clock(NOW, LIMIT)
    assert len(workshop.create(domains=["plant.example"]).due) == 3


def test_nothing_is_issued_by_it_and_what_is_in_force_is_handed_out(workshop: Workshop) -> None:
    asked = request("robot-1")
    first = workshop.issue(asked)["certificates"][asked["id"]]
    workshop.clock = Clock(NOW - LIMIT - 1, LIMIT)
    again = workshop.issue(asked)["certificates"][asked["id"]]
    assert (again["issued"], again["serial"]) == (False, first["serial"])
    with pytest.raises(CAError) as refused:
        workshop.issue(asked, request("robot-2", names=["DNS:robot-2.plant.example"]))
    assert refused.value.code == "ca_clock"
    assert workshop.states() == ["issued"]


def test_an_issuing_ca_that_has_not_begun_is_reissued(workshop: Workshop) -> None:
    workshop.now += 10 * DAY
    workshop.create(domains=["plant.example"])
    early = issuing(workshop)
    workshop.now = NOW
    refused = workshop.issue_one(names=["DNS:robot-1.plant.example"])["error"]
    assert (refused["code"], "playbooks/ca.yml" in refused["message"]) == ("issuer_not_begun", True)
    found = workshop.create(domains=["plant.example"])
    said = "it begins only 2027-01-25T07:00:00Z, a clock was wrong when it was made"
    assert found.due == [f"reissue the issuing CA of authority 'fleet' under its key: {said}"]
    new = issuing(workshop)
    assert (new.spki, new.not_before, new.not_after) == (early.spki, NOW - 3600, early.not_after)
    assert (workshop.create(domains=["plant.example"]).due, found.warnings) == ([], [])
    leaf = workshop.issue_one(names=["DNS:robot-1.plant.example"])["certificate"]
    assert openssl_says(workshop, leaf, at=NOW + 60) == ""


def test_up_to_its_beginning_and_no_longer(workshop: Workshop) -> None:
    workshop.now = issuing(workshop).not_before
    assert (workshop.create().due, workshop.create().warnings) == ([], [])
    workshop.now -= 1
    assert len(workshop.create().warnings) == 1


def test_a_root_that_has_not_begun_is_said_and_signs_nothing(empty: Workshop) -> None:
    empty.now = NOW + 365 * DAY
    empty.create()
    empty.now = NOW
    found = empty.create()
    assert found.due == []
    (said,) = found.warnings
    assert "its root begins only 2028-01-15T07:00:00Z" in said
    assert "NTP" in said
    assert empty.issue_one()["error"]["code"] == "issuer_not_begun"
    # New limits wait for it, as another reissue would be worth as little.
    assert not any("reissue" in said for said in empty.create(domains=["plant.example"]).due)


def test_where_the_root_is_elsewhere_another_chain_is_asked_for(empty: Workshop, tmp_path: Path) -> None:
    company = Company(tmp_path / "company")
    csr = empty.create(**ELSEWHERE).request
    assert csr is not None
    empty.now = NOW + 10 * DAY
    early = company.chain(csr, begin=NOW + 5 * DAY)
    empty.create(**ELSEWHERE, chain=early)
    empty.now = NOW
    found = empty.create(**ELSEWHERE)
    assert "make a CSR" in found.due[0]
    assert "it begins only" in found.due[0]
    assert empty.issue_one()["error"]["code"] == "issuer_not_begun"
    # It ends sooner than the one that has not begun, and is welcome all the same.
    assert found.request_path
    again = empty.create(**ELSEWHERE).request
    assert again is not None
    assert (
        empty.create(**ELSEWHERE, chain=company.chain(again)).due[0] == "adopt the renewed chain of authority 'fleet'"
    )
    assert empty.issue_one()["issued"]
