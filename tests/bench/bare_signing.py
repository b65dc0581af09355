# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor of issuing: `cryptography` alone, in a loop that parses, builds and signs the same, and keeps nothing.

Usage: bare_signing.py REQUESTS.json. Prints the seconds of the loop.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BITS = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
    "encipher_only decipher_only"
).split()


def main() -> int:
    """Sign all of them with a new key."""
    requests = json.loads(Path(sys.argv[1]).read_text())["requests"]
    key, issuer = ec.generate_private_key(ec.SECP256R1()), _subject("bench issuing CA")
    began = time.monotonic()
    signed = [sign(request, key, issuer) for request in requests]
    print(time.monotonic() - began)
    assert len({fingerprint for _pem, fingerprint in signed}) == len(requests)
    return 0


def sign(request: dict[str, Any], key: Any, issuer: x509.Name) -> tuple[str, str]:
    """(PEM, fingerprint) of one leaf."""
    csr = x509.load_pem_x509_csr(request["csr"].encode())
    assert csr.is_signature_valid
    public, now = csr.public_key(), datetime.datetime.now(tz=datetime.timezone.utc).replace(tzinfo=None)
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert hashlib.sha256(spki).hexdigest() == request["spki"]
    names = [_name(*text.split(":", 1)) for text in request["names"]]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_subject(request["common_name"]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(secrets.randbits(127) | (1 << 126))
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(seconds=request["lifetime"]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{bit: bit == "digital_signature" for bit in BITS}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return pem, certificate.fingerprint(hashes.SHA256()).hex()


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _name(kind: str, text: str) -> x509.GeneralName:
    return x509.DNSName(text) if kind == "DNS" else x509.IPAddress(ipaddress.ip_address(text))


if __name__ == "__main__":
    sys.exit(main())
