# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an authority signs is for its own rules to say: its profiles, its limits, its longest lives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import ItemError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.orders import admit, read_order
from ansible_collections.certfleet.tls.plugins.module_utils._ca.policy import Policy
from ansible_collections.certfleet.tls.plugins.module_utils._x509.constraints import Constraints
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import iso, parse_certificate

from .workshop import DAY, NOW, Workshop, request

SHORT = {"profiles": {"short": {"usages": ["serverAuth"], "max_lifetime": "10d"}}}
LIMITED = {"domains": ["plant.example"], "networks": ["198.19.0.0/16"]}


def test_own_profiles_and_those_that_are_allowed(empty: Workshop) -> None:
    empty.create(profiles={"probe": {"usages": ["clientAuth"]}}, profiles_allowed=["server"])
    issued = empty.issue(request("a", profile="server"), request("b", profile="probe"), request("c", profile="client"))
    leaf = parse_certificate(issued["certificates"]["b/https"]["certificate"])
    assert leaf.usages == ("clientAuth",)
    error = issued["certificates"]["c/https"]["error"]
    assert error["code"] == "bad_profile"
    assert error["message"].startswith(
        "c/https, authority 'fleet': there is no profile 'client'. Choose one of probe, server"
    )
    assert empty.states() == ["issued", "issued"]


@pytest.mark.parametrize(
    ("profile", "asked", "code"),
    [
        ("probe", {"names": [], "common_name": "x"}, None),
        ("probe", {"names": [], "common_name": None}, "bad_names"),
        ("both", {"names": [], "common_name": "x"}, "bad_names"),
        ("both", {"names": ["DNS:x.example"], "common_name": None}, None),
    ],
)
def test_usages_decide_which_names_are_needed(
    empty: Workshop, profile: str, asked: dict[str, Any], code: str | None
) -> None:
    empty.create(profiles={"probe": {"usages": ["clientAuth"]}, "both": {"usages": ["serverAuth", "clientAuth"]}})
    answer = empty.issue_one(profile=profile, **asked)
    assert answer.get("error", {}).get("code") == code


def test_a_profile_may_limit_lives(empty: Workshop) -> None:
    empty.create(**SHORT)
    long = empty.issue_one(profile="short")
    assert (long["not_before"], long["not_after"]) == (iso(NOW - 3600), iso(NOW + 10 * DAY))
    assert long["notes"] == [
        "lives 864000 s, not 7776000 s as asked: profile 'short' of authority 'fleet' allows no more"
    ]
    # What is reckoned with when the issuing CA renews is the life that leaves really have.
    assert empty.sql("SELECT lifetime FROM certificates WHERE identity != ''") == [(10 * DAY,)]
    again = empty.issue_one(profile="short")
    assert (again["serial"], again["issued"], again["notes"]) == (long["serial"], False, [])
    assert empty.issue_one("robot-2", profile="short", lifetime=10 * DAY)["notes"] == []
    assert empty.issue_one("robot-3")["not_after"] == iso(NOW + 90 * DAY)


@pytest.mark.parametrize("renew_before", [11 * DAY, 60 * DAY])
def test_a_limited_life_that_is_shorter_than_its_renewal_is_not_issued_each_day(
    empty: Workshop, renew_before: int
) -> None:
    empty.create(**SHORT)
    empty.issue_one(profile="short", renew_before=renew_before)
    empty.now += DAY
    assert empty.issue_one(profile="short", renew_before=renew_before)["issued"] is False


def test_names_outside_the_limits_are_refused_before_anything_is_reserved(empty: Workshop) -> None:
    empty.create(**LIMITED)
    good = request("robot-1")
    bad = request("b", names=["DNS:b.plant.example", "DNS:b.other.example", "IP:198.20.0.1", "IP:2001:2::1"])
    answers = empty.issue(good, bad)["certificates"]
    error = answers["b/https"]["error"]
    assert error["code"] == "outside_constraints"
    assert "does not certify DNS:b.other.example, IP:198.20.0.1, IP:2001:2::1:" in error["message"]
    assert answers["robot-1/https"]["issued"]
    assert empty.states() == ["issued"]


def test_a_client_that_is_called_like_a_host_elsewhere_is_outside(empty: Workshop) -> None:
    empty.create(**LIMITED)
    client = {"profile": "client", "names": []}
    assert empty.issue_one(**client, common_name="x.other.example")["error"]["code"] == "outside_constraints"
    assert empty.issue_one(**client, common_name="thing 7")["issued"]


NAMES = st.lists(
    st.sampled_from(["DNS:a.plant.example", "DNS:a.other.example", "IP:198.19.0.1", "IP:198.20.0.1", "IP:2001:2::1"]),
    min_size=1,
)
ORDER = {**request(), "csr": request()["csr"]}


@given(
    names=NAMES,
    limits=st.sampled_from([([], []), (["plant.example"], []), ([], ["198.19.0.0/16"]), (["example"], ["::/0"])]),
    lifetime=st.integers(1, 400 * DAY),
    longest=st.none() | st.integers(1, 400 * DAY),
)
def test_whatever_is_admitted_keeps_to_the_rules(
    names: list[str], limits: tuple[list[str], list[str]], lifetime: int, longest: int | None
) -> None:
    constraints = Constraints.parse(*limits, where="test")
    policy = Policy.from_options(
        {"profiles": {"p": {"usages": ["serverAuth"], **({"max_lifetime": longest} if longest else {})}}}, where="test"
    )
    order = read_order({**ORDER, "profile": "p", "names": names, "lifetime": lifetime})
    try:
        admitted, profile, notes = admit(order, policy=policy, constraints=constraints)
    except ItemError as exc:
        assert exc.code == "outside_constraints"
        assert constraints.outside(order.names)
        return
    assert (profile.name, admitted.names) == ("p", order.names)
    assert not constraints.outside(admitted.names)
    assert admitted.lifetime == min(lifetime, longest or lifetime)
    assert bool(notes) is (admitted.lifetime != lifetime)
