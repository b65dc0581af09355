# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP connections within a deadline, and names for what goes wrong with them."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time

from .errors import ProbeError

_REFUSED = (errno.ECONNREFUSED,)
_TIMEOUT = (errno.ETIMEDOUT, errno.EAGAIN)
# 0: how older Pythons report that the peer hung up during the TLS handshake.
_CLOSED = (0, errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN)


def plain_address(address: str) -> str:
    """The address without the brackets that URLs put round IPv6 literals."""
    text = str(address).strip()
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def is_ip(name: str) -> bool:
    """Whether a name is an IP literal (a zone such as %eth0 may follow)."""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def endpoint_text(address: str, port: int) -> str:
    """C(198.18.0.1:443) or C([2001:2::1]:443)."""
    plain = plain_address(address)
    return f"[{plain}]:{port}" if ":" in plain else f"{plain}:{port}"


def open_connection(address: str, port: int, *, deadline: float) -> socket.socket:
    """Connect before the deadline (of C(time.monotonic)), trying every address of the name; raises OSError.

    The socket's timeout is what was left of the time; it holds per call, so callers set it anew before long dialogues.
    """
    if not 0 < int(port) < 65536:
        raise ProbeError(f"{port} is no TCP port. Give a number from 1 to 65535.")
    try:
        found = socket.getaddrinfo(plain_address(address), int(port), type=socket.SOCK_STREAM)
    except UnicodeError as exc:
        raise ProbeError(f"'{address}' is neither an address nor a host name. Check how it is written.") from exc
    last: OSError = OSError(errno.EHOSTUNREACH, f"no address is known for {address}")
    for family, kind, protocol, _name, where in found:
        connection = None
        try:
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(remaining(deadline))
            connection.connect(where)
            return connection
        except OSError as exc:
            last = exc
            if connection is not None:
                connection.close()
    raise last


def remaining(deadline: float) -> float:
    """Seconds until the deadline; raises TimeoutError when it has passed (0 would make a socket non-blocking)."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def failure_of(exc: OSError) -> str:
    """C(refused), C(timeout), C(closed) or C(unreachable)."""
    # Python 3.9: socket.timeout is no TimeoutError yet.
    if isinstance(exc, (TimeoutError, socket.timeout)) or exc.errno in _TIMEOUT:
        return "timeout"
    if isinstance(exc, socket.gaierror):
        return "unreachable"
    if exc.errno in _REFUSED:
        return "refused"
    return "closed" if exc.errno in _CLOSED else "unreachable"


def sentence_of(failure: str, exc: OSError, *, address: str, port: int) -> str:
    """What happened, for people."""
    where = endpoint_text(address, port)
    if isinstance(exc, socket.gaierror):
        return f"{address} cannot be resolved ({exc.strerror})."
    return {
        "refused": f"{where} refuses connections: nothing listens there.",
        "timeout": f"{where} does not answer in time.",
        "closed": f"{where} accepts the connection and cuts it before an answer.",
    }.get(failure, f"{where} cannot be reached ({exc.strerror or exc}).")
