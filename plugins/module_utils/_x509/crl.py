# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate revocation lists: built, read, and checked against the certificate of their issuer."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .crypto import InvalidSignature, UnsupportedAlgorithm, ed25519, hashes, serialization, x509
from .errors import X509Error
from .parse import Leaf, load_certificate, verify

_BLOCK = re.compile(r"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class Revoked(NamedTuple):
    """One entry: serial in hex, unix seconds, reason in snake case (see _ca/revocation.py)."""

    serial: str
    at: int
    reason: str


@dataclass(frozen=True)
class Crl:
    """A CRL; times are unix seconds."""

    issuer: str
    number: int
    this_update: int
    next_update: int
    revoked: tuple[Revoked, ...]
    pem: str
    der: bytes


def build_crl(
    revoked: Iterable[Revoked],
    *,
    issuer: x509.Certificate,
    issuer_key: Any,
    number: int,
    this_update: int,
    next_update: int,
) -> str:
    """A full CRL as PEM; times are unix seconds."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(_utc(this_update))
        .next_update(_utc(next_update))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key_id(issuer), critical=False)
    )
    for item in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(int(item.serial, 16)).revocation_date(_utc(item.at))
        if item.reason != "unspecified":
            # RFC 5280, 5.3.1: the reason is left out rather than given as unspecified.
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags[item.reason]), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer_key, _digest(issuer_key)).public_bytes(serialization.Encoding.PEM).decode()


def parse_crl(pem: str, *, where: str = "CRL") -> Crl:
    """Read the first CRL of PEM text. One without a number is none that can be compared with others."""
    try:
        crl = x509.load_pem_x509_crl(pem.encode())
        _refuse_unverifiable(crl, where=where)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        this_update, next_update = _times(crl)
        return Crl(
            issuer=crl.issuer.rfc4514_string(),
            number=number,
            this_update=this_update,
            next_update=next_update,
            revoked=tuple(Revoked(f"{entry.serial_number:x}", _revoked_at(entry), _reason_of(entry)) for entry in crl),
            pem=crl.public_bytes(serialization.Encoding.PEM).decode(),
            der=crl.public_bytes(serialization.Encoding.DER),
        )
    except x509.ExtensionNotFound as exc:
        issuer = crl.issuer.rfc4514_string()
        raise X509Error(
            f"{where}: this CRL of {issuer} has no number, so that an older one could not be told from it."
        ) from exc
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as exc:
        said = (str(exc).splitlines() or [type(exc).__name__])[0][:120]
        raise X509Error(f"{where}: this is no certificate revocation list in PEM ({said}).") from exc


def parse_crls(pem: str, *, where: str = "CRL") -> list[Crl]:
    """All CRLs of PEM text, in their order."""
    return [parse_crl(block, where=where) for block in _BLOCK.findall(pem)]


def read_crls(pem: str, *, where: str = "CRL") -> tuple[list[Crl], list[str]]:
    """(those CRLs of PEM text that can be read, in their order; what is wrong with each of the others)."""
    found, wrong = [], []
    blocks = _BLOCK.findall(pem)
    for place, block in enumerate(blocks, start=1):
        try:
            found.append(parse_crl(block, where=f"{where}, CRL {place} of {len(blocks)}"))
        except X509Error as exc:
            wrong.append(str(exc))
    return found, wrong


def is_crl_of(crl: Crl, issuer: Leaf) -> bool:
    """Whether the issuer's key really signed the CRL (names alone prove nothing)."""
    if crl.issuer != issuer.subject:
        return False
    signed = x509.load_der_x509_crl(crl.der)
    try:
        # Of its own, is_signature_valid() of older versions knows no Ed25519.
        verify(
            load_certificate(issuer.pem).public_key(),
            signature=signed.signature,
            signed=signed.tbs_certlist_bytes,
            algorithm=signed.signature_hash_algorithm,
            # A company's CA may sign so.
            parameters=getattr(signed, "signature_algorithm_parameters", None),
        )
    except (InvalidSignature, TypeError, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _refuse_unverifiable(crl: x509.CertificateRevocationList, *, where: str) -> None:
    """Older versions of the library do not tell with which parameters it was signed."""
    is_pss = crl.signature_algorithm_oid == x509.SignatureAlgorithmOID.RSASSA_PSS
    if is_pss and not hasattr(crl, "signature_algorithm_parameters"):
        raise X509Error(
            f"{where}: this CRL of {crl.issuer.rfc4514_string()} is signed with RSASSA-PSS, which the library cryptography here is too old "
            "to check. Install its version 43 or a newer one, or have the CRL signed with PKCS #1 v1.5 or ECDSA."
        )


def _times(crl: x509.CertificateRevocationList) -> tuple[int, int]:
    """(this_update, next_update) on every supported version of C(cryptography)."""
    utc = datetime.timezone.utc
    if hasattr(crl, "next_update_utc"):
        begin, end = crl.last_update_utc, crl.next_update_utc
    else:
        begin, end = crl.last_update, crl.next_update
    if end is None:
        raise ValueError("it does not say when the next one is due")
    return int(begin.replace(tzinfo=utc).timestamp()), int(end.replace(tzinfo=utc).timestamp())


def _revoked_at(entry: x509.RevokedCertificate) -> int:
    at = entry.revocation_date_utc if hasattr(entry, "revocation_date_utc") else entry.revocation_date
    return int(at.replace(tzinfo=datetime.timezone.utc).timestamp())


def _reason_of(entry: x509.RevokedCertificate) -> str:
    try:
        return str(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.name)
    except x509.ExtensionNotFound:
        return "unspecified"


def _authority_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """That of the issuer's certificate; a company's may carry none."""
    try:
        ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key: Any = issuer.public_key()
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)


def _digest(key: Any) -> Any:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    return hashes.SHA384() if getattr(key, "key_size", 0) == 384 else hashes.SHA256()


def _utc(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc).replace(tzinfo=None)
