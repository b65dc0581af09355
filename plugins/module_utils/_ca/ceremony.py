# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of a root that signs issuing CAs, and the CSR that is brought to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._x509.constraints import Constraints, constraints_of
from .._x509.crypto import UnsupportedAlgorithm, x509
from .._x509.errors import X509Error
from .._x509.keys import KEY_TYPES, key_type_of, spki_of
from .._x509.names import is_dn_text
from .errors import CAError
from .own_certificates import describe_limits
from .revocation import check_reason
from .wish import Wish

_SPKI = re.compile(r"[0-9a-f]{64}\Z")
_SERIAL = re.compile(r"[0-9a-f]{1,40}\Z")


@dataclass(frozen=True)
class Request:
    """A CSR for an issuing CA whose signature and subject are right."""

    spki: str
    key: str
    subject: x509.Name
    limits: Constraints
    public_key: Any

    def describe(self) -> dict[str, Any]:
        """For people, who compare it with what the CA host says."""
        return {
            "spki": self.spki,
            "key": self.key,
            "subject": self.subject.rfc4514_string(),
            "limits": describe_limits(self.limits),
        }


@dataclass(frozen=True)
class Ceremony:
    """What is asked of the root.

    C(request) is only told of, unless C(signs). C(limits) are those of the request where they are None. C(revokes) are a serial or
    an SPKI, hexadecimal. C(chain_path) and C(crl_path) are where the answers go, empty for nowhere.
    """

    wish: Wish
    request: Request | None = None
    signs: bool = False
    limits: Constraints | None = None
    revokes: str = ""
    reason: str = "unspecified"
    chain_path: str = ""
    crl_path: str = ""

    @property
    def makes(self) -> bool:
        """Whether a root is made where there is none. Who signs or revokes means one that is there."""
        return not (self.signs or self.revokes)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Ceremony:
        """Check and normalise a module's options, and read the CSR. Raises CAError or X509Error."""
        state, path = str(options["state"]), str(options.get("request") or "")
        wished = {field: options[field] for field in _WISHED if options.get(field) is not None}
        # The issuing CA's key is born where it signs: of which type it is, the request says.
        wish = Wish.from_options({**wished, "issuing": {"key_type": KEY_TYPES[0], **options["issuing"]}})
        given = options.get("domains") is not None or options.get("networks") is not None
        request = read_request(path) if path else None
        if state == "signed":
            _check_expected(request, str(options.get("spki") or ""))
        return cls(
            wish=wish,
            request=request,
            signs=state == "signed",
            limits=wish.policy.constraints if given else None,
            revokes=_check_revoked(options) if state == "revoked" else "",
            reason=check_reason(str(options.get("reason") or "unspecified")),
            chain_path=str(options.get("chain") or ""),
            crl_path=str(options.get("crl") or ""),
        )


_WISHED = ("name", "organization", "root", "domains", "networks", "crl_lifetime")


@dataclass
class Held:
    """What came of it: what was due, the diff of that, and what there is then (PEM in C(chain) and C(crl))."""

    due: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    root: dict[str, Any] | None = None
    issued: list[dict[str, Any]] = field(default_factory=list)
    chain: str | None = None
    crl: str | None = None

    def needs(self, sentence: str, *, what: str, before: Any, after: Any) -> None:
        """Add something that is due."""
        self.due.append(sentence)
        self.before[what], self.after[what] = before, after


def read_request(path: str) -> Request:
    """The CSR in a file. Raises CAError for one that no issuing CA of ours would have made."""
    try:
        with open(path, "rb") as stream:
            csr = x509.load_pem_x509_csr(stream.read(1 << 16))
        public_key = csr.public_key()
        valid, limits = csr.is_signature_valid, constraints_of(csr) or Constraints()
    except OSError as exc:
        raise _refused(path, exc.strerror or str(exc), "Check the path, and that the stick is there.") from exc
    except (ValueError, UnsupportedAlgorithm, X509Error, x509.DuplicateExtension) as exc:
        said = (str(exc).splitlines() or [type(exc).__name__])[0][:120]
        raise _refused(path, f"this is no certificate signing request in PEM ({said})", _CARRY) from exc
    if not valid:
        raise _refused(path, "its signature is wrong", _CARRY)
    if key_type_of(public_key) not in KEY_TYPES:
        raise _refused(path, f"a key of type {key_type_of(public_key)} is not signed", f"Use {', '.join(KEY_TYPES)}.")
    _check_subject(csr.subject, path=path)
    _check_limits(csr, limits, path=path)
    return Request(spki_of(public_key), key_type_of(public_key), csr.subject, limits, public_key)


_CARRY = "Carry the file from the CA host once more (its path is in the answer of ca_authority)."


def _check_subject(subject: x509.Name, *, path: str) -> None:
    oids = [attribute.oid for attribute in subject]
    names = {x509.oid.NameOID.COMMON_NAME, x509.oid.NameOID.ORGANIZATION_NAME}
    is_right = x509.oid.NameOID.COMMON_NAME in oids and set(oids) <= names and len(set(oids)) == len(oids)
    if not is_right or not all(is_dn_text(str(attribute.value)) for attribute in subject):
        raise _refused(
            path,
            f"its subject '{subject.rfc4514_string()}' is not one common name and at most one organization, of 64 octets each, "
            "without commas, quotes and control characters",
            _CARRY,
        )


def _check_limits(csr: x509.CertificateSigningRequest, limits: Constraints, *, path: str) -> None:
    asked = [item.value for item in csr.extensions if isinstance(item.value, x509.NameConstraints)]
    if asked and asked != [limits.to_extension()]:
        raise _refused(path, "it asks for name constraints of another form than ours", _CARRY)


def _check_expected(request: Request | None, expected: str) -> None:
    if request is None:
        raise CAError("state 'signed' needs a request to sign. Nothing was signed. Give its path.", code="bad_request")
    if not _SPKI.match(expected.lower()):
        raise CAError(
            f"spki: '{expected}' is no SHA-256 in hexadecimal. Nothing was signed. Give the SPKI that ca_authority showed on the CA "
            "host, learnt by another way than the file itself.",
            code="bad_request",
        )
    if request.spki != expected.lower():
        raise CAError(
            f"The request is for another key ({request.spki}) than the expected one ({expected.lower()}). Nothing was signed. Look "
            "at the CA host which of them is its own: somebody may have exchanged the file.",
            code="spki_mismatch",
        )


def _check_revoked(options: Mapping[str, Any]) -> str:
    serial, spki = (str(options.get(field) or "").lower().replace(":", "") for field in ("serial", "spki"))
    if bool(serial) == bool(spki) or not (_SPKI.match(spki) if spki else _SERIAL.match(serial)):
        raise CAError(
            "state 'revoked' needs either the serial of an issuing CA or the SPKI of its key (all its certificates then), in "
            "hexadecimal. Nothing was revoked. Both are in the module's answer (issued).",
            code="bad_request",
        )
    return spki or (serial.lstrip("0") or "0")


def _refused(path: str, why: str, step: str) -> CAError:
    return CAError(f"The request {path} cannot be signed: {why}. Nothing was signed. {step}", code="bad_csr")
