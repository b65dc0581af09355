# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real proxies on loopback for tests: an HTTP proxy that does CONNECT, and OpenSSH's own server as a jump host."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.tests.unit.tls_peers import Peer, free_port


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


class Sshd:
    """OpenSSH's server as a jump host for the user that runs the tests, with keys of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("sshd is not installed; the lab has one")
        self.folder, self.port = folder, free_port()
        for name in ("host", "user", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, timeout=20
            )
        public = (folder / "host.pub").read_text(encoding="ascii")
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}", encoding="ascii")
        options = {
            "Port": str(self.port),
            "ListenAddress": "127.0.0.1",
            "HostKey": str(folder / "host"),
            "AuthorizedKeysFile": str(folder / "user.pub"),
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            **settings,
        }
        (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        self._log = (folder / "sshd.log").open("wb")
        self._process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "sshd_config")], stdin=subprocess.DEVNULL, stderr=self._log
        )

    def __enter__(self) -> Sshd:
        deadline = time.monotonic() + 10
        while "Server listening" not in self.log:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.skip(f"sshd does not run here: {self.log.strip()[-200:]}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_what: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the server says."""
        return (self.folder / "sshd.log").read_text(encoding="utf-8", errors="replace")

    @property
    def logins(self) -> int:
        """How often somebody was let in."""
        return self.log.count("Accepted publickey")

    @property
    def url(self) -> str:
        """For C(proxy)."""
        return f"ssh://127.0.0.1:{self.port}"

    def options(self, *, key: str = "user", known_hosts: str = "known_hosts") -> list[str]:
        """For C(proxy_ssh_options)."""
        known = f"UserKnownHostsFile={self.folder / known_hosts}"
        return ["-F", "/dev/null", "-i", str(self.folder / key), "-o", "IdentitiesOnly=yes", "-o", known]

    def stop(self) -> None:
        """End the server and wait for its end."""
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


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
