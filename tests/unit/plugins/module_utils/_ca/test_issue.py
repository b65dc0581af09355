# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch: what is signed, what is returned from the ledger, and requests that fail alone."""

from __future__ import annotations

import shutil
import ssl
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import refresh
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_csr
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import ec
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import spki_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.lifespan import renewal_due_at
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import is_issued_by, iso, parse_certificate

from .workshop import DAY, KEYS, NOW, Workshop, request

SERVER_USAGE = ("serverAuth",)


def test_leaf_is_what_was_asked_for(workshop: Workshop) -> None:
    answer = workshop.issue(request())
    item = answer["certificates"]["robot-1/https"]
    leaf, issuing = parse_certificate(item["certificate"]), parse_certificate(answer["chains"]["fleet"])
    assert is_issued_by(leaf, issuing)
    assert leaf.names == ("DNS:robot-1.plant.example", "IP:198.19.1.11")
    assert (leaf.common_name, leaf.usages, leaf.is_ca) == ("robot-1", SERVER_USAGE, False)
    assert (leaf.not_before, leaf.not_after) == (NOW - 3600, NOW + 90 * DAY)
    assert item == {
        "certificate": leaf.pem,
        "authority": "fleet",
        "serial": leaf.serial,
        "fingerprint": leaf.fingerprint,
        "not_before": iso(leaf.not_before),
        "not_after": iso(leaf.not_after),
        "issued": True,
        "notes": [],
    }


def test_ledger_holds_all_of_it(workshop: Workshop) -> None:
    answer = workshop.issue_one(reasons=["missing", "names_changed"])
    kept = workshop.sql(
        "SELECT serial, authority, name, profile, common_name, names, fingerprint, not_after, pem, state, reserved_at,"
        " issued_at, why FROM certificates WHERE identity = 'robot-1'"
    )
    assert kept == [
        (
            answer["serial"],
            "fleet",
            "https",
            "server",
            "robot-1",
            '["DNS:robot-1.plant.example", "IP:198.19.1.11"]',
            answer["fingerprint"],
            NOW + 90 * DAY,
            answer["certificate"],
            "issued",
            NOW,
            NOW,
            "missing names_changed",
        )
    ]


def test_wishes_of_the_csr_are_ignored(workshop: Workshop) -> None:
    greedy = build_csr(KEYS[0], common_name="admin", names=["DNS:evil.example"])
    leaf = parse_certificate(workshop.issue_one(csr=greedy)["certificate"])
    assert (leaf.common_name, leaf.names) == ("robot-1", ("DNS:robot-1.plant.example", "IP:198.19.1.11"))


@pytest.mark.parametrize(
    ("profile", "usages"),
    [("server", SERVER_USAGE), ("client", ("clientAuth",)), ("server_client", ("clientAuth", "serverAuth"))],
)
def test_profile_decides_usages(workshop: Workshop, profile: str, usages: tuple[str, ...]) -> None:
    assert parse_certificate(workshop.issue_one(profile=profile)["certificate"]).usages == usages


def forged(csr: str) -> str:
    """The same CSR with a signature that is not the key's."""
    der = bytearray(ssl.PEM_cert_to_DER_cert(csr.replace("CERTIFICATE REQUEST", "CERTIFICATE")))
    der[-1] ^= 1
    return ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"csr": "nonsense"}, "bad_csr"),
    ({"csr": ""}, "bad_csr"),
    ({"csr": None}, "bad_csr"),
    ({"csr": forged(request()["csr"])}, "bad_csr"),
    ({"csr": build_csr(ec.generate_private_key(ec.SECP521R1()), common_name=None, names=()), "spki": None}, "bad_key"),
    ({"spki": "0" * 64}, "spki_mismatch"),
    ({"names": ["URI:spiffe://x"]}, "bad_names"),
    ({"names": ["robot-1"]}, "bad_names"),
    ({"names": "DNS:robot-1"}, "bad_names"),
    ({"names": []}, "bad_names"),
    ({"names": 7}, "bad_request"),
    ({"common_name": "a,b"}, "bad_names"),
    ({"common_name": "x" * 65}, "bad_names"),
    ({"common_name": "a\nb"}, "bad_names"),
    ({"profile": "ca"}, "bad_profile"),
    ({"profile": None}, "bad_profile"),
    ({"lifetime": 0}, "bad_lifetime"),
    ({"lifetime": -5}, "bad_lifetime"),
    ({"lifetime": "90d"}, "bad_lifetime"),
    ({"lifetime": 60, "renew_before": 60}, "bad_lifetime"),
    ({"renew_before": -1}, "bad_lifetime"),
    ({"authority": "nobody"}, "unknown_authority"),
    ({"authority": "../fleet"}, "unknown_authority"),
    ({"authority": ""}, "unknown_authority"),
    ({"identity": "other"}, "bad_request"),
    ({"name": ""}, "bad_request"),
]


