# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Through an HTTP proxy with CONNECT. The proxy must know this machine by its address: no login is sent to it."""

from __future__ import annotations

import re
import socket

from .connection import TunnelError, endpoint_text, failure_of, open_connection, remaining, sentence_of
from .errors import ProbeError

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r\n")
_END = b"\r\n\r\n"
_MOST = 16 * 1024
_DESTINATION = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:-]*")


class HttpConnect:
    """A way (C(connection.Way)) through an HTTP proxy."""

    def __init__(self, host: str, port: int, *, text: str) -> None:
        self._host, self._port, self.text = host, port, text

    def connect(self, address: str, port: int, *, deadline: float) -> socket.socket:
        """Ask the proxy for a tunnel to the endpoint. Raises TunnelError."""
        where = destination(address, port)
        try:
            connection = open_connection(self._host, self._port, deadline=deadline)
        except OSError as exc:
            said = sentence_of(failure_of(exc), exc, address=self._host, port=self._port)
            raise self._away(where, said) from exc
        try:
            connection.settimeout(remaining(deadline))
            connection.sendall(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode("ascii"))
            self._judge(_head_of(connection, deadline), where)
            connection.settimeout(remaining(deadline))
        except TunnelError:
            connection.close()
            raise
        except OSError as exc:
            connection.close()
            if failure_of(exc) == "timeout":
                said = f"The proxy {self.text} does not answer in time: it hangs, or waits for {where} in vain."
                raise TunnelError("timeout", said) from exc
            raise self._away(where, "It cuts the connection before an answer.") from exc
        return connection

    def explain(self, exc: OSError) -> OSError:
        """After its answer the proxy says nothing more."""
        return exc

    def _away(self, where: str, said: str) -> TunnelError:
        return TunnelError("proxy_away", f"The proxy {self.text} is away, so {where} could not be looked at: {said}")

    def _judge(self, head: bytes, where: str) -> None:
        if not head:
            raise self._away(where, "It cuts the connection before an answer.")
        line = _STATUS_LINE.match(head)
        if line is None or _END not in head:
            said = f"{self.text} answers, but not as an HTTP proxy does. Check the proxy's address and port."
            raise TunnelError("proxy_refuses", said)
        status = int(line[1])
        answer = f"{status} {_printable(line[2] or b'')}".strip()
        if 200 <= status < 300:
            return
        if status == 504:
            raise TunnelError("timeout", f"The proxy {self.text} waits for {where} in vain ({answer}).")
        if status in (500, 502, 503):
            said = f"The proxy {self.text} is there, but cannot reach {where} ({answer})."
            raise TunnelError("unreachable", said)
        if status == 429:
            raise self._away(where, f"It has too much to do ({answer}).")
        raise TunnelError("proxy_refuses", _refusal(status, answer, where=where, proxy=self.text))


def destination(address: str, port: int) -> str:
    """C(198.18.0.1:443) or C([2001:2::1]:443), safe in a request and in an argument. Raises ProbeError."""
    if not _DESTINATION.fullmatch(address):
        raise ProbeError(f"'{address}' is neither an address nor a host name that a proxy can be asked for.")
    return endpoint_text(address, port)


def _head_of(connection: socket.socket, deadline: float) -> bytes:
    """Up to the empty line and not a byte further: what follows belongs to the endpoint."""
    head = b""
    while len(head) < _MOST:
        connection.settimeout(remaining(deadline))
        try:
            ahead = connection.recv(2048, socket.MSG_PEEK)
        except ConnectionResetError:
            # Another kind of server may greet, not understand, and cut: its greeting tells more.
            if head:
                break
            raise
        if not ahead:
            break
        end = (head + ahead).find(_END)
        head += connection.recv(len(ahead) if end < 0 else end + len(_END) - len(head))
        if end >= 0:
            break
    return head


def _refusal(status: int, answer: str, *, where: str, proxy: str) -> str:
    if status == 407:
        return (
            f"The proxy {proxy} wants a login ({answer}), which is not supported. Let it allow this machine by its address, "
            "or use an SSH jump host."
        )
    if status == 403:
        return (
            f"The proxy {proxy} does not allow a tunnel to {where} ({answer}). Allow it in the proxy's configuration."
        )
    return f"{proxy} gives no tunnel to {where} ({answer}). Check whether it is an HTTP proxy that allows CONNECT."


def _printable(reason: bytes) -> str:
    return re.sub(r"[^ -~]+", " ", reason.decode("ascii", "replace"))[:80].strip()
