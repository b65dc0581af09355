# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and CSRs as plain values."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .crypto import InvalidSignature, UnsupportedAlgorithm, ec, padding, rsa, serialization, x509
from .errors import X509Error
from .keys import key_type_of, spki_of
from .names import from_general_names

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Leaf:
    """A certificate. Times are unix seconds; serial, fingerprint (SHA-256 of the DER) and spki are lower-case hex."""

    serial: str
    fingerprint: str
    spki: str
    subject: str
    issuer: str
    names: tuple[str, ...]
    common_name: str | None
    not_before: int
    not_after: int
    key: str
    is_ca: bool
    usages: tuple[str, ...]
    authority_key_id: str | None
    subject_key_id: str | None
    self_signed: bool
    pem: str


@dataclass(frozen=True)
class CsrKey:
    """The key of a certificate signing request whose own signature is right."""

    spki: str
    key: str
    public_key: Any


@dataclass(frozen=True)
class Csr:
    """A certificate signing request whose own signature is right."""

    spki: str
    names: tuple[str, ...]
    common_name: str | None
    key: str
    public_key: Any


# A batch that was issued at once has a few times, ten thousand times each.
@lru_cache(maxsize=256)
def iso(seconds: float) -> str:
    """Unix seconds as C(2026-11-22T04:00:00Z)."""
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def validity(certificate: x509.Certificate) -> tuple[int, int]:
    """(not_before, not_after) in unix seconds, on every supported version of C(cryptography)."""
    if hasattr(certificate, "not_valid_after_utc"):
        return int(certificate.not_valid_before_utc.timestamp()), int(certificate.not_valid_after_utc.timestamp())
    utc = datetime.timezone.utc
    begin = certificate.not_valid_before.replace(tzinfo=utc)
    end = certificate.not_valid_after.replace(tzinfo=utc)
    return int(begin.timestamp()), int(end.timestamp())


def load_certificate(data: str | bytes, *, where: str = "certificate") -> x509.Certificate:
    """The first certificate of PEM text, or a DER one."""
    raw = data.encode() if isinstance(data, str) else bytes(data)
    try:
        if raw.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(raw)
        return x509.load_der_x509_certificate(raw)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise X509Error(f"{where}: this is no X.509 certificate in PEM or DER ({_first_line(exc)}).") from exc


def parse_certificate(data: str | bytes, *, where: str = "certificate") -> Leaf:
    """Read a certificate; PEM text with several gives the first."""
    return to_leaf(load_certificate(data, where=where), where=where)


def to_leaf(certificate: x509.Certificate, *, where: str = "certificate") -> Leaf:
    """The values of a C(cryptography) certificate."""
    try:
        public_key = certificate.public_key()
        not_before, not_after = validity(certificate)
        return Leaf(
            serial=f"{certificate.serial_number:x}",
            fingerprint=hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest(),
            spki=spki_of(public_key),
            subject=certificate.subject.rfc4514_string(),
            issuer=certificate.issuer.rfc4514_string(),
            names=_names_of(certificate.extensions),
            common_name=_common_name(certificate.subject),
            not_before=not_before,
            not_after=not_after,
            key=key_type_of(public_key),
            is_ca=_is_ca(certificate.extensions),
            usages=_usages(certificate.extensions),
            authority_key_id=_key_id(certificate.extensions, x509.AuthorityKeyIdentifier, "key_identifier"),
            subject_key_id=_key_id(certificate.extensions, x509.SubjectKeyIdentifier, "digest"),
            self_signed=certificate.subject == certificate.issuer,
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        )
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as exc:
        raise X509Error(f"{where}: the certificate cannot be understood ({_first_line(exc)}).") from exc


def parse_bundle(pem: str, *, where: str = "bundle") -> list[Leaf]:
    """All certificates of PEM text, in their order."""
    return [parse_certificate(block, where=where) for block in _BLOCK.findall(pem)]


