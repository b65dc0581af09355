# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and real servers on loopback for tests: C(TestAuthority().pair("IP:127.0.0.1")) and C(TlsPeer(pair))."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509 import build, keys, parse
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import serialization
from ansible_collections.certfleet.tls.plugins.module_utils._x509.names import parse_names
from ansible_collections.certfleet.tls.plugins.module_utils._x509.profiles import BUILT_IN

DAY = 86400


@dataclass(frozen=True)
class Pair:
    """A certificate (with its chain) and key, as PEM."""

    certificate: str
    key: str
    chain: str = ""

    @property
    def leaf(self) -> parse.Leaf:
        """The parsed certificate."""
        return parse.parse_certificate(self.certificate)


class TestAuthority:
    """A root and an issuing CA in memory."""

    __test__ = False

    def __init__(self, name: str = "Test") -> None:
        now = int(time.time())
        root_key, self._key = keys.new_key("ec-p256"), keys.new_key("ec-p256")
        span: dict[str, Any] = {"not_before": now - 100 * DAY, "not_after": now + 1000 * DAY}
        root = build.build_root(root_key, subject=build.ca_name(f"{name} Root"), **span)
        self._issuing = build.build_issuing(
            self._key.public_key(), root=root, root_key=root_key, subject=build.ca_name(f"{name} Issuing"), **span
        )
        self.anchors = root.public_bytes(serialization.Encoding.PEM).decode()
        self.chain = self._issuing.public_bytes(serialization.Encoding.PEM).decode()

    def pair(
        self,
        *names: str,
        key_type: str = "ec-p256",
        not_before: int = -1,
        not_after: int = 90,
        profile: str = "server",
        common_name: str | None = None,
    ) -> Pair:
        """A leaf for the names and its key; C(not_before) and C(not_after) are days from now."""
        key, now = keys.new_key(key_type), int(time.time())
        return Pair(
            self.sign(
                key.public_key(),
                names,
                not_before=now + not_before * DAY,
                not_after=now + not_after * DAY,
                profile=profile,
                common_name=common_name,
            ),
            keys.key_to_pem(key).decode(),
            self.chain,
        )

    def sign(
        self,
        public_key: object,
        names: tuple[str, ...],
        *,
        not_before: int,
        not_after: int,
        profile: str = "server",
        common_name: str | None = None,
    ) -> str:
        """A leaf as PEM for a key that someone else holds; times are unix seconds."""
        leaf = build.sign_leaf(
            public_key,
            issuer=self._issuing,
            issuer_key=self._key,
            profile=BUILT_IN[profile],
            common_name=common_name,
            names=parse_names(names, where="test"),
            serial=build.new_serial(),
            not_before=not_before,
            not_after=not_after,
        )
        return leaf.public_bytes(serialization.Encoding.PEM).decode()


class Peer:
    """A server on a free port of loopback that remembers what it was sent."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.received: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._socket.bind((address, 0))
        self._socket.listen()
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port and end."""
        if not self._done.is_set():
            self._done.set()
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._thread.join(5)

    def _serve(self) -> None:
        while not self._done.is_set():
            try:
                connection, _where = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(2)
                try:
                    self.talk(connection)
                except OSError:
                    continue

    def talk(self, connection: socket.socket) -> None:
        """What the server does with a connection; this one hangs up at once."""


class TlsPeer(Peer):
    """A TLS server. C(pairs) are served one after the other, one a connection, the last one ever after."""

    def __init__(self, *pairs: Pair, address: str = "127.0.0.1", chain: bool = True, client_ca: str = "") -> None:
        super().__init__(address)
        self._contexts = [_server_context(pair, chain=chain, client_ca=client_ca) for pair in pairs]

    def talk(self, connection: socket.socket) -> None:
        """Shake hands, then read what the client sends."""
        context = self._contexts[min(self.connections, len(self._contexts)) - 1]
        with context.wrap_socket(connection, server_side=True) as wrapped:
            self.received.append(wrapped.recv(4096))


class HttpPeer(Peer):
    """A plain HTTP server with one answer."""

    def __init__(self, answer: bytes, address: str = "127.0.0.1") -> None:
        super().__init__(address)
        self._answer = answer

    def talk(self, connection: socket.socket) -> None:
        """Answer whatever is asked."""
        self.received.append(connection.recv(4096))
        connection.sendall(self._answer)


class SilentPeer(Peer):
    """A server that accepts connections and says nothing."""

    def talk(self, connection: socket.socket) -> None:
        """Wait until the client gives up."""
        while connection.recv(4096):
            pass


def free_port(address: str = "127.0.0.1") -> int:
    """A port on which nothing listens."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _server_context(pair: Pair, *, chain: bool, client_ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        certificate.write_text(pair.certificate + (pair.chain if chain else ""), encoding="ascii")
        key.write_text(pair.key, encoding="ascii")
        context.load_cert_chain(certificate, key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca)
    return context
