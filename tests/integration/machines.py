# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's machines as a person would look at them, without Ansible: commands on hosts, robots' switches, served leaves."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = CHECKOUT / "tests" / "lab" / "lab.py"
ROBOT_LOG = "/var/log/robots/requests.jsonl"


@dataclass(frozen=True)
class Lab:
    """What `lab.py info` says, asked anew each time, since anchors come and go."""

    @property
    def info(self) -> dict[str, Any]:
        """The one JSON object."""
        return json.loads(lab_command("info"))

    @cached_property
    def endpoints(self) -> list[dict[str, Any]]:
        """All endpoints of the products, also those that only a proxy reaches; they never change."""
        info = self.info
        of_products = {
            name for name, host in info["hosts"].items() if {"mir_robots", "mir_fleet"} & set(host["groups"])
        }
        return [item for item in (*info["endpoints"], *info["behind_proxy"]) if item["host"] in of_products]

    @property
    def robots(self) -> set[str]:
        """The names of all robots that Ansible manages."""
        return {item["host"] for item in self.endpoints if item["product"] == "mir_robot"}

    def endpoint(self, name: str) -> dict[str, Any]:
        """One endpoint by name."""
        return next(item for item in self.endpoints if item["name"] == name)


def lab_command(*arguments: str, timeout: int = 300) -> str:
    """Run the lab's own command; its standard output."""
    done = subprocess.run(
        ["/usr/bin/env", "python3", str(LAB), *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
    )
    assert done.returncode == 0, f"lab.py {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def on(host: str, *command: str, check: bool = True, given: str | None = None) -> str:
    """Run a command as root on a host of the lab (not through Ansible); its standard output."""
    done = subprocess.run(
        ["docker", "exec", "-i", f"certfleet-{host}", *command],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0 or not check, f"{host}: {' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def robot(name: str, action: str, *words: str) -> dict[str, Any]:
    """Speak to the emulator's control socket; the answer about one robot."""
    answer = json.loads(on("gateway", "robots", name, action, *words))
    return answer[name] if isinstance(answer, dict) and name in answer else answer


def requests_since(mark: int) -> list[dict[str, Any]]:
    """What robots were asked over HTTP and HTTPS since a mark (see log_mark)."""
    lines = on("gateway", "cat", ROBOT_LOG).splitlines()
    found = [json.loads(line) for line in lines[mark:]]
    return [item for item in found if item["event"] == "request"]


def log_mark() -> int:
    """Where the robots' log ends now."""
    return len(on("gateway", "cat", ROBOT_LOG).splitlines())


def served(endpoint: dict[str, Any]) -> str:
    """SHA-256 fingerprint of the leaf that an endpoint serves, or the empty string where nothing is served."""
    shown = _openssl("s_client", *_connection(endpoint), check=False)
    if "BEGIN CERTIFICATE" not in shown:
        return ""
    return _openssl("x509", "-noout", "-fingerprint", "-sha256", given=shown).strip().partition("=")[2]


def strict_verification(endpoint: dict[str, Any], anchors: Path) -> str:
    """What `openssl s_client` says with the fleet's anchors alone, strictly, and the name or address checked."""
    name = endpoint["server_name"]
    is_address = ":" in name or name.replace(".", "").isdigit()
    return _openssl(
        *("s_client", *_connection(endpoint)),
        *("-verify_return_error", "-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile", str(anchors)),
        *("-verify_ip" if is_address else "-verify_hostname", name),
        check=False,
    )


def _connection(endpoint: dict[str, Any]) -> tuple[str, ...]:
    """How openssl connects to an endpoint, through its proxy if it has one."""
    address, name = endpoint["address"], endpoint["server_name"]
    host = f"[{address}]" if ":" in address else address
    proxy = ("-proxy", endpoint["proxy"].removeprefix("http://")) if endpoint.get("proxy") else ()
    is_address = ":" in name or name.replace(".", "").isdigit()
    sni = ("-noservername",) if is_address else ("-servername", name)
    return ("-connect", f"{host}:{endpoint['port']}", *proxy, *sni)


def _openssl(*arguments: str, check: bool = True, given: str = "") -> str:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 or not check, f"openssl {arguments[0]}: {done.stderr}"
    return done.stdout + done.stderr