@pytest.mark.parametrize(("change", "code"), BAD)
def test_bad_request_fails_alone_and_reserves_nothing(workshop: Workshop, change: dict[str, Any], code: str) -> None:
    bad = {**request("robot-bad"), **change}
    answers = workshop.issue(request("robot-1"), bad, request("robot-2"))["certificates"]
    assert answers[bad["id"]]["error"]["code"] == code
    assert "robot-bad" in answers[bad["id"]]["error"]["message"] or code == "unknown_authority"
    assert [answers[f"robot-{number}/https"]["issued"] for number in (1, 2)] == [True, True]
    assert workshop.states() == ["issued", "issued"]


@pytest.mark.parametrize(
    "change",
    [{"lifetime": 10**20}, {"lifetime": 10**11}, {"lifetime": float("inf")}, {"lifetime": DAY, "renew_before": 10**20}],
)
def test_a_life_without_an_end_is_refused_for_this_request_alone(workshop: Workshop, change: dict[str, Any]) -> None:
    answers = workshop.issue(request("robot-1", **change), request("robot-2", key=1))["certificates"]
    assert answers["robot-1/https"]["error"]["code"] == "bad_lifetime"
    assert answers["robot-2/https"]["issued"]


def test_the_same_certificate_twice_in_one_batch_is_refused(workshop: Workshop) -> None:
    answers = workshop.issue(request("a"), request("a", key=1), request("a"), request("b"))["certificates"]
    assert (answers["a/https"]["error"]["code"], answers["b/https"]["issued"]) == ("duplicate_id", True)


def test_all_requests_bad(workshop: Workshop) -> None:
    answer = workshop.issue(request(csr=""))
    assert (answer["chains"], list(answer["certificates"])) == ({}, ["robot-1/https"])


def test_asked_again_is_not_signed_again(workshop: Workshop) -> None:
    first = workshop.issue_one()
    workshop.now += 10 * DAY
    again = workshop.issue(request())
    assert again["certificates"]["robot-1/https"] == {**first, "issued": False}
    assert list(again["chains"]) == ["fleet"]
    assert workshop.states() == ["issued"]


@pytest.mark.parametrize(
    "change",
    [
        {"key": 1},
        {"profile": "server_client"},
        {"names": ["DNS:robot-1.plant.example"]},
        {"common_name": None},
        {"common_name": "robot-one"},
        {"authority": "second"},
        {"name": "api"},
    ],
)
def test_what_differs_is_signed(workshop: Workshop, change: dict[str, Any]) -> None:
    workshop.create("second")
    workshop.issue_one()
    assert workshop.issue_one(**change)["issued"] is True
    assert workshop.issue_one(**change)["issued"] is False


def test_order_and_spelling_of_names_make_no_difference(workshop: Workshop) -> None:
    workshop.issue_one()
    names = ["IP:198.19.1.11", "dns:ROBOT-1.plant.example."]
    assert workshop.issue_one(names=names)["issued"] is False


@pytest.mark.parametrize("state", ["revoked", "superseded"])
def test_revoked_or_superseded_is_not_returned(workshop: Workshop, state: str) -> None:
    workshop.issue_one()
    workshop.sql("UPDATE certificates SET state = ? WHERE identity = 'robot-1'", state)
    assert workshop.issue_one()["issued"] is True


def test_another_issuing_key_signs_anew(workshop: Workshop) -> None:
    workshop.issue_one()
    workshop.sql("UPDATE certificates SET issuer = 'former' WHERE identity = 'robot-1'")
    assert workshop.issue_one()["issued"] is True


@pytest.fixture(scope="module")
def lasting() -> Iterator[Workshop]:
    """One CA for all examples of a property; each takes an identity of its own."""
    folder = tempfile.mkdtemp()
    workshop = Workshop(Path(folder))
    workshop.create()
    yield workshop
    shutil.rmtree(folder)


@given(lifetime=st.integers(2, 400 * DAY), share=st.floats(0, 0.99), later=st.floats(0, 1.2))
def test_due_from_the_renewal_point_on(lasting: Workshop, lifetime: int, share: float, later: float) -> None:
    renew_before = int(lifetime * share)
    asked = request(f"robot-{uuid.uuid4()}", lifetime=lifetime, renew_before=renew_before)
    lasting.now = NOW
    first = lasting.issue(asked)["certificates"][asked["id"]]
    lasting.now += int(lifetime * later)
    again = lasting.issue(asked)["certificates"][asked["id"]]
    # The ledger's entry is due when the judge finds the certificate due.
    due = renewal_due_at(parse_certificate(first["certificate"]), renew_before or None)
    assert again["issued"] is (lasting.now >= due)
    assert (again["serial"] == first["serial"]) is not again["issued"]