def parse_csr(pem: str | bytes, *, where: str = "CSR") -> Csr:
    """Read a CSR and check its signature: whoever made it holds the key."""
    csr = _load_csr(pem, where=where)
    key = _requested_key(csr, where=where)
    try:
        names = _names_of(csr.extensions)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as exc:
        raise _no_csr(exc, where=where) from exc
    return Csr(
        spki=key.spki, names=names, common_name=_common_name(csr.subject), key=key.key, public_key=key.public_key
    )


def parse_csr_key(pem: str | bytes, *, where: str = "CSR") -> CsrKey:
    """Only the key that a CSR is for, its signature checked: what else it wishes for is not even looked at."""
    return _requested_key(_load_csr(pem, where=where), where=where)


def _load_csr(pem: str | bytes, *, where: str) -> x509.CertificateSigningRequest:
    try:
        return x509.load_pem_x509_csr(pem.encode() if isinstance(pem, str) else bytes(pem))
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise _no_csr(exc, where=where) from exc


def _requested_key(csr: x509.CertificateSigningRequest, *, where: str) -> CsrKey:
    try:
        valid, public_key = csr.is_signature_valid, csr.public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise _no_csr(exc, where=where) from exc
    if not valid:
        raise X509Error(f"{where}: the signature of the certificate signing request is wrong. Make a new request.")
    return CsrKey(spki=spki_of(public_key), key=key_type_of(public_key), public_key=public_key)


def _no_csr(exc: Exception, *, where: str) -> X509Error:
    return X509Error(f"{where}: this is no certificate signing request in PEM ({_first_line(exc)}).")


@lru_cache(maxsize=256)
def is_issued_by(leaf: Leaf, issuer: Leaf) -> bool:
    """Whether the issuer's key really signed the leaf (names alone prove nothing)."""
    if leaf.issuer != issuer.subject:
        return False
    certificate, key = load_certificate(leaf.pem), load_certificate(issuer.pem).public_key()
    try:
        verify_signature(key, certificate)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True


def verify_signature(key: Any, certificate: x509.Certificate) -> None:
    """Raise InvalidSignature unless the key signed the certificate."""
    verify(
        key,
        signature=certificate.signature,
        signed=certificate.tbs_certificate_bytes,
        algorithm=certificate.signature_hash_algorithm,
        # A company's CA may sign so. Versions before 41 do not tell.
        parameters=getattr(certificate, "signature_algorithm_parameters", None),
    )


def verify(key: Any, *, signature: bytes, signed: bytes, algorithm: Any, parameters: Any = None) -> None:
    """Raise InvalidSignature unless the key made the signature (PKCS#1 v1.5, or PSS with these O(parameters); ECDSA or EdDSA)."""
    if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
        scheme = parameters if isinstance(parameters, padding.PSS) else padding.PKCS1v15()
        key.verify(signature, signed, scheme, algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
        key.verify(signature, signed, ec.ECDSA(algorithm))
    else:
        key.verify(signature, signed)


def describe(leaf: Leaf) -> dict[str, Any]:
    """What results and diffs show of a certificate: parsed fields, never PEM."""
    return {
        "serial": leaf.serial,
        "fingerprint": leaf.fingerprint,
        "spki": leaf.spki,
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "names": list(leaf.names),
        "key": leaf.key,
        "self_signed": leaf.self_signed,
        "not_before": iso(leaf.not_before),
        "not_after": iso(leaf.not_after),
    }


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0][:120]


def _names_of(extensions: x509.Extensions) -> tuple[str, ...]:
    try:
        return from_general_names(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def _common_name(subject: x509.Name) -> str | None:
    found = subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)
    return str(found[0].value) if found else None


def _is_ca(extensions: x509.Extensions) -> bool:
    try:
        return bool(extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _usages(extensions: x509.Extensions) -> tuple[str, ...]:
    try:
        found = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(sorted(getattr(usage, "_name", usage.dotted_string) for usage in found))


def _key_id(extensions: x509.Extensions, kind: Any, attribute: str) -> str | None:
    try:
        value = getattr(extensions.get_extension_for_class(kind).value, attribute)
    except x509.ExtensionNotFound:
        return None
    return value.hex() if value else None
