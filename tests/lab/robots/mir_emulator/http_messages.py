# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 messages over asyncio streams: just enough for a REST API, with bounds on everything."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

MOST_HEAD = 32 * 1024
MOST_BODY = 512 * 1024
_TLS_HANDSHAKE = b"\x16"


class BadRequestError(ValueError):
    """Bytes that are no HTTP request, or too many of them."""


@dataclass(frozen=True)
class Request:
    """A request; names of headers are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to send another request over this connection."""
        return "close" not in self.headers.get("connection", "").lower()


@dataclass(frozen=True)
class Response:
    """An answer. C(cut): the connection is reset before its last byte; C(withheld): before its first one."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    withheld: bool = False

    @classmethod
    def of(cls, status: int, value: Any) -> Response:
        """A JSON answer."""
        return cls(status, json.dumps(value).encode())

    def encode(self, *, keep_alive: bool) -> bytes:
        """The bytes to send."""
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Status"
        fields = {"Server": "nginx", "Content-Type": self.content_type, **self.headers}
        fields["Content-Length"] = str(len(self.body))
        fields["Connection"] = "keep-alive" if keep_alive else "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status} {reason}\r\n{head}\r\n".encode() + (b"" if self.status == 204 else self.body)


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request, or None when the client is done. Raises BadRequestError."""
    head = await read_head(reader)
    return None if head is None else await head.with_body(reader)


@dataclass(frozen=True)
class Head:
    """A request whose body, of so many bytes, is still to be read."""

    request: Request
    length: int

    async def with_body(self, reader: asyncio.StreamReader) -> Request:
        """The whole request. Raises BadRequestError."""
        try:
            return replace(self.request, body=await reader.readexactly(self.length))
        except asyncio.IncompleteReadError as exc:
            raise BadRequestError("the body is incomplete") from exc


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """What comes before the body, or None when the client is done. Raises BadRequestError."""
    try:
        first = await reader.readexactly(1)
        if first == _TLS_HANDSHAKE:
            raise BadRequestError("this is TLS on a plain port")
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if exc.partial.strip():
            raise BadRequestError("the request is incomplete") from exc
        return None
    except asyncio.LimitOverrunError as exc:
        raise BadRequestError("the head of the request is too long") from exc
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1"):
        raise BadRequestError("this is no HTTP request")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _colon, value in pairs}
    try:
        length = int(headers.get("content-length", "0"))
    except ValueError as exc:
        raise BadRequestError("a bad Content-Length") from exc
    if not 0 <= length <= MOST_BODY or "transfer-encoding" in headers:
        raise BadRequestError("the body is too long, or in pieces")
    return Head(Request(words[0], words[1], headers, b""), length)
