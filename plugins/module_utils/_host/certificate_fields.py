# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of a certificate as C(openssl x509) shows them, for hosts without any library."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import ipaddress
import re
import ssl
from typing import Any

from .command import run
from .errors import HostError
from .pem import fingerprint

_ASK = ("-noout", "-subject", "-issuer", "-serial", "-dates", "-pubkey", "-ext", "subjectAltName")
_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----(.+?)-----END PUBLIC KEY-----", re.DOTALL)
_NAMES = re.compile(r"Subject Alternative Name:.*\n\s*(.+)")
_KINDS = {"DNS": "DNS", "IP Address": "IP"}


def certificate_fields(certificate: str, *, where: str) -> dict[str, Any]:
    """subject, issuer, serial, names, not_before, not_after, fingerprint, spki and self_signed of a PEM certificate.

    Times are C(2026-11-22T04:00:00Z), hashes hex SHA-256. Raises HostError.
    """
    done = run(["openssl", "x509", *_ASK, "-nameopt", "RFC2253"], stdin=certificate.encode())
    if done.rc:
        raise HostError(f"{where}: openssl cannot read this certificate: {done.said}")
    lines = dict(line.partition("=")[::2] for line in done.text.splitlines() if re.match(r"[a-zA-Z]+=", line))
    subject, issuer = lines.get("subject", "").strip(), lines.get("issuer", "").strip()
    return {
        "subject": subject,
        "issuer": issuer,
        "self_signed": subject == issuer,
        "serial": lines.get("serial", "").strip().lower().lstrip("0") or "0",
        "names": _names(done.text),
        "not_before": _time(lines.get("notBefore", ""), where=where),
        "not_after": _time(lines.get("notAfter", ""), where=where),
        "fingerprint": fingerprint(certificate, where=where),
        "spki": _spki(done.text, where=where),
    }


def _names(text: str) -> list[str]:
    found = _NAMES.search(text)
    names = set()
    for item in found.group(1).split(", ") if found else ():
        kind, _colon, value = item.strip().partition(":")
        names.add(_name(_KINDS.get(kind, "OTHER"), value.strip() if kind in _KINDS else item.strip()))
    return sorted(names, key=lambda name: (not name.startswith("DNS:"), name))


def _name(kind: str, value: str) -> str:
    if kind == "IP":
        try:
            return f"IP:{ipaddress.ip_address(value)}"
        except ValueError:
            return f"OTHER:{value}"
    return f"{kind}:{value.lower() if kind == 'DNS' else value}"


def _time(text: str, *, where: str) -> str:
    try:
        seconds = ssl.cert_time_to_seconds(text.strip())
    except ValueError as exc:
        raise HostError(f"{where}: openssl shows no date that can be read ('{text}').") from exc
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _spki(text: str, *, where: str) -> str:
    found = _PUBLIC_KEY.search(text)
    try:
        return hashlib.sha256(
            base64.b64decode("".join(found.group(1).split()) if found else "!", validate=True)
        ).hexdigest()
    except (ValueError, binascii.Error) as exc:
        raise HostError(f"{where}: openssl shows no public key of this certificate.") from exc
