# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CSRs and certificates: roots, issuing CAs, leaves. Profiles decide usages; a CSR's own wishes are ignored."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .constraints import Constraints
from .crypto import ed25519, hashes, rsa, serialization, x509
from .names import to_general_names
from .profiles import Profile


def new_serial() -> int:
    """A 128-bit random serial, positive and at most 16 octets (RFC 5280 allows 20)."""
    return secrets.randbits(127) | (1 << 126)


def build_csr(key: Any, *, common_name: str | None, names: Sequence[str]) -> str:
    """A PEM CSR signed with the key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(common_name))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(to_general_names(names)), critical=not common_name)
    return builder.sign(key, _digest(key)).public_bytes(serialization.Encoding.PEM).decode()


def build_ca_csr(key: Any, *, subject: x509.Name, constraints: Constraints | None = None) -> str:
    """A PEM CSR for an issuing CA, which says what whoever signs it is asked for."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension, critical in _ca_extensions(key.public_key(), path_length=0, constraints=constraints):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, _digest(key)).public_bytes(serialization.Encoding.PEM).decode()


def build_root(key: Any, *, subject: x509.Name, not_before: int, not_after: int) -> x509.Certificate:
    """A self-signed root; times are unix seconds."""
    builder = _builder(subject, subject, key.public_key(), new_serial(), not_before, not_after)
    for extension, critical in _ca_extensions(key.public_key(), path_length=1):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, _digest(key))


def build_issuing(
    public_key: Any,
    *,
    root: x509.Certificate,
    root_key: Any,
    subject: x509.Name,
    not_before: int,
    not_after: int,
    constraints: Constraints | None = None,
) -> x509.Certificate:
    """An issuing CA under the root: it signs leaves only (path length 0), and only for the names that are permitted."""
    builder = _builder(subject, root.subject, public_key, new_serial(), not_before, not_after)
    for extension, critical in _ca_extensions(public_key, path_length=0, constraints=constraints):
        builder = builder.add_extension(extension, critical=critical)
    return builder.add_extension(_authority_key_id(root), critical=False).sign(root_key, _digest(root_key))


def ca_name(common_name: str, organization: str | None = None) -> x509.Name:
    """The subject of a root or an issuing CA."""
    return _subject(common_name, organization)


def sign_leaf(
    public_key: Any,
    *,
    issuer: x509.Certificate,
    issuer_key: Any,
    profile: Profile,
    common_name: str | None,
    names: Sequence[str],
    serial: int,
    not_before: int,
    not_after: int,
) -> x509.Certificate:
    """A leaf; names are normalised ones (see names.parse_names), times unix seconds."""
    builder = _of(
        _leaf_builder(issuer, profile, isinstance(public_key, rsa.RSAPublicKey)),
        _subject(common_name),
        public_key,
        serial,
        not_before,
        not_after,
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    if names:
        # RFC 5280, 4.2.1.6: critical when the subject is empty.
        builder = builder.add_extension(x509.SubjectAlternativeName(to_general_names(names)), critical=not common_name)
    return builder.sign(issuer_key, _digest(issuer_key))


def _ca_extensions(
    public_key: Any, *, path_length: int, constraints: Constraints | None = None
) -> list[tuple[x509.ExtensionType, bool]]:
    limits = [(constraints.to_extension(), True)] if constraints else []
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_key_usage("key_cert_sign", "crl_sign"), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        *limits,
    ]


# What is the same in all leaves of a profile is made once: a batch is ten thousand of them.
@lru_cache(maxsize=64)
def _leaf_builder(issuer: x509.Certificate, profile: Profile, is_rsa: bool) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().issuer_name(issuer.subject)
    for extension, critical in _leaf_extensions(profile, is_rsa):
        builder = builder.add_extension(extension, critical=critical)
    return builder.add_extension(_authority_key_id(issuer), critical=False)


def _leaf_extensions(profile: Profile, is_rsa: bool) -> list[tuple[x509.ExtensionType, bool]]:
    # RFC 5280, 4.2.1.3, and RFC 8446: an EC key agrees on nothing by its certificate, an RSA key never does.
    bits = ("digital_signature", "key_encipherment") if is_rsa else ("digital_signature",)
    usages = [getattr(x509.oid.ExtendedKeyUsageOID, _OID_NAMES[usage]) for usage in profile.usages]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(*bits), True),
        (x509.ExtendedKeyUsage(usages), False),
    ]
    if profile.crl_urls:
        # One point with all its addresses: they are places of the same list.
        point = x509.DistributionPoint(_urls(profile.crl_urls), relative_name=None, reasons=None, crl_issuer=None)
        extensions.append((x509.CRLDistributionPoints([point]), False))
    methods = x509.oid.AuthorityInformationAccessOID
    access = [(methods.OCSP, url) for url in profile.ocsp_urls]
    access += [(methods.CA_ISSUERS, url) for url in profile.issuer_urls]
    if access:
        places = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in access]
        extensions.append((x509.AuthorityInformationAccess(places), False))
    return extensions


def _urls(urls: Sequence[str]) -> list[x509.UniformResourceIdentifier]:
    return [x509.UniformResourceIdentifier(url) for url in urls]


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
    return _of(x509.CertificateBuilder().issuer_name(issuer), subject, public_key, serial, not_before, not_after)


def _of(
    builder: x509.CertificateBuilder,
    subject: x509.Name,
    public_key: Any,
    serial: int,
    not_before: int,
    not_after: int,
) -> x509.CertificateBuilder:
    return (
        builder.subject_name(subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(_utc(not_before))
        .not_valid_after(_utc(not_after))
    )


@lru_cache(maxsize=64)
def _utc(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc).replace(tzinfo=None)


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
