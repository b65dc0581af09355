# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's emulator of robots as a real process on loopback addresses, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.certfleet.tls.tests.lab.robots.control import ask
from ansible_collections.certfleet.tls.tests.unit.tls_peers import free_port

ROBOTS = Path(__file__).resolve().parents[1] / "lab" / "robots"
USERNAME, PASSWORD = "operator", "Pl4nted-passw0rd!"


class Emulator:
    """C(with Emulator(folder, {"name": "robot-1"}) as emulator:) starts it; each device gets an address of its own."""

    def __init__(self, folder: Path, *devices: dict[str, Any], **more: Any) -> None:
        self._folder = folder
        ports = {free_port() for _number in range(16)}
        self.https_port, *http_ports = sorted(ports)[:4]
        self.http_ports = http_ports
        self._log, self._config = folder / "requests.jsonl", folder / "config.json"
        self._settings = {
            "state_dir": str(folder / "state"),
            "log": str(self._log),
            "control": str(folder / "control"),
            "builtin": "shared",
            "ports": {"https": self.https_port, "http": http_ports},
            "devices": [self._device(number, device) for number, device in enumerate(devices, start=1)],
            **more,
        }
        self._process: subprocess.Popen[str] | None = None

    def _device(self, number: int, device: dict[str, Any]) -> dict[str, Any]:
        high, low = divmod(number, 250)
        address = f"127.{100 + os.getpid() % 100}.{high}.{low + 1}"
        return {"username": USERNAME, "password": PASSWORD, "addresses": [address], **device}

    def address(self, name: str) -> str:
        """The first address of a device."""
        return str(next(device for device in self._settings["devices"] if device["name"] == name)["addresses"][0])

    def __enter__(self) -> Emulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        self._config.write_text(json.dumps(self._settings), encoding="utf-8")
        command = [sys.executable, str(ROBOTS / "serve.py"), "--config", str(self._config)]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said.startswith("serving"), f"the emulator did not start: {said!r}"

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=10)
            self._process = None

    def control(self, device: str, action: str, *words: str) -> dict[str, Any]:
        """What control.py does, without a process for it; the status of the device."""
        answer = ask(str(self._folder / "control"), {"device": device, "action": action, "words": list(words)})
        assert answer["ok"], answer
        return dict(answer["devices"].get(device, answer["devices"]))

    def run_control(self, device: str, action: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run control.py."""
        command = [sys.executable, str(ROBOTS / "control.py"), "--socket", "control", device, action, *words]
        return subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=20, check=False)

    def log(self, event: str | None = None, device: str | None = None) -> list[dict[str, Any]]:
        """The lines of the log, perhaps only those of one kind and device."""
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if event in (None, entry["event"]) and device in (None, entry["device"])]

    def handshakes(self, device: str, count: int) -> list[bool]:
        """Whether each TLS handshake with a device succeeded; waits for so many (the client is done before they are
        written)."""
        deadline = time.monotonic() + 5
        while len(found := self.log("handshake", device)) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return [entry["ok"] for entry in found]

    def log_text(self) -> str:
        """The log as it is."""
        return self._log.read_text(encoding="utf-8")

    def forget_log(self) -> None:
        """Empty the log, once nothing more of what went before is written to it (a client is done before the server)."""
        sizes = [-1, -2]
        while len(set(sizes[-3:])) > 1:
            time.sleep(0.03)
            sizes.append(self._log.stat().st_size if self._log.exists() else 0)
        self._log.unlink(missing_ok=True)
