# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A jump host with settings that tests choose."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from ansible_collections.certfleet.tls.tests.unit.tls_peers import free_port


class Sshd:
    """OpenSSH's server as a jump host on loopback, with keys of its own: that of the lab's machines, in the machine's network."""

    def __init__(self, folder: Path, **settings: str) -> None:
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
            [*_container(folder), "/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=self._log,
        )

    def __enter__(self) -> Sshd:
        deadline = time.monotonic() + 10
        while "Server listening" not in self.log:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"sshd does not run: {self.log.strip()[-200:]}")
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


def _container(folder: Path) -> list[str]:
    """The command that runs another one in a container of its own, with this folder."""
    image = subprocess.run(
        ["docker", "inspect", "--format", "{{.Image}}", "certfleet-gateway"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout.strip()
    run = ["docker", "run", "--rm", "--init", "--network", "host", "--tmpfs", "/run/sshd:mode=0755"]
    return [*run, "--volume", f"{folder}:{folder}", image]
