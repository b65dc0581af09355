# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxies for tests: an HTTP proxy on loopback that does CONNECT, and what the ssh command leaves and finds through one."""

from __future__ import annotations

import select
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.connection import way_to
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import Seen, look
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import Proxy
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Peer


class ConnectProxy(Peer):
    """Connects to whatever it is asked for; or gives one answer to all, if there is one."""

    def __init__(self, answer: bytes = b"", address: str = "127.0.0.1") -> None:
        super().__init__(address)
        self.answer = answer
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """For C(proxy)."""
        return f"http://[{self.address}]:{self.port}" if ":" in self.address else f"http://{self.address}:{self.port}"

    def talk(self, connection: socket.socket) -> None:
        """Answer, and carry bytes between both ends."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        self.received.append(head)
        destination = head.split()[1].decode()
        self.asked.append(destination)
        if self.answer:
            connection.sendall(self.answer)
            return
        host, _colon, port = destination.rpartition(":")
        try:
            far = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
        except OSError:
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with far:
            self._carry(connection, far)

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        while True:
            for end in select.select([near, far], [], [], 5)[0]:
                content = end.recv(65536)
                if not content:
                    return
                if end is near:
                    self.received.append(content)
                (far if end is near else near).sendall(content)


def ssh_processes() -> set[int]:
    """The ssh clients of this test run, and their masters."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ssh") and b"cf-" in command:
            found.add(int(folder.name))
    return found


def wait_for(condition: Any, seconds: float = 5) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def nothing_left() -> Iterator[Path]:
    """A folder for the private ones that are made meanwhile; nothing may be left in it, nor any process."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    before = ssh_processes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder
        assert list(folder.iterdir()) == []
        assert wait_for(lambda: ssh_processes() <= before, 3), ssh_processes() - before
    folder.rmdir()


def look_through(proxy: Proxy, port: int, anchors: str, *, address: str = "127.0.0.1", timeout: float = 10) -> Seen:
    """What a client sees there."""
    with way_to(proxy) as via:
        return look(address, port, anchors=anchors, timeout=timeout, via=via)
