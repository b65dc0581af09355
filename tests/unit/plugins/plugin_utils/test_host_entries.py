# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From wishes and raw looks to entries and orders."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known
from ansible_collections.certfleet.tls.plugins.plugin_utils._host_entries import (
    Wish,
    obstacles,
    orders_of,
    request_entry,
    watchdog_of,
    wishes_of,
)
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, TestAuthority

AUTHORITY = TestAuthority()
CA = {"authorities": {"fleet": {"anchors": AUTHORITY.anchors, "chain": AUTHORITY.chain}}, "identities": {}}
WANTED: dict[str, Any] = {
    "name": "https",
    "subject_alt_names": ["DNS:a.example"],
    "where": {"certificate": "/tls/cert.pem", "key": "/tls/key.pem", "chain": ""},
    "reload": {"method": "docker", "name": "web"},
    "prove": {"address": "198.18.0.4", "server_name": "a.example", "hold": ""},
}


def wishes(*changes: dict[str, Any]) -> list[Wish]:
    return wishes_of([{**WANTED, **change} for change in changes or ({},)], identity="host-1", host="gateway")


def entry(raw: dict[str, Any], *, known: bool = True) -> dict[str, Any]:
    ca = Known.from_ca_info(CA if known else None, identity="host-1", authority="fleet")
    return request_entry(wishes()[0], raw, ca, now=int(time.time()))


def seen(pair: Pair, **changes: Any) -> dict[str, Any]:
    """A look at a host where all is well."""
    served = {"leaf": pair.certificate, "trusted": True, "said": "fine"}
    files = {"certificate": pair.certificate, "chain": pair.chain, "key_spki": pair.leaf.spki}
    return {**files, "served": served, "deviations": [], **changes}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return AUTHORITY.pair("DNS:a.example")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"watchdog": "systemd"}, "'watchdog' is no dictionary"),
        ({"watchdog": {"method": "cron"}}, "Choose one of systemd, none"),
        ({"subject_alt_names": ["URI:x"]}, "neither DNS nor IP"),
        ({"where": {"certificate": "/a", "key": "b"}}, "no plain absolute path"),
        ({"reload": {"method": "docker"}}, "needs the name of the container"),
        ({"reload": "docker"}, "'reload' is no dictionary"),
        ({"prove": {"port": 443}}, "lacks the address"),
        ({"prove": {"address": "x", "port": "https"}}, "prove.port 'https' is no number"),
        ({"prove": {"address": "x", "wait": 3}}, "'prove' has no field wait"),
        ({"where": None, "api": {"name": "mir"}}, "Use device_request"),
        ({"pair": {"certificate": "x"}}, "pair is for devices"),
    ],
)
def test_a_wrong_wish_is_an_error_that_names_host_and_item(change: dict[str, Any], said: str) -> None:
    with pytest.raises((HostError, X509Error), match=rf"gateway, .*https.*: .*{said}"):
        wishes(change)


def test_two_wishes_share_neither_name_nor_files() -> None:
    with pytest.raises(HostError, match="have the same name 'https'"):
        wishes({}, {})
    with pytest.raises(HostError, match=r"host-1/https and host-1/other have the same /tls/cert\.pem"):
        wishes({}, {"name": "other"})
    apart = {"name": "other", "where": {"certificate": "/b/cert.pem", "key": "/b/key.pem"}}
    assert [wish.spec.id for wish in wishes({}, apart)] == ["host-1/https", "host-1/other"]


def test_a_host_where_all_is_well_needs_nothing(pair: Pair) -> None:
    found = entry(seen(pair))
    assert (found["verdict"], found["reasons"], found["notes"]) == ("none", [], [])
    assert found["current"]["fingerprint"] == found["served"]["fingerprint"] == pair.leaf.fingerprint
    assert not {"csr", "spki", "spec"} & set(found)


