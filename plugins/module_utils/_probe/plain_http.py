# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a port does with plain HTTP."""

from __future__ import annotations

import errno
import http.client
import io
import re
import socket
import time
from typing import Any

from .connection import Way, endpoint_text, failure_of, open_connection, reached_text, remaining, sentence_of

_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST = 65536


def plain_http(address: str, port: int, *, timeout: float = 5.0, via: Way | None = None) -> dict[str, Any]:
    """Ask for C(/) without any login, directly or through a proxy, and tell what comes back.

    Answers port, answers (an HTTP answer came), status, location, https_redirect and said.
    """
    deadline = time.monotonic() + timeout
    try:
        with open_connection(address, port, deadline=deadline, via=via) as connection:
            where = endpoint_text(address, port)
            head = request_head(connection, host=where.rsplit(":", 1)[0] if port == 80 else where, deadline=deadline)
        if via is not None and not head:
            # A tunnel opens before its other end has answered: only now it can be told why that did not.
            raise ConnectionResetError(errno.ECONNRESET, "closed")
    except OSError as exc:
        why = via.explain(exc) if via is not None else exc
        return _answer(port, said=sentence_of(failure_of(why), why, address=address, port=port, via=via))
    where = reached_text(address, port, via)
    status_line = _STATUS_LINE.match(head)
    if status_line is None:
        return _answer(port, said=f"{where} accepts connections, but does not answer with HTTP.")
    status, location = int(status_line.group(1)), header_in(head, "Location")
    redirect = status in _REDIRECTS and (location or "").lower().startswith("https://")
    said = (
        f"{where} sends plain HTTP on to {location}."
        if redirect
        else f"{where} answers plain HTTP with status {status}."
    )
    return _answer(port, status=status, location=location, https_redirect=redirect, said=said)


def request_head(connection: socket.socket, *, host: str, deadline: float) -> bytes:
    """Ask for C(/) over a connection; the head of what comes back, or what there is of it. Raises OSError."""
    connection.settimeout(remaining(deadline))
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MOST:
        connection.settimeout(remaining(deadline))
        more = connection.recv(4096)
        if not more:
            break
        head += more
    return head


def header_in(head: bytes, name: str) -> str | None:
    """A field of the head of an answer."""
    fields = head.split(b"\r\n\r\n", 1)[0].split(b"\r\n", 1)[-1] + b"\r\n\r\n"
    try:
        return http.client.parse_headers(io.BytesIO(fields)).get(name)
    except http.client.HTTPException:
        return None


def _answer(
    port: int, *, said: str, status: int | None = None, location: str | None = None, https_redirect: bool = False
) -> dict[str, Any]:
    return {
        "port": port,
        "answers": status is not None,
        "status": status,
        "location": location,
        "https_redirect": https_redirect,
        "said": said,
    }
