# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CSRs and certificates: roots, issuing CAs, leaves. Profiles decide usages; a CSR's own wishes are ignored."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Sequence
from typing import Any

from .crypto import ed25519, hashes, rsa, serialization, x509
from .errors import X509Error
from .names import to_general_names

# Extended key usages by profile. `server` carries serverAuth alone: a server's leaf is no client anywhere.
PROFILES: dict[str, tuple[str, ...]] = {
    "server": ("serverAuth",),
    "client": ("clientAuth",),
    "server_client": ("clientAuth", "serverAuth"),
}


def check_profile(profile: str, *, where: str) -> str:
    """The profile itself, or an error that lists those there are."""
    if profile not in PROFILES:
        raise X509Error(f"{where}: there is no profile '{profile}'. Choose one of {', '.join(sorted(PROFILES))}.")
    return profile


def new_serial() -> int:
    """A 128-bit random serial, positive and at most 16 octets (RFC 5280 allows 20)."""
    return secrets.randbits(127) | (1 << 126)


def build_csr(key: Any, *, common_name: str | None, names: Sequence[str]) -> str:
    """A PEM CSR signed with the key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(common_name))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(to_general_names(names)), critical=not common_name)
    return builder.sign(key, _digest(key)).public_bytes(serialization.Encoding.PEM).decode()


def build_root(
    key: Any, *, common_name: str, organization: str | None, not_before: int, not_after: int
) -> x509.Certificate:
    """A self-signed root; times are unix seconds."""
    name = _subject(common_name, organization)
    ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(name, name, key.public_key(), new_serial(), not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(ski, critical=False)
    )
    return builder.sign(key, _digest(key))


def build_issuing(
    public_key: Any,
    *,
    root: x509.Certificate,
    root_key: Any,
    common_name: str,
    organization: str | None,
    not_before: int,
    not_after: int,
) -> x509.Certificate:
    """An issuing CA under the root: it signs leaves only (path length 0)."""
    builder = (
        _builder(_subject(common_name, organization), root.subject, public_key, new_serial(), not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_key_id(root), critical=False)
    )
    return builder.sign(root_key, _digest(root_key))


def sign_leaf(
    public_key: Any,
    *,
    issuer: x509.Certificate,
    issuer_key: Any,
    profile: str,
    common_name: str | None,
    names: Sequence[str],
    serial: int,
    not_before: int,
    not_after: int,
) -> x509.Certificate:
    """A leaf; names are normalised ones (see names.parse_names), times unix seconds."""
    usages = [
        getattr(x509.oid.ExtendedKeyUsageOID, _OID_NAMES[usage])
        for usage in PROFILES[check_profile(profile, where=str(common_name))]
    ]
    bits = (
        ("digital_signature", "key_encipherment")
        if isinstance(public_key, rsa.RSAPublicKey)
        else ("digital_signature",)
    )
    builder = (
        _builder(_subject(common_name), issuer.subject, public_key, serial, not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(*bits), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_key_id(issuer), critical=False)
    )
    if names:
        # RFC 5280, 4.2.1.6: critical when the subject is empty.
        builder = builder.add_extension(x509.SubjectAlternativeName(to_general_names(names)), critical=not common_name)
    return builder.sign(issuer_key, _digest(issuer_key))


_OID_NAMES = {"serverAuth": "SERVER_AUTH", "clientAuth": "CLIENT_AUTH"}
_BITS = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _subject(common_name: str | None, organization: str | None = None) -> x509.Name:
    attributes = []
    if organization:
        attributes.append(x509.NameAttribute(x509.oid.NameOID.ORGANIZATION_NAME, organization))
    if common_name:
        attributes.append(x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: Any, serial: int, not_before: int, not_after: int
) -> x509.CertificateBuilder:
    utc = datetime.timezone.utc
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(datetime.datetime.fromtimestamp(not_before, tz=utc).replace(tzinfo=None))
        .not_valid_after(datetime.datetime.fromtimestamp(not_after, tz=utc).replace(tzinfo=None))
    )


def _key_usage(*bits: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{bit: bit in bits for bit in _BITS})


def _authority_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)


def _digest(key: Any) -> Any:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if getattr(key, "key_size", 0) == 384:
        return hashes.SHA384()
    return hashes.SHA256()
