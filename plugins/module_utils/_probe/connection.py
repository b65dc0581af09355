# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP connections within a deadline, direct or through a proxy, and names for what goes wrong with them.

What a proxy is, C(tunnel.py) says. Only who has one imports that: here are no more than the shapes.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from .errors import ProbeError

_REFUSED = (errno.ECONNREFUSED,)
_TIMEOUT = (errno.ETIMEDOUT, errno.EAGAIN)
# 0: how older Pythons report that the peer hung up during the TLS handshake.
_CLOSED = (0, errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN)

# Behind a proxy there are two ways to go, and at an SSH login to wait for.
_PATIENCE_DIRECT, _PATIENCE_THROUGH = 5.0, 15.0


class Way(Protocol):
    """The open way through a proxy: one connection at a time."""

    @property
    def text(self) -> str:
        """The proxy, for people."""

    def connect(self, address: str, port: int, *, deadline: float) -> socket.socket:
        """A connection that ends at the endpoint, before the deadline. Raises OSError, mostly TunnelError."""

    def explain(self, exc: OSError) -> OSError:
        """What an error on the latest connection really was, if the way knows more than the socket; otherwise O(exc)."""


class Detour(Protocol):
    """A proxy that leads to an endpoint (C(tunnel.Proxy))."""

    def way(self) -> AbstractContextManager[Way]:
        """The way through it; nothing is left of it (no process, no file) when the context ends."""


class TunnelError(OSError):
    """A proxy that is in the way, or what it says of the endpoint.

    C(failure) is C(proxy_away) (try again later), C(proxy_refuses) (somebody has to correct something), or what is wrong with
    the endpoint, as seen from the proxy: C(refused), C(timeout), C(unreachable). C(said) is a sentence for people.
    """

    def __init__(self, failure: str, said: str) -> None:
        super().__init__(said)
        self.failure, self.said = failure, said


def way_to(proxy: Detour | None) -> AbstractContextManager[Way | None]:
    """For C(with way_to(proxy) as via): the way through the proxy, or None for the direct one."""
    return nullcontext() if proxy is None else proxy.way()


def patience(via: object | None) -> float:
    """Seconds that one look may take, by default."""
    return _PATIENCE_DIRECT if via is None else _PATIENCE_THROUGH


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


def reached_text(address: str, port: int, via: Way | None) -> str:
    """The same, with the proxy that leads there."""
    where = endpoint_text(address, port)
    return where if via is None else f"{where} (through {via.text})"


def open_connection(address: str, port: int, *, deadline: float, via: Way | None = None) -> socket.socket:
    """Connect before the deadline (of C(time.monotonic)), trying every address of the name; raises OSError.

    The socket's timeout is what was left of the time; it holds per call, so callers set it anew before long dialogues.
    """
    if not 0 < int(port) < 65536:
        raise ProbeError(f"{port} is no TCP port. Give a number from 1 to 65535.")
    if via is not None:
        return via.connect(plain_address(address), int(port), deadline=deadline)
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
    """C(refused), C(timeout), C(closed) or C(unreachable); of a tunnel what it says itself."""
    if isinstance(exc, TunnelError):
        return exc.failure
    # Python 3.9: socket.timeout is no TimeoutError yet.
    if isinstance(exc, (TimeoutError, socket.timeout)) or exc.errno in _TIMEOUT:
        return "timeout"
    if isinstance(exc, socket.gaierror):
        return "unreachable"
    if exc.errno in _REFUSED:
        return "refused"
    return "closed" if exc.errno in _CLOSED else "unreachable"


def sentence_of(failure: str, exc: OSError, *, address: str, port: int, via: Way | None = None) -> str:
    """What happened, for people."""
    if isinstance(exc, TunnelError):
        return exc.said
    where = reached_text(address, port, via)
    if isinstance(exc, socket.gaierror):
        return f"{address} cannot be resolved ({exc.strerror})."
    return {
        "refused": f"{where} refuses connections: nothing listens there.",
        "timeout": f"{where} does not answer in time.",
        "closed": f"{where} accepts the connection and cuts it before an answer.",
    }.get(failure, f"{where} cannot be reached ({exc.strerror or exc}).")