@pytest.mark.parametrize(
    ("leaf", "is_unrecorded"),
    [
        ({"state": "issued"}, True),
        ({"state": "issued", "installed": True}, False),
        # Somebody has put it back by hand.
        ({"state": "superseded"}, False),
        ({"state": "issued", "name": "api"}, False),
        ({"state": "issued", "fingerprint": "0" * 64}, False),
    ],
)
def test_what_the_ledger_does_not_know_to_be_in_service_is_marked(
    pair: Pair, leaf: dict[str, Any], is_unrecorded: bool
) -> None:
    known = {"fingerprint": pair.leaf.fingerprint, "spki": pair.leaf.spki, "name": "https", **leaf}
    ca = {**CA, "identities": {"host-1": {"pins": [], "leaves": [known]}}}
    judged = Known.from_ca_info(ca, identity="host-1", authority="fleet")
    found = request_entry(wishes()[0], seen(pair), judged, now=int(time.time()))
    assert (found["verdict"], found.get("unrecorded", False)) == ("none", is_unrecorded)
    if is_unrecorded:
        due = request_entry(wishes()[0], seen(pair, chain=""), judged, now=int(time.time()))
        assert (due["verdict"], "unrecorded" in due) == ("install", False)


@pytest.mark.parametrize(
    ("changes", "verdict", "codes"),
    [
        ({"certificate": None, "key_spki": None}, "issue", ["missing"]),
        ({"certificate": None, "certificate_error": "unreadable"}, "issue", ["unreadable"]),
        ({"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "issue", ["unreadable"]),
        ({"key_spki": "00"}, "issue", ["key_mismatch"]),
        ({"chain": ""}, "install", ["chain_changed"]),
        ({"chain": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "install", ["chain_changed"]),
        ({"deviations": ["/tls/key.pem has mode 0644, should be 0600"]}, "install", ["mode_changed"]),
        ({"unfinished": True}, "install", ["unproved"]),
        ({"served": {"leaf": None, "trusted": False, "said": "refused"}}, "reload", ["not_served"]),
        ({"served": None}, "none", []),
    ],
)
def test_what_is_seen_decides(pair: Pair, changes: dict[str, Any], verdict: str, codes: list[str]) -> None:
    found = entry(seen(pair, **changes))
    assert (found["verdict"], [reason["code"] for reason in found["reasons"]]) == (verdict, codes)


def test_the_key_of_the_staged_pair_is_used_when_that_fits(pair: Pair) -> None:
    staged = AUTHORITY.pair("DNS:a.example")
    old = AUTHORITY.pair("DNS:old.example")
    found = entry(seen(old, staged={"spki": staged.leaf.spki, "certificate": staged.certificate}))
    assert (found["verdict"], found["spki"]) == ("install", staged.leaf.spki)
    found = entry(seen(pair, chain="", staged={"spki": staged.leaf.spki, "certificate": staged.certificate}))
    assert (found["verdict"], found["spki"]) == ("install", pair.leaf.spki)
    damaged = {"spki": "00", "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
    assert entry(seen(old, staged=damaged))["verdict"] == "issue"


def test_what_waits_for_being_confirmed_tells_how_even_when_nothing_is_due(pair: Pair) -> None:
    found = entry(seen(pair, unconfirmed=True))
    assert (found["verdict"], found["unconfirmed"]) == ("none", True)
    assert found["spec"]["prove"]["address"] == "198.18.0.4"
    assert entry(seen(pair))["unconfirmed"] is False


def test_that_the_host_went_back_by_itself_is_part_of_the_reason(pair: Pair) -> None:
    went_back = {"at": "2026-11-22T04:00:00Z", "why": "A run ended before its proof."}
    found = entry(seen(pair, went_back=went_back, deviations=["/tls/key.pem has mode 0644, should be 0600"]))
    assert found["reasons"][0]["message"].endswith("0600; 2026-11-22T04:00:00Z: A run ended before its proof")
    quiet = entry(seen(pair, went_back=went_back))
    assert (quiet["verdict"], quiet["notes"]) == ("none", ["2026-11-22T04:00:00Z: A run ended before its proof"])


@pytest.mark.parametrize(
    ("variables", "certificate", "expected"),
    [
        ({}, None, {"method": "systemd"}),
        ({"tls_certificate_watchdog": "none", "tls_certificate_watchdog_limit": ""}, {}, {"method": "none"}),
        ({"tls_certificate_watchdog_limit": "300"}, None, {"method": "systemd", "limit": "300"}),
        (
            {"tls_certificate_watchdog": "none"},
            {"method": "systemd", "limit": 200},
            {"method": "systemd", "limit": 200},
        ),
    ],
)
def test_the_watchdog_is_the_certificates_or_else_the_roles(
    pair: Pair, variables: dict[str, Any], certificate: Any, expected: dict[str, Any]
) -> None:
    wish = wishes_of(
        [{**WANTED, "watchdog": certificate}], identity="host-1", host="gateway", watchdog=watchdog_of(variables)
    )[0]
    assert wish.argument["watchdog"] == expected
    raw = seen(pair, deviations=["a mode"])
    known = Known.from_ca_info(CA, identity="host-1", authority="fleet")
    orders, _others = orders_of([request_entry(wish, raw, known, now=int(time.time()))], {}, CA["authorities"])
    assert orders[0]["watchdog"] == expected


def test_a_limit_that_is_too_short_says_the_least(pair: Pair) -> None:
    # reload.timeout 120, prove.timeout 60, prove.hold 10
    with pytest.raises(HostError, match=r"gateway, host-1/https: the watchdog's limit of 189 s .* at least 190 s"):
        wishes({"watchdog": {"limit": 189}})
    assert wishes({"watchdog": {"limit": 190}})


def test_an_obstacle_is_said_before_something_is_due(pair: Pair) -> None:
    fine, due = seen(pair, blocked="no container"), seen(pair, blocked="no container", certificate=None)
    said = obstacles("gateway", [entry(fine)], {"host-1/https": fine})
    assert said == ["gateway, host-1/https: no container (due: nothing yet; nothing was changed)"]
    said = obstacles("gateway", [entry(due)], {"host-1/https": due})
    assert said == ["gateway, host-1/https: no container (due: missing; nothing was changed)"]


def test_without_a_ca_it_is_judged_by_what_is_there(pair: Pair) -> None:
    found = entry(seen(pair, chain=""), known=False)
    assert found["verdict"] == "none"
    assert "judged without the CA" in found["notes"][0]


def request(verdict: str, **changes: Any) -> dict[str, Any]:
    spec = {"where": WANTED["where"], "reload": {}, "prove": {}}
    entry = {"id": "host-1/https", "identity": "host-1", "name": "https", "authority": "fleet", "verdict": verdict}
    return {**entry, "spki": "ab", "spec": spec, "reasons": [{"code": "x", "message": "why"}], **changes}


def test_orders_carry_what_the_host_needs(pair: Pair) -> None:
    issued = {"certificates": {"host-1/https": {"certificate": pair.certificate, "authority": "fleet"}}}
    issued["chains"] = {"fleet": "new chain"}
    (order,), others = orders_of([request("issue")], issued, CA["authorities"])
    assert others == []
    assert (order["certificate"], order["chain"], order["spki"]) == (pair.certificate, "new chain", "ab")
    assert order["anchors"] == AUTHORITY.anchors
    (order,), others = orders_of([request("install")], {}, CA["authorities"])
    assert (order["certificate"], order["chain"]) == (None, AUTHORITY.chain)
    assert orders_of([request("none")], {}, {}) == ([], [])
    waits = {"code": "window", "message": "later"}
    later = [request(verdict, deferred=waits) for verdict in ("issue", "install", "reload")]
    assert orders_of(later, {}, {}) == ([], [])


@pytest.mark.parametrize("verdict", ["issue", "install"])
def test_without_anchors_nothing_new_is_tried(pair: Pair, verdict: str) -> None:
    issued = {"certificates": {"host-1/https": {"certificate": pair.certificate, "authority": "fleet"}}}
    orders, (outcome,) = orders_of([request(verdict)], issued, {})
    assert (orders, outcome["outcome"]) == ([], "not_tried")
    assert (
        "the anchors of the authority 'fleet' are not known, so nothing could be proved: run again" in outcome["said"]
    )
    _orders, (outcome,) = orders_of([request(verdict, notes=["half a CA"])], issued, {})
    assert "nothing could be proved: half a CA" in outcome["said"]
    (order,), others = orders_of([request("reload")], {}, {})
    assert (order["anchors"], others) == (None, [])


def test_what_was_not_issued_is_an_outcome_of_its_own() -> None:
    error = {"certificates": {"host-1/https": {"error": {"code": "bad_csr", "message": "the CSR is wrong"}}}}
    orders, (outcome,) = orders_of([request("issue")], error, {})
    assert orders == []
    assert (outcome["outcome"], outcome["before"], outcome["proof"]) == ("not_tried", None, None)
    assert "not issued (bad_csr): the CSR is wrong" in outcome["said"]
    orders, (outcome,) = orders_of([request("issue")], {}, {})
    assert "the CA was not asked" in outcome["said"]
    orders, (outcome,) = orders_of([request("refuse")], {}, {})
    assert (outcome["outcome"], outcome["said"]) == ("refused", "why")
