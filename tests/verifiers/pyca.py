# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pyca: the verifier of the Python package cryptography (cryptography.x509.verification)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

import cryptography
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import verification

from .case import CLIENT, CRL, Case, Verdict

# pyca/cryptography issue 13391, its maintainer: "there's currently no API for setting allowed signature or public key
# algorithms"; the WebPKI's are built in, and Ed25519 is none of them.
NO_ED25519 = "permits the WebPKI's algorithms alone, without Ed25519 (pyca/cryptography issue 13391)"
# pyca/cryptography issue 10034, "X.509 path building follow-ups": "Revocation checking (CRL, OCSP)" is still to be done, and
# PolicyBuilder in docs/x509/verification.rst takes no CRL.
NO_REVOCATION = "takes no CRL (docs/x509/verification.rst; pyca/cryptography issue 10034: still to be done)"


class Pyca:
    """As installed in the virtual environment."""

    name = "pyca"
    version = f"cryptography {cryptography.__version__}"

    def excuse(self, case: Case) -> str | None:
        if case.purpose == CRL or case.kind == "revoked":
            return NO_REVOCATION
        return NO_ED25519 if _has_ed25519(case) else None

    def verify(self, cases: Sequence[Case], folder: Path) -> list[Verdict]:
        return [self._verify(case) for case in cases]

    def _verify(self, case: Case) -> Verdict:
        leaf, *intermediates = (x509.load_pem_x509_certificate(pem.encode()) for pem in case.chain)
        anchors = x509.load_pem_x509_certificates(case.anchors.encode())
        builder = verification.PolicyBuilder().store(verification.Store(anchors))
        try:
            if case.purpose == CLIENT:
                builder.extension_policies(
                    ee_policy=_client_policy(), ca_policy=verification.ExtensionPolicy.webpki_defaults_ca()
                ).build_client_verifier().verify(leaf, intermediates)
            else:
                builder.build_server_verifier(_subject(case.name)).verify(leaf, intermediates)
        except verification.VerificationError as exc:
            return Verdict(accepted=False, said=str(exc))
        return Verdict(accepted=True)


def _subject(name: str) -> verification.Subject:
    kind, _colon, text = name.partition(":")
    return x509.IPAddress(ipaddress.ip_address(text)) if kind == "IP" else x509.DNSName(text)


def _client_policy() -> verification.ExtensionPolicy:
    """The usual one, but for a client that is known by its common name and has no subjectAltName."""
    usual = verification.ExtensionPolicy.webpki_defaults_ee()
    return usual.may_be_present(x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None)


def _has_ed25519(case: Case) -> bool:
    certificates = x509.load_pem_x509_certificates("".join((*case.chain, case.anchors)).encode())
    return any(isinstance(certificate.public_key(), Ed25519PublicKey) for certificate in certificates)