@pytest.mark.parametrize(("lifetime", "before"), [(90 * DAY, 3600), (36000, 3600), (1800, 180), (9, 0)])
def test_short_lives_are_backdated_less(workshop: Workshop, lifetime: int, before: int) -> None:
    assert workshop.issue_one(lifetime=lifetime)["not_before"] == iso(NOW - before)


def test_leaf_ends_with_its_issuer(empty: Workshop) -> None:
    empty.create(issuing={"lifetime": "30d"})
    item = empty.issue_one()
    assert item["not_after"] == iso(NOW + 30 * DAY)
    assert item["notes"] == [
        f"ends {iso(NOW + 30 * DAY)} with its issuing CA, not {iso(NOW + 90 * DAY)} as asked: the issuing CA of 'fleet' needs to be renewed"
    ]


def test_expired_issuer_signs_nothing_but_its_leaves_are_found(workshop: Workshop) -> None:
    workshop.now += 1825 * DAY
    assert workshop.issue_one()["error"]["code"] == "issuer_expired"
    assert workshop.states() == []


def test_one_broken_authority_harms_only_its_own(workshop: Workshop) -> None:
    workshop.create("second")
    (Path(workshop.store.path("second")) / "issuing.key").unlink()
    answers = workshop.issue(request("a"), request("b", authority="second"))["certificates"]
    assert (answers["a/https"]["issued"], answers["b/https"]["error"]["code"]) == (True, "half_ca")


def test_a_damaged_certificate_further_up_harms_only_its_own(workshop: Workshop) -> None:
    """The first of the file, by which the ledger knows it, is good."""
    workshop.create("spare")
    with open(workshop.store.path("fleet", "issuing.pem"), "a") as file:
        file.write("-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n")
    answers = workshop.issue(request("a", authority="spare"), request("b", key=1))["certificates"]
    assert (answers["a/https"]["issued"], answers["b/https"]["error"]["code"]) == (True, "half_ca")
    assert workshop.store.path("fleet", "issuing.pem") in answers["b/https"]["error"]["message"]
    with pytest.raises(CAError, match=r"Half a CA: .*issuing\.pem") as refused:
        refresh(workshop.store, "fleet", passphrase=workshop.passphrase(), now=workshop.now)
    assert refused.value.code == "half_ca"


def test_a_copy_of_an_authority_is_none(workshop: Workshop) -> None:
    """Two folders of one authority would each have CRLs, with numbers from one ledger and what is revoked by turns."""
    shutil.copytree(workshop.store.path("fleet"), workshop.store.path("fleet.bak"))
    answers = workshop.issue(request("a", authority="fleet.bak"), request("b", key=1))["certificates"]
    assert (answers["a/https"]["error"]["code"], answers["b/https"]["issued"]) == ("foreign_ca", True)
    with pytest.raises(CAError, match="If the folder is a copy, move it out"):
        refresh(workshop.store, "fleet.bak", passphrase=workshop.passphrase(), now=workshop.now)


def test_wrong_passphrase_returns_what_is_in_force_and_signs_nothing(workshop: Workshop) -> None:
    workshop.issue_one("a")
    workshop.passphrase_file.write_text("another\n")
    answers = workshop.issue(request("a"), request("b"), request("c"))["certificates"]
    assert answers["a/https"]["issued"] is False
    assert [answers[f"{name}/https"]["error"]["code"] for name in "bc"] == ["wrong_passphrase"] * 2
    assert workshop.states() == ["issued"]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda workshop: shutil.rmtree(workshop.store.directory), "missing"),
        (lambda workshop: Path(workshop.store.ledger).unlink(), "ledger_missing"),
        (lambda workshop: workshop.sql("UPDATE schema_version SET version = 99"), "ledger_newer"),
        (lambda workshop: Path(workshop.store.ledger).write_bytes(b"?" * 9000), "ledger"),
    ],
)
def test_without_a_ledger_nothing_is_signed(workshop: Workshop, spoil: Any, code: str) -> None:
    spoil(workshop)
    with pytest.raises(CAError) as refused:
        workshop.issue(request())
    assert refused.value.code == code


def test_damaged_page_is_an_error(workshop: Workshop) -> None:
    for number in range(40):
        workshop.issue_one(f"robot-{number}")
    ledger = Path(workshop.store.ledger)
    content = bytearray(ledger.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    ledger.write_bytes(content)
    with pytest.raises(CAError, match="restore it from your backup") as refused:
        workshop.issue(request("new"))
    assert refused.value.code == "ledger"
    assert ledger.read_bytes() == content


def test_serials_are_random_and_positive(workshop: Workshop) -> None:
    serials = [
        int(item["serial"], 16)
        for item in workshop.issue(*(request(f"r{n}") for n in range(50)))["certificates"].values()
    ]
    assert len(set(serials)) == 50
    assert all(2**126 <= serial < 2**127 for serial in serials)
    assert spki_of(KEYS[0].public_key()) in {row[0] for row in workshop.sql("SELECT spki FROM certificates")}
