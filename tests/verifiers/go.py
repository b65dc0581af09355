# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go's crypto/x509, in the program that MiR Fleet runs: Traefik, as a client of servers and as a server that asks clients.

For each server's certificate there is a small TLS server, and a route of Traefik that leads to it over https, with the anchors
and the name that the case gives. For clients Traefik asks for certificates itself, with the anchors that the name in the SNI
stands for. All of it on loopback.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.tests.unit.tls_peers import Peer

from .case import CLIENT, CRL, Case, Verdict, write
from .traefik import Traefik

# Go's documentation of (*Certificate).Verify in crypto/x509: "WARNING: this function doesn't do any revocation checking."
NO_REVOCATION = '"this function doesn\'t do any revocation checking" (crypto/x509, Certificate.Verify)'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
# What crypto/tls says before the words of crypto/x509.
_ERROR = re.compile(r"(?:tls: failed to verify certificate: )?x509: .*")


class Go:
    """The lab's Traefik."""

    name = "go"

    @cached_property
    def version(self) -> str:
        return Traefik.version()

    def excuse(self, case: Case) -> str | None:
        return NO_REVOCATION if case.purpose == CRL or case.kind == "revoked" else None

    def verify(self, cases: Sequence[Case], folder: Path) -> list[Verdict]:
        """Ask about each case in turn, so that what Traefik logs meanwhile is about that case."""
        with ExitStack() as stack:
            backend = stack.enter_context(_Backend())
            files = [_Files(case, folder / str(number)) for number, case in enumerate(cases)]
            servers = {
                number: stack.enter_context(_Backend(files[number].server_context()))
                for number, case in enumerate(cases)
                if case.purpose != CLIENT
            }
            routes: dict[str, Any] = {}
            for number, case in enumerate(cases):
                own = servers.get(number)
                if own:
                    _add_server(routes, f"c{number}", case, files[number], port=own.port)
                else:
                    _add_client(routes, f"c{number}", files[number], port=backend.port)
            traefik = stack.enter_context(Traefik(folder, routes))
            return [
                _ask_server(traefik, number) if number in servers else _ask_client(traefik, number, files[number])
                for number in range(len(cases))
            ]


class _Files:
    """What a case is made of, as files."""

    def __init__(self, case: Case, folder: Path) -> None:
        folder.mkdir()
        self.anchors = write(folder, "anchors.pem", case.anchors)
        self.chain = write(folder, "chain.pem", *case.chain)
        self.key = write(folder, "key.pem", case.key)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client that trusts everybody: here the server is the one that verifies."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(self.chain, self.key)
        return context


class _Backend(Peer):
    """An HTTP server with one answer, over TLS when it has a context."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._context = context

    def talk(self, connection: Any) -> None:
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            connection.recv(65536)
            connection.sendall(ANSWER)


def _add_server(routes: dict[str, Any], name: str, case: Case, files: _Files, *, port: int) -> None:
    router = {"rule": f"Path(`/{name}`)", "service": name, "entryPoints": ["plain"]}
    transport = {
        "serverName": case.name.partition(":")[2],
        "rootCAs": [str(files.anchors)],
        "disableHTTP2": True,
    }
    service = {"loadBalancer": {"serversTransport": name, "servers": [{"url": f"https://127.0.0.1:{port}"}]}}
    _add(routes, "http", name, routers=router, services=service, serversTransports=transport)


def _add_client(routes: dict[str, Any], name: str, files: _Files, *, port: int) -> None:
    options = {"clientAuth": {"caFiles": [str(files.anchors)], "clientAuthType": "RequireAndVerifyClientCert"}}
    router = {"rule": f"Host(`{name}.example`)", "service": name, "entryPoints": ["mutual"], "tls": {"options": name}}
    service = {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"}]}}
    _add(routes, "http", name, routers=router, services=service)
    _add(routes, "tls", name, options=options)


def _add(routes: dict[str, Any], section: str, name: str, **parts: dict[str, Any]) -> None:
    for part, content in parts.items():
        routes.setdefault(section, {}).setdefault(part, {})[name] = content


def _ask_server(traefik: Traefik, number: int) -> Verdict:
    mark = traefik.mark()
    connection = http.client.HTTPConnection("127.0.0.1", traefik.ports["plain"], timeout=10)
    try:
        connection.request("GET", f"/c{number}")
        status = connection.getresponse().status
    finally:
        connection.close()
    return Verdict(status == 200, "" if status == 200 else traefik.logged(_ERROR, since=mark))


def _ask_client(traefik: Traefik, number: int, files: _Files) -> Verdict:
    mark, name = traefik.mark(), f"c{number}.example"
    try:
        with socket.create_connection(("127.0.0.1", traefik.ports["mutual"]), timeout=10) as plain:
            with files.client_context().wrap_socket(plain, server_hostname=name) as connection:
                connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                # In TLS 1.3 a client learns only now whether it was accepted.
                status = connection.recv(65536).partition(b"\r\n")[0].decode()
    except (ssl.SSLError, ConnectionError):
        return Verdict(accepted=False, said=traefik.logged(_ERROR, since=mark))
    return Verdict(status.endswith(" 200 OK"), status)
