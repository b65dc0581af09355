# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection: the TLS handshake with what the device serves just now, then requests and answers."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate

from . import appliance_api, mir_api
from .configuration import Configuration
from .device import Device
from .http_messages import MOST_HEAD, BadRequestError, Request, Response, read_head
from .request_log import RequestLog
from .switches import Switches

HANDSHAKE_TIME = 10.0
IDLE_TIME = 30.0
# Where the API begins on the ports that facts/mir.md names, in their order: 80, 8080.
_HTTP_BASES = ("/api/v2.0.0", "/v2.0.0")
_LOGIN_HEADERS = frozenset({"authorization", "x-api-key", "x-auth-token", "cookie"})


@dataclass(frozen=True)
class Line:
    """An accepted connection and whose it is."""

    device: Device
    connection: socket.socket
    port: int
    client: str


class Conversation:
    """Speaks for all devices."""

    def __init__(self, configuration: Configuration, devices: Mapping[str, Device], log: RequestLog) -> None:
        self._https = configuration.https_port
        self._roles = {port: place for place, port in enumerate(configuration.http_ports)}
        self._devices = devices
        self._log = log

    async def hold(self, line: Line) -> None:
        """From the first byte to the last. Whatever the client does ends this connection only."""
        line.connection.setblocking(False)
        if line.port == self._https and line.device.switches.https == "hang":
            with line.connection:
                await asyncio.sleep(IDLE_TIME)
            return
        try:
            reader, writer = await self._greet(line)
        except OSError:
            line.connection.close()
            return
        try:
            await self._requests(line, reader, writer)
        except (OSError, asyncio.TimeoutError):
            writer.transport.abort()
        except asyncio.CancelledError:
            # The device goes away: what is said just now is not said to its end.
            writer.transport.abort()
            raise
        finally:
            writer.close()

    async def _greet(self, line: Line) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MOST_HEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        if line.port != self._https:
            transport, _protocol = await loop.connect_accepted_socket(lambda: protocol, line.connection)
            return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
        shaken = False
        try:
            transport, _protocol = await loop.connect_accepted_socket(
                lambda: protocol, line.connection, ssl=line.device.context(), ssl_handshake_timeout=HANDSHAKE_TIME
            )
            shaken = True
        finally:
            self._log.write("handshake", line.device.name, client=line.client, port=line.port, ok=shaken)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _requests(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                request = await asyncio.wait_for(self._next(line, reader), IDLE_TIME)
            except BadRequestError as exc:
                writer.write(Response(400, str(exc).encode(), "text/plain").encode(keep_alive=False))
                self._log.write("garbage", line.device.name, client=line.client, port=line.port, said=str(exc))
                return
            if request is None:
                return
            if len(request.body) < int(request.headers.get("content-length", "0")):
                self._note(line, request, Response(0))
                _reset(writer)
                return
            response = _dated(await self._answer(line, request), line.device.switches)
            self._note(line, request, response)
            message = response.encode(keep_alive=request.keep_alive)
            if response.cut or response.withheld:
                # All but the last byte of the body: clients take a head that was cut for a whole answer.
                writer.write(b"" if response.withheld else message[:-1])
                _reset(writer)
                return
            writer.write(message)
            await writer.drain()
            if not request.keep_alive:
                return

    async def _next(self, line: Line, reader: asyncio.StreamReader) -> Request | None:
        """The next request; with half of its body when that is where the device cuts connections."""
        head = await read_head(reader)
        if head is None:
            return None
        if head.length and line.device.switches.reset == "body":
            head = replace(head, length=head.length // 2)
        return await head.with_body(reader)

    async def _answer(self, line: Line, request: Request) -> Response:
        if line.device.settings.profile == "appliance":
            return appliance_api.answer(line.device, request)
        role = self._roles.get(line.port, 0)
        if role >= len(_HTTP_BASES):
            return Response(400, b'Can "Upgrade" only to "WebSocket".', "text/plain")
        return await mir_api.answer(
            line.device, request, base=_HTTP_BASES[role], neighbours=self._devices, https_port=self._https
        )

    def _note(self, line: Line, request: Request, response: Response) -> None:
        self._log.write(
            "request",
            line.device.name,
            client=line.client,
            scheme="https" if line.port == self._https else "http",
            port=line.port,
            method=request.method,
            path=request.path,
            authorization=not _LOGIN_HEADERS.isdisjoint(request.headers),
            body=len(request.body),
            status=response.status,
        )


def _dated(response: Response, switches: Switches) -> Response:
    """With the date of the device's clock, as web servers put it there."""
    if switches.date == "off":
        return response
    date = formatdate(time.time() + switches.clock, usegmt=True)
    return replace(response, headers={"Date": date, **response.headers})


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection by a reset instead of a goodbye."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
