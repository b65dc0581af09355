# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rustls: the PyPI package rtls connects, in memory, to a server of the standard library that shows the chain."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import rtls

from .case import SERVER, Case, Verdict, write

# README of rtls, "Disclaimer": "Right now we deliberately focus on the client side", so it verifies servers.
CLIENT_SIDE = 'verifies servers: "we deliberately focus on the client side" (README of rtls)'
# README of rtls, "Feature Parity with stdlib": nothing loads a CRL; its SSLContext.cert_store_stats() always says "crl": 0.
NO_REVOCATION = 'has nothing that loads a CRL (README of rtls, feature parity; cert_store_stats()["crl"] is always 0)'
# A handshake takes three flights.
FLIGHTS = 10


class Rustls:
    """As installed in the virtual environment."""

    name = "rustls"
    version = f"rtls {version('rtls')}"

    def excuse(self, case: Case) -> str | None:
        if case.purpose != SERVER:
            return CLIENT_SIDE
        return NO_REVOCATION if case.kind == "revoked" else None

    def verify(self, cases: Sequence[Case], folder: Path) -> list[Verdict]:
        return [self._verify(case, folder) for case in cases]

    def _verify(self, case: Case, folder: Path) -> Verdict:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(write(folder, "chain.pem", *case.chain), write(folder, "key.pem", case.key))
        client = rtls.SSLContext(rtls.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(cafile=str(write(folder, "anchors.pem", case.anchors)))
        return _shake_hands(context, client, case.name.partition(":")[2])


def _shake_hands(server_context: ssl.SSLContext, client_context: rtls.SSLContext, host: str) -> Verdict:
    to_server, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    to_client, from_client = rtls.MemoryBIO(), rtls.MemoryBIO()
    server = server_context.wrap_bio(to_server, from_server, server_side=True)
    client = client_context.wrap_bio(to_client, from_client, server_hostname=host)
    for _flight in range(FLIGHTS):
        try:
            client.do_handshake()
        except rtls.SSLWantReadError:
            pass
        except rtls.SSLError as exc:
            return Verdict(accepted=False, said=str(exc))
        else:
            return Verdict(accepted=True)
        to_server.write(from_client.read())
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        to_client.write(from_server.read())
    return Verdict(accepted=False, said="the handshake came to no end")
