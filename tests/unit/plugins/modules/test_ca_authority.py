# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ca_authority as a CA host runs it: limits, profiles, and a root elsewhere; check, apply, apply again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_issuing, build_root, ca_name
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import serialization, x509
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_bundle

from .test_ca_host import Host, request

LIMITS: dict[str, Any] = {"domains": ["plant.example"], "networks": ["198.18.0.0/15", "2001:2::/48"]}
ELSEWHERE: dict[str, Any] = {"root": {"location": "elsewhere"}}
BEGIN, END = 1_700_000_000, 2_100_000_000


def sign(request_pem: str) -> str:
    """What a root elsewhere sends back: issuing CA and root."""
    key = new_key("ec-p256")
    root = build_root(key, subject=ca_name("company"), not_before=BEGIN, not_after=END)
    csr = x509.load_pem_x509_csr(request_pem.encode())
    signed = build_issuing(
        csr.public_key(), root=root, root_key=key, subject=csr.subject, not_before=BEGIN, not_after=END
    )
    return "".join(item.public_bytes(serialization.Encoding.PEM).decode() for item in (signed, root))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_limits_and_profiles_check_apply_apply_again(host: Host) -> None:
    host.create()
    wanted = {**LIMITS, "profiles_allowed": ["server"], "crl_lifetime": "7d"}
    predicted, done = host.create(check=True, **wanted), host.create(**wanted)
    assert predicted["due"] == done["due"]
    assert [sentence.split(":")[0] for sentence in done["due"]] == [
        "reissue the issuing CA of authority 'fleet' under its key",
        "change what authority 'fleet' signs",
    ]
    assert done["diff"]["after"]["policy"]["domains"] == ["plant.example"]
    assert "BEGIN" not in json.dumps(done["diff"])
    issuing = done["authority"]["issuing"]
    assert (issuing["domains"], issuing["networks"]) == (LIMITS["domains"], LIMITS["networks"])
    again = host.create(**wanted)
    assert (again["changed"], again["authority"]) == (False, done["authority"])
    answers = host.run("ca_issue", requests=[request(), request("x", names=["DNS:a.other.example"])])["certificates"]
    assert answers["robot-1/https"]["issued"]
    assert answers["x/https"]["error"]["code"] == "outside_constraints"
    refused = host.create(domains=["other.example"])
    assert (refused["failed"], refused["code"]) == (True, "narrowing")
    assert "robot-1/https has DNS:robot-1.plant.example" in refused["msg"]


def test_a_root_elsewhere(host: Host) -> None:
    predicted = host.create(check=True, **ELSEWHERE)
    assert (predicted["awaiting"], predicted["csr"], list(host.folder.iterdir())) == (True, None, [])
    asked = host.create(**ELSEWHERE)
    assert (asked["changed"], asked["awaiting"], asked["authority"]) == (True, True, {"name": "fleet"})
    assert Path(asked["csr_path"]).read_text() == asked["csr"]
    assert [("waits for its chain" in str(warning)) for warning in asked["warnings"]] == [True]
    again = host.create(**ELSEWHERE)
    assert (again["changed"], again["csr"]) == (False, asked["csr"])
    chain = sign(asked["csr"])
    unknown = host.create(**ELSEWHERE, chain=chain)
    assert (unknown["changed"], unknown["awaiting"], unknown["csr"]) == (False, True, asked["csr"])
    fingerprint = parse_bundle(chain)[-1].fingerprint
    assert [fingerprint in str(warning) for warning in unknown["warnings"]] == [True]
    named = {"root": {"location": "elsewhere", "fingerprint": fingerprint}}
    for check in (True, False):
        adopted = host.create(check=check, **named, chain=chain)
        assert adopted["due"] == ["adopt the chain that was signed for authority 'fleet' by 'CN=company'"]
    assert (adopted["awaiting"], adopted["csr"], adopted["csr_path"]) == (False, None, None)
    assert adopted["authority"]["anchors"] in chain
    assert host.create(**ELSEWHERE, chain=chain)["changed"] is False
    assert host.run("ca_issue", requests=[request()])["certificates"]["robot-1/https"]["issued"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"domains": ["*.plant.example"]}, "bad_request"),
        ({"networks": ["198.18.0.1/15"]}, "bad_request"),
        ({"profiles": {"x": {"usages": ["codeSigning"]}}}, "bad_request"),
        ({"chain": "x"}, "bad_request"),
        ({**ELSEWHERE, "chain": "x"}, "no_request"),
    ],
)
def test_failures_say_why_and_leave_nothing(host: Host, options: dict[str, Any], code: str) -> None:
    for check in (True, False):
        answer = host.create(check=check, **options)
        assert (answer["failed"], answer["code"]) == (True, code)
        assert list(host.folder.iterdir()) == []


@pytest.mark.parametrize("cryptography", [True, False])
def test_nothing_is_made_where_the_clock_is_wrong(host: Host, cryptography: bool) -> None:
    wrong = {"controller_time": time.time() - 1900, "clock_limit": 1800}
    predicted = host.create(check=True, cryptography=cryptography, **wrong)
    assert (predicted["failed"], predicted["code"]) == (True, "ca_clock")
    assert host.create(**wrong)["code"] == "ca_clock"
    assert list(host.folder.iterdir()) == []
    assert host.create(**{**wrong, "clock_limit": 3600})["changed"]
    # What is there and needs nothing is well at any time.
    assert host.create(**wrong)["changed"] is False
    assert host.create(check=True, cryptography=cryptography, **wrong)["changed"] is False


def test_without_the_library_a_waiting_authority_is_no_new_one(host: Host) -> None:
    predicted = host.create(check=True, cryptography=False, **ELSEWHERE)
    assert predicted["diff"] == host.create(check=True, **ELSEWHERE)["diff"]
    host.create(**ELSEWHERE)
    there = host.create(check=True, cryptography=False, **ELSEWHERE)
    assert (there["changed"], len(there["warnings"])) == (False, 1)
