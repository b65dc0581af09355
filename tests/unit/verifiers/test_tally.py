# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make verifiers` counts: a verifier that says the wrong thing, or the right thing for another reason, is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, TestAuthority
from ansible_collections.certfleet.tls.tests.verifiers import lint, tally
from ansible_collections.certfleet.tls.tests.verifiers.case import CLIENT, ISSUED, SERVER, Case, Verifier
from ansible_collections.certfleet.tls.tests.verifiers.openssl import OpenSSL
from ansible_collections.certfleet.tls.tests.verifiers.pyca import NO_ED25519, NO_REVOCATION, Pyca
from ansible_collections.certfleet.tls.tests.verifiers.reasons import REASONS
from ansible_collections.certfleet.tls.tests.verifiers.rustls import CLIENT_SIDE, Rustls

AUTHORITY = TestAuthority()
NAME = "DNS:robot-1.plant.example"
GOOD, EXPIRED = AUTHORITY.pair(NAME), AUTHORITY.pair(NAME, not_before=-20, not_after=-10)
VERIFIERS: list[Verifier] = [OpenSSL(), Pyca(), Rustls()]


def case(pair: Pair, kind: str, *, purpose: str = SERVER, name: str = NAME) -> Case:
    return Case(
        "a case",
        (pair.certificate, pair.chain),
        AUTHORITY.anchors,
        pair.key,
        purpose,
        name,
        kind,
        because=REASONS.get(kind, {}),
    )


def answers(verifier: Verifier, folder: Path, *cases: Case) -> tally.Answers:
    return tally.ask(verifier, cases, folder)


@pytest.mark.parametrize("verifier", VERIFIERS, ids=lambda verifier: verifier.name)
def test_right_answers_count(verifier: Verifier, tmp_path: Path) -> None:
    cases = (case(GOOD, ISSUED), case(EXPIRED, "expired"))
    found = answers(verifier, tmp_path, *cases)
    assert found.count(cases) == (2, 2)
    assert tally.faults(cases, [found]) == []


@pytest.mark.parametrize("verifier", VERIFIERS, ids=lambda verifier: verifier.name)
@pytest.mark.parametrize(
    ("pair", "kind", "said"),
    [
        (EXPIRED, ISSUED, "rejected: .*(expired|not valid at)"),
        (GOOD, "expired", "accepted$"),
        (EXPIRED, "wrong usage", "for another reason: .*(expired|not valid at)"),
    ],
    ids=["rejected", "accepted", "another reason"],
)
def test_wrong_answers_do_not_count(verifier: Verifier, tmp_path: Path, pair: Pair, kind: str, said: str) -> None:
    wrong = case(pair, kind)
    found = answers(verifier, tmp_path, wrong)
    assert found.count([wrong]) == (0, 1)
    (line,) = tally.faults([wrong], [found])
    assert re.search(said, line), line


def test_what_a_verifier_does_not_check_is_left_out_with_its_reason(tmp_path: Path) -> None:
    ed25519 = case(AUTHORITY.pair(NAME, key_type="ed25519"), ISSUED)
    revoked, client = case(GOOD, "revoked"), case(GOOD, ISSUED, purpose=CLIENT, name="")
    pyca = answers(Pyca(), tmp_path, ed25519, revoked)
    assert pyca.count([ed25519, revoked]) == (0, 0)
    assert pyca.excused == {NO_ED25519: 1, NO_REVOCATION: 1}
    assert answers(Rustls(), tmp_path, client).excused == {CLIENT_SIDE: 1}


def test_a_table_has_a_row_for_each_group_and_the_sum(tmp_path: Path) -> None:
    groups = {"one": [case(GOOD, ISSUED)], "two": [case(GOOD, ISSUED), case(EXPIRED, ISSUED)]}
    found = answers(OpenSSL(), tmp_path, *groups["one"], *groups["two"])
    rows = tally.table("accepted", groups, [found])
    assert [row.split()[-3:] for row in rows[2:]] == [["1", "of", "1"], ["1", "of", "2"], ["2", "of", "3"]]


def test_only_single_labels_are_set_aside_by_the_lint() -> None:
    findings = [
        found
        for name in ("robot-1", "robot-1.plant.example")
        for found in lint.lint_certificate(AUTHORITY.pair(f"DNS:{name}").certificate, title=name)
    ]
    assert [(found.title, found.is_set_aside) for found in findings] == [("robot-1", True)]
    other = lint.Finding("a title", "pkix.invalid_domain_name_syntax", 'Invalid domain name syntax: "*.plant.example"')
    assert not other.is_set_aside


def test_a_signature_by_another_key_is_an_error_of_the_lint() -> None:
    signer = TestAuthority().chain
    codes = {found.code for found in lint.lint_link(signer, GOOD.certificate, title="a link")}
    assert "pkix.signature_verification_failed" in codes
    assert lint.lint_link(AUTHORITY.chain, GOOD.certificate, title="a link") == []
