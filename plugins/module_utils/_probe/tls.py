# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One TLS handshake as a client makes it, and what it shows."""

from __future__ import annotations

import binascii
import hashlib
import re
import ssl
import time
from dataclasses import asdict, dataclass
from typing import Any

from .connection import (
    Way,
    failure_of,
    open_connection,
    plain_address,
    reached_text,
    remaining,
    sentence_of,
)
from .errors import ProbeError

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# Numbers of OpenSSL's x509_vfy.h: they are the same in 1.1.1 and 3.x.
_TIME_CODES = frozenset({9, 10, 13, 14})
_NAME_CODES = frozenset({62, 63, 64})
# What OpenSSL says when the bytes that come back are no TLS record.
_NOT_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "UNKNOWN_PROTOCOL",
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "BAD_RECORD_TYPE",
    }
)


@dataclass(frozen=True)
class Seen:
    """What a client saw at an endpoint.

    C(chain), C(name) and C(time) are true when that was established; C(trusted) is all three.
    C(failure) is None, or the first thing that was wrong: proxy_away, proxy_refuses (a proxy is in the way); refused,
    timeout, unreachable (no connection); closed, not_tls (no handshake); chain, name, time (a handshake that a careful
    client breaks off).
    """

    address: str
    port: int
    leaf: str | None
    trusted: bool
    failure: str | None
    said: str
    protocol: str | None = None
    cipher: str | None = None
    chain: bool = False
    name: bool = False
    time: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Call:
    """Whom to connect to, for how long, and the name to verify."""

    address: str
    port: int
    expected: str
    timeout: float
    via: Way | None

    @property
    def where(self) -> str:
        return reached_text(self.address, self.port, self.via)

    def seen(
        self,
        shaken: _Shaken | None,
        failure: str | None,
        said: str,
        *,
        chain: bool = False,
        name: bool = False,
        time: bool = False,
    ) -> Seen:
        """What this call showed."""
        leaf, protocol, cipher = (shaken.leaf, shaken.protocol, shaken.cipher) if shaken else (None, None, None)
        trusted = chain and name and time
        return Seen(
            str(self.address), int(self.port), leaf, trusted, failure, said, protocol, cipher, chain, name, time
        )


@dataclass(frozen=True)
class _Shaken:
    leaf: str
    protocol: str | None
    cipher: str | None


def fingerprint_of(pem: str) -> str:
    """Lower-case hex SHA-256 of the first certificate's DER."""
    block = _BLOCK.search(str(pem))
    if block is None:
        raise ProbeError("There is no PEM certificate where one was expected. Give a text with BEGIN CERTIFICATE.")
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(block.group(0))).hexdigest()
    except (ValueError, binascii.Error) as exc:
        raise ProbeError(
            "The PEM certificate is damaged: its base64 cannot be decoded. Take a whole copy of it."
        ) from exc


def look(
    address: str,
    port: int,
    *,
    server_name: str | None = None,
    anchors: str | None,
    timeout: float = 5.0,
    via: Way | None = None,
) -> Seen:
    """Connect, verify against the anchors alone, and tell what is served.

    One handshake when all is well. Only where verification fails it connects again to learn the leaf; nothing is ever
    sent after a handshake. O(anchors) is PEM text; None means that nothing can be verified. O(server_name) is the DNS
    name or IP literal to verify (default: the address); DNS names are sent as SNI. O(timeout) is per connection. O(via) is
    the way through a proxy, which sees nothing of the TLS in it.
    """
    expected = plain_address(server_name or address).partition("%")[0]
    call = _Call(address, port, expected, timeout, via)
    if anchors is None:
        return _unverified(call, failure=None, said="")
    context = trusting(anchors)
    try:
        shaken = _shake(context, call)
    except ssl.SSLCertVerificationError as exc:
        return _rejected(exc, context, call)
    except OSError as exc:
        return _unseen(exc, call)
    said = f"{call.where} serves a certificate that is trusted for {expected}."
    return call.seen(shaken, None, said, chain=True, name=True, time=True)


