# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pkilint's PKIX lints: what `lint_pkix_cert`, `lint_pkix_signer_signee_cert_chain` and `lint_crl` run, in one process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from pkilint import loader, pkix
from pkilint.bin import lint_pkix_signer_signee_cert_chain as chain_lint
from pkilint.pkix import certificate, crl, extension, name
from pkilint.validation import ValidationFindingSeverity

VERSION = f"pkilint {version('pkilint')}"
# pkilint asks the package `validators` for a domain, which wants a dot in it. RFC 5280, 4.2.1.6, wants the preferred name syntax
# of RFC 1034, 3.5, and that begins with `<subdomain> ::= <label> | <subdomain> "." <label>`: one label is a name. Fleets whose
# machines have no domain are known by such names.
SINGLE_LABEL = re.compile(r'Invalid domain name syntax: "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"\Z')
SET_ASIDE = "single-label DNS names, which RFC 1034, 3.5, allows (pkix.invalid_domain_name_syntax)"


@dataclass(frozen=True)
class Finding:
    """Something that pkilint finds at fault. C(is_set_aside): it is wrong about that, see above."""

    title: str
    code: str
    message: str

    @property
    def is_set_aside(self) -> bool:
        return self.code == "pkix.invalid_domain_name_syntax" and bool(SINGLE_LABEL.match(self.message))


def lint_certificate(pem: str, *, title: str) -> list[Finding]:
    """The errors of one certificate."""
    return list(_errors(_certificate_lints().validate(_load(pem, title).root), title))


def lint_link(signer: str, signee: str, *, title: str) -> list[Finding]:
    """The errors of a certificate and the one that signed it, as a pair."""
    documents: dict[str, Any] = {}
    documents["issuer"] = _load(signer, "issuer", documents)
    documents["subject"] = _load(signee, "subject", documents)
    decoders = chain_lint.create_decoder_validation_container()
    results = [
        *decoders.validate(documents["issuer"].root),
        *decoders.validate(documents["subject"].root),
        *chain_lint.create_issuer_validation_container().validate(documents["issuer"].root),
        *chain_lint.create_subject_validation_container().validate(documents["subject"].root),
    ]
    return list(_errors(results, title))


def lint_crl(pem: str, *, title: str) -> list[Finding]:
    """The errors of one CRL."""
    document = loader.RFC5280CertificateListDocumentLoader().load_pem_document(pem, title)
    return list(_errors(_crl_lints().validate(document.root), title))


def _errors(results: Iterable[Any], title: str) -> Iterator[Finding]:
    for result in results:
        for described in result.finding_descriptions:
            # Smaller is worse.
            if described.finding.severity <= ValidationFindingSeverity.ERROR:
                yield Finding(title, described.finding.code, str(described.message))


def _load(pem: str, title: str, documents: dict[str, Any] | None = None) -> Any:
    load = loader.RFC5280CertificateDocumentLoader().load_pem_document
    return load(pem, title) if documents is None else load(pem, title, title, documents)


@cache
def _certificate_lints() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


@cache
def _crl_lints() -> Any:
    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )
