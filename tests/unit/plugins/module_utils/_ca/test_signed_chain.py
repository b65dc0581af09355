# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain is found in whatever is handed in: in any order, with certificates that are not needed, by the root that is expected."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.signed_chain import read_signed
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_certificate

from .company import USAGE, Company
from .test_adoption import CA_ONLY, ELSEWHERE, request_of
from .workshop import Workshop, wish


def test_the_order_of_what_is_handed_in_does_not_matter(empty: Workshop, company: Company, stranger: Company) -> None:
    csr = request_of(empty)
    signed = company.sign(csr)
    spki = parse_certificate(signed).spki
    orders = ([signed, company.intermediate, company.root], [company.root, stranger.root, company.intermediate, signed])
    chains = [read_signed(wish(**ELSEWHERE, chain="".join(order)), spki=spki) for order in orders]
    assert chains[0] == chains[1]


def cross_signed(empty: Workshop, company: Company, stranger: Company) -> tuple[list[str], str, str, str]:
    """(issuing CA, its root's certificate from an older root, and the root itself; the SPKI, the older root and the new one)."""
    csr = request_of(empty)
    signed = company.sign(csr, by="root", extensions=f"{CA_ONLY}\n{USAGE}")
    by_stranger = stranger.sign(
        (company.folder / "root.csr").read_text(),
        by="root",
        days=4000,
        extensions=f"basicConstraints = critical, CA:TRUE\n{USAGE}",
    )
    return [signed, by_stranger, company.root], parse_certificate(signed).spki, stranger.root, company.root


def named(root: str, how: str) -> dict[str, Any]:
    """How the expected root is told: nothing, the certificate, or its fingerprint."""
    if how == "fingerprint":
        return {**ELSEWHERE, "root": {"location": "elsewhere", "fingerprint": parse_certificate(root).fingerprint}}
    return {**ELSEWHERE, "root_certificate": root} if how == "certificate" else ELSEWHERE


@pytest.mark.parametrize("how", ["nothing", "certificate", "fingerprint"])
def test_a_root_that_an_older_one_has_signed_too(
    empty: Workshop, company: Company, stranger: Company, how: str
) -> None:
    """Companies hand out both certificates when they change their root; which one is meant, the expected root says."""
    given, spki, older, newer = cross_signed(empty, company, stranger)
    for order in itertools.permutations(given):
        chain = read_signed(wish(**named(newer, how), chain="".join(order)), spki=spki)
        assert (chain.above, chain.root.pem) == ((), parse_certificate(newer).pem)
    if how == "nothing":
        return
    for order in itertools.permutations([*given, older]):
        chain = read_signed(wish(**named(older, how), chain="".join(order)), spki=spki)
        assert [leaf.pem for leaf in chain.above] == [parse_certificate(given[1]).pem]
        assert chain.root.pem == parse_certificate(older).pem


def test_of_two_certificates_of_a_signer_the_one_that_lasts_longer_is_taken(empty: Workshop, company: Company) -> None:
    signed, request = company.sign(request_of(empty)), (company.folder / "0.csr").read_text()
    extensions = f"basicConstraints = critical, CA:TRUE, pathlen:1\n{USAGE}"
    later = company.sign(request, by="root", days=4500, extensions=extensions)
    for order in itertools.permutations([signed, company.intermediate, later, company.root]):
        chain = read_signed(wish(**ELSEWHERE, chain="".join(order)), spki=parse_certificate(signed).spki)
        assert [leaf.pem for leaf in chain.above] == [parse_certificate(later).pem]
