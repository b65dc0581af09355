# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's Traefik as a process on loopback, with routes that a test chooses."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.tests.lab.certfleet_lab import images
from ansible_collections.certfleet.tls.tests.unit.tls_peers import free_port

READY = 20.0
# Its log is written a moment after its answer.
LOGGED = 2.0


class Traefik:
    """Runs while its C(with) does; the ports of its entry points, plain and mutual (TLS), are in C(ports)."""

    def __init__(self, folder: Path, routes: Mapping[str, Any]) -> None:
        self.ports = {"plain": free_port(), "mutual": free_port()}
        self._log = folder / "traefik.log"
        # JSON is YAML as well.
        (folder / "routes.yml").write_text(json.dumps(_configuration(routes)), encoding="utf-8")
        options = {
            **{f"entryPoints.{name}.address": f"127.0.0.1:{port}" for name, port in self.ports.items()},
            "providers.file.filename": str(folder / "routes.yml"),
            "providers.file.watch": "false",
            "log.level": "DEBUG",
            "log.noColor": "true",
            "global.checkNewVersion": "false",
            "global.sendAnonymousUsage": "false",
        }
        self._command = [str(images.traefik_program()), *(f"--{name}={value}" for name, value in options.items())]
        self._folder = folder

    @staticmethod
    def version() -> str:
        """Its own version and that of the Go it was made with."""
        done = subprocess.run(
            [str(images.traefik_program()), "version"], check=True, capture_output=True, text=True, timeout=20
        )
        said = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
        return f"{said['Go version'].strip()} (Traefik {said['Version'].strip()})"

    def __enter__(self) -> Traefik:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + READY
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(
                    f"Traefik does not serve its routes: {' | '.join(self._errors()) or 'it logs no error'}"
                )
            time.sleep(0.05)
        return self

    def __exit__(self, *_what: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def mark(self) -> int:
        """Where its log ends now."""
        return self._log.stat().st_size

    def logged(self, pattern: re.Pattern[str], *, since: int) -> str:
        """What it logs, within a moment, of what matches."""
        deadline = time.monotonic() + LOGGED
        while time.monotonic() < deadline:
            with self._log.open("rb") as log:
                log.seek(since)
                found = pattern.search(log.read().decode(errors="replace"))
            if found:
                return found.group(0)
            time.sleep(0.01)
        return ""

    def _errors(self) -> list[str]:
        return [line for line in self._log.read_text(errors="replace").splitlines() if " ERR " in line][:3]

    def _is_ready(self) -> bool:
        """It listens before it knows its routes."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports["plain"], timeout=2)
            try:
                connection.request("GET", "/ready")
                return connection.getresponse().status != 404
            finally:
                connection.close()
        except OSError:
            return False


def _configuration(routes: Mapping[str, Any]) -> dict[str, Any]:
    """The routes, and one that answers as soon as they are in force. Traefik wants nothing that is empty."""
    http_routes = {"routers": {}, **routes.get("http", {})}
    http_routes["routers"]["ready"] = {"rule": "Path(`/ready`)", "service": "noop@internal", "entryPoints": ["plain"]}
    return {**routes, "http": http_routes}
