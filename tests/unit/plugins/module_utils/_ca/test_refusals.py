# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was refused is remembered until it was issued after all."""

from __future__ import annotations

from typing import Any

import pytest

from .workshop import DAY, NOW, Workshop, request


def remembered(workshop: Workshop) -> list[tuple[Any, ...]]:
    return workshop.sql("SELECT identity, name, code, count, first_at, last_at FROM refusals ORDER BY identity, name")


def test_a_refusal_is_counted_until_it_is_issued(workshop: Workshop) -> None:
    for _day in range(3):
        workshop.issue(request("a", csr="nonsense"), request("b"))
        workshop.now += DAY
    assert remembered(workshop) == [("a", "https", "bad_csr", 3, NOW, NOW + 2 * DAY)]
    message = workshop.sql("SELECT message FROM refusals")[0][0]
    assert message.startswith("a/https, CSR: this is no certificate signing request")
    workshop.issue(request("b"))
    assert len(remembered(workshop)) == 1
    assert workshop.issue_one("a")["issued"]
    assert remembered(workshop) == []


def test_another_reason_begins_anew(workshop: Workshop) -> None:
    workshop.issue_one("a", csr="nonsense")
    workshop.now += DAY
    workshop.issue_one("a", profile="nobody")
    assert remembered(workshop) == [("a", "https", "bad_profile", 1, NOW + DAY, NOW + DAY)]


def test_what_is_in_force_after_all_is_forgiven_too(workshop: Workshop) -> None:
    workshop.issue_one("a")
    workshop.issue_one("a", names=["nonsense"])
    assert len(remembered(workshop)) == 1
    assert workshop.issue_one("a")["issued"] is False
    assert remembered(workshop) == []


def test_each_kind_of_refusal_is_remembered(workshop: Workshop) -> None:
    workshop.issue_one("holder", names=["DNS:taken.example"])
    workshop.issue(
        request("a", names=["DNS:taken.example"]),
        request("b", authority="nobody"),
        request("c"),
        request("c", key=1),
        request("d", spki="0" * 64),
        request("e", name="api", lifetime=0),
    )
    assert [row[:3] for row in remembered(workshop)] == [
        ("a", "https", "name_held"),
        ("b", "https", "unknown_authority"),
        ("c", "https", "duplicate_id"),
        ("d", "https", "spki_mismatch"),
        ("e", "api", "bad_lifetime"),
    ]


@pytest.mark.parametrize("field", ["identity", "name"])
def test_nobody_is_blamed_for_a_request_without_a_holder(workshop: Workshop, field: str) -> None:
    answer = workshop.issue({**request("a"), field: None})
    assert answer["certificates"]["a/https"]["error"]["code"] == "bad_request"
    assert remembered(workshop) == []


def test_what_is_remembered_stays_small(workshop: Workshop) -> None:
    workshop.issue({**request("a"), "identity": "x" * 5000, "name": "y" * 5000})
    assert workshop.sql("SELECT length(identity), length(name), length(message) <= 2000 FROM refusals") == [
        (253, 64, 1)
    ]