def trusting(anchors: str) -> ssl.SSLContext:
    """A client context that trusts these anchors alone: no system bundle, no common names, strict RFC 5280."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if ssl.HAS_NEVER_CHECK_COMMON_NAME:
        context.hostname_checks_common_name = False
    try:
        context.load_verify_locations(cadata="\n".join(_BLOCK.findall(str(anchors))))
    except (ssl.SSLError, ValueError) as exc:
        raise ProbeError(
            "The anchors hold no PEM certificate that can be read. Give the CA's certificates as PEM."
        ) from exc
    return context


def seeing_all() -> ssl.SSLContext:
    """A client context that verifies nothing, to learn what even old devices serve. No login and no key goes through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _shake(context: ssl.SSLContext, call: _Call) -> _Shaken:
    deadline = time.monotonic() + call.timeout
    plain = open_connection(call.address, call.port, deadline=deadline, via=call.via)
    try:
        plain.settimeout(remaining(deadline))
        # An IP literal is verified by check_hostname as well; OpenSSL sends no SNI for it.
        with context.wrap_socket(plain, server_hostname=call.expected, suppress_ragged_eofs=False) as wrapped:
            der = wrapped.getpeercert(binary_form=True)
            cipher = wrapped.cipher()
            if der is None:
                raise ssl.SSLError(0, "the peer showed no certificate")
            return _Shaken(ssl.DER_cert_to_PEM_cert(der), wrapped.version(), cipher[0] if cipher else None)
    except ssl.SSLCertVerificationError:
        raise  # it is a ValueError too
    except ValueError as exc:
        raise ProbeError(
            f"'{call.expected}' is no server name that TLS can verify. Give a DNS name or an IP address."
        ) from exc
    finally:
        plain.close()


def _rejected(exc: ssl.SSLCertVerificationError, context: ssl.SSLContext, call: _Call) -> Seen:
    why = exc.verify_message or str(exc)
    if exc.verify_code in _NAME_CODES:
        return _misnamed(context, call)
    if exc.verify_code in _TIME_CODES:
        # OpenSSL looks at the dates last: chain and name were right.
        said = f"{call.where} serves a certificate whose dates are wrong ({why}); chain and name are right."
        return _unverified(call, failure="time", said=said, chain=True, name=True)
    said = f"{call.where} serves a certificate that the anchors do not vouch for ({why})."
    return _unverified(call, failure="chain", said=said)


def _misnamed(context: ssl.SSLContext, call: _Call) -> Seen:
    """The name is wrong; OpenSSL looks at it before signatures and dates, so those are looked at without it."""
    said = f"{call.where} serves a certificate that does not carry the name {call.expected}."
    context.check_hostname = False
    try:
        shaken = _shake(context, call)
    except ssl.SSLCertVerificationError as exc:
        said = f"{said[:-1]}, and it is not trusted otherwise ({exc.verify_message})."
        return _unverified(call, failure="name", said=said, chain=exc.verify_code in _TIME_CODES)
    except OSError as exc:
        return _unseen(exc, call)
    return call.seen(shaken, "name", said, chain=True, time=True)


def _unverified(call: _Call, *, failure: str | None, said: str, chain: bool = False, name: bool = False) -> Seen:
    try:
        shaken = _shake(seeing_all(), call)
    except OSError as exc:
        gone = _unseen(exc, call)
        if failure is None:
            return gone
        return call.seen(None, failure, f"{said} It could not be looked at again: {gone.said}")
    said = said or f"{call.where} serves a certificate; it was not verified."
    return call.seen(shaken, failure, said, chain=chain, name=name)


def _unseen(exc: OSError, call: _Call) -> Seen:
    if call.via is not None:
        exc = call.via.explain(exc)
    if isinstance(exc, ssl.SSLError):
        reason = exc.reason or ""
        if isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            failure, said = "closed", f"{call.where} cuts the connection during the TLS handshake."
        elif reason in _NOT_TLS:
            failure, said = "not_tls", f"{call.where} answers, but not with TLS."
        else:
            failure, said = "closed", f"{call.where} breaks off the TLS handshake ({reason or exc})."
    else:
        failure = failure_of(exc)
        said = sentence_of(failure, exc, address=call.address, port=call.port, via=call.via)
    return call.seen(None, failure, said)
