# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an authority signs: its policy, from options to the file and into leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.policy import Policy, read_policy
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_certificate
from ansible_collections.certfleet.tls.plugins.module_utils._x509.profiles import BUILT_IN

from .workshop import Workshop, wish

OWN: dict[str, Any] = {
    "profiles": {"gateway": {"usages": ["clientAuth", "serverAuth"], "max_lifetime": "30d"}},
    "profiles_allowed": ["server"],
    "crl_lifetime": "7d",
}


def file(workshop: Workshop) -> Path:
    return Path(workshop.store.path("fleet", "policy.json"))


def test_without_a_file_all_is_as_built_in(workshop: Workshop) -> None:
    policy = read_policy(workshop.store, "fleet")
    assert (policy, dict(policy.profiles)) == (Policy(), dict(BUILT_IN))
    assert not policy.constraints
    assert not file(workshop).exists()


def test_a_policy_is_written_shown_and_read_back(workshop: Workshop) -> None:
    found = workshop.create(**OWN)
    assert found.due == ["change what authority 'fleet' signs: profiles, crl_lifetime"]
    assert sorted(found.after["policy"]["profiles"]) == ["gateway", "server"]
    assert (found.before["policy"]["crl_lifetime"], found.after["policy"]["crl_lifetime"]) == (30 * 86400, 7 * 86400)
    assert read_policy(workshop.store, "fleet") == Policy.from_options(OWN, where="test")
    assert workshop.create(**OWN).due == []
    assert file(workshop).stat().st_mode & 0o777 == 0o600
    # Back to what is built in.
    assert workshop.create().due == ["change what authority 'fleet' signs: profiles, crl_lifetime"]
    assert read_policy(workshop.store, "fleet") == Policy()


def test_profiles_decide_on_leaves(workshop: Workshop) -> None:
    workshop.create(**OWN)
    leaf = parse_certificate(workshop.issue_one(profile="gateway", lifetime=86400)["certificate"])
    assert leaf.usages == ("clientAuth", "serverAuth")
    for profile in ("client", "unheard-of"):
        message = workshop.issue_one(profile=profile)["error"]["message"]
        assert f"there is no profile '{profile}'. Choose one of gateway, server" in message


def test_a_built_in_profile_may_be_replaced(workshop: Workshop) -> None:
    urls = {"usages": ["serverAuth"], "crl_urls": ["http://pki.plant.example/fleet.crl"]}
    workshop.create(profiles={"server": urls})
    assert read_policy(workshop.store, "fleet").profiles["server"].crl_urls == ("http://pki.plant.example/fleet.crl",)
    assert sorted(read_policy(workshop.store, "fleet").profiles) == ["client", "server", "server_client"]


def test_the_longest_life(workshop: Workshop) -> None:
    assert read_policy(workshop.store, "fleet").longest_life == 90 * 86400
    long = {"usages": ["serverAuth"], "max_lifetime": "2y"}
    assert Policy.from_options({"profiles": {"long": long}}, where="test").longest_life == 2 * 365 * 86400


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", '{"profiles": ["server"]}', '{"domains": ["*"]}', '{"crl_lifetime": "x"}']
)
def test_a_damaged_policy_is_an_error_and_stays(workshop: Workshop, text: str) -> None:
    file(workshop).write_text(text)
    for call in (workshop.create, lambda: read_policy(workshop.store, "fleet")):
        with pytest.raises(CAError, match=r"policy\.json cannot be understood") as refused:
            call()
        assert refused.value.code == "half_ca"
    assert "policy.json cannot be understood" in workshop.info()["problems"]["fleet"]
    assert file(workshop).read_text() == text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"profiles": ["server"]}, "authority 'fleet', profiles: write them as a dictionary"),
        ({"profiles_allowed": ["severe"]}, "profiles_allowed: there is no profile 'severe'"),
        ({"crl_lifetime": "soon"}, "authority 'fleet', crl_lifetime: 'soon' is no span of time"),
        ({"domains": ["*.plant.example"]}, "authority 'fleet', domains: write the domain alone"),
    ],
)
def test_a_wrong_wish_is_explained(empty: Workshop, options: dict[str, Any], said: str) -> None:
    with pytest.raises(X509Error, match=said):
        empty.create(**options)
    assert not Path(empty.store.directory).exists()


def test_the_file_is_for_people_too(workshop: Workshop) -> None:
    workshop.create(**OWN, domains=["plant.example"])
    assert json.loads(file(workshop).read_text()) == {
        "crl_lifetime": 7 * 86400,
        "domains": ["plant.example"],
        "networks": [],
        "profiles": {
            "gateway": {"max_lifetime": 30 * 86400, "usages": ["clientAuth", "serverAuth"]},
            "server": {"usages": ["serverAuth"]},
        },
        "profiles_allowed": ["gateway", "server"],
    }


def test_crls_that_end_before_a_daily_run_are_refused_and_short_ones_remarked(workshop: Workshop) -> None:
    for short in ("1h", "47h"):
        with pytest.raises(
            CAError, match=r"fleet', crl_lifetime: CRLs of less than 2 days.*Nothing was changed"
        ) as refused:
            wish(crl_lifetime=short)
        assert refused.value.code == "bad_request"
    said = workshop.create(crl_lifetime="3d").warnings
    assert ["last only 3.0 days" in warning for warning in said] == [True]
    assert workshop.create(crl_lifetime="7d").warnings == []
