# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet on this machine's loopback addresses: emulated robots, and a CA in a folder. It needs no lab.

The plays are those of site.yml, without the two that would make this machine the CA host of a site and change its trust store.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_certificate
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME, Emulator
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.workshop import Workshop

from .playbook import Run, command_for, run_playbook

SIZE = 24
# How the CA host is reached. Pipelining saves most of the time that a call takes.
CONNECTION = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "ansible_pipelining": True,
    # Whoever says that root need not be become (tls_ca_become) is believed: who tries, fails.
    "ansible_become_user": "somebody-else",
    "ansible_become_exe": "/nonexistent/sudo",
}
# A leaf of 90 days is due between its 60th and 75th day.
IN_WINDOW = 76 * 86400
PLAYBOOK = [
    {
        "name": "Certificates",
        "ansible.builtin.import_playbook": "certfleet.tls.certificates",
        "vars": {"tls_certificate_fails": False},
    },
    {"name": "Proof and report", "ansible.builtin.import_playbook": "certfleet.tls.report"},
]


def robot_names(*numbers: int) -> list[str]:
    """Inventory names of robots; of all without numbers."""
    return [f"robot-{number:02d}" for number in numbers or range(1, SIZE + 1)]


def enrolled_ca(folder: Path, emulator: Emulator) -> Workshop:
    """A new CA that has pinned the key with which the robots left the factory."""
    workshop = Workshop(folder)
    workshop.now = int(time.time())
    workshop.create()
    seen = look(emulator.address(robot_names(1)[0]), emulator.https_port, anchors=None)
    assert seen.leaf is not None, seen.said
    spki = parse_certificate(seen.leaf).spki
    pins = [{"identity": name, "spki": spki, "why": "delivered with it"} for name in robot_names()]
    record([], pins, store=workshop.store, now=workshop.now)
    return workshop


class LoopbackFleet:
    """The robots of an emulator, as they left the factory, and the CA that knows them."""

    def __init__(self, folder: Path, emulator: Emulator, enrolled: Path) -> None:
        self.folder, self.emulator = folder, emulator
        shutil.copytree(enrolled, folder / "authority")
        self.workshop = Workshop(folder / "authority")
        self.playbook = folder / "site.json"
        self.playbook.write_text(json.dumps(PLAYBOOK))
        emulator.control("all", "factory")
        emulator.forget_log()

    # -- runs

    def inventory(
        self,
        names: Iterable[str] | None = None,
        *,
        variables: dict[str, Any] | None = None,
        of_hosts: dict[str, dict[str, Any]] | None = None,
        with_ca: bool = True,
    ) -> Path:
        """Write an inventory of some robots (all by default); O(variables) are everybody's, O(of_hosts) those of hosts."""
        emulator, of_hosts = self.emulator, of_hosts or {}
        everybody = {
            "tls_ca_host": "ca",
            "tls_ca_become": False,
            "tls_ca_directory": self.workshop.store.directory,
            "tls_ca_passphrase_file": str(self.workshop.passphrase_file),
            "mir_robot_port": emulator.https_port,
            "mir_robot_username": USERNAME,
            "mir_robot_password": PASSWORD,
            # Quick, for tests: the kind of key, how long is waited for a new leaf, and how long it must stay.
            "mir_robot_key_type": "ec-p256",
            "mir_robot_hold": 0.2,
            "mir_robot_api": {"http_ports": emulator.http_ports, "wait": {"timeout": 0.6, "interval": 0.1}},
            **(variables or {}),
        }
        ca = {"ca": CONNECTION} if with_ca else {}
        robots = {
            name: {"ansible_host": emulator.address(name), **of_hosts.get(name, {})} for name in names or robot_names()
        }
        content = {"all": {"vars": everybody, "hosts": ca, "children": {"mir_robots": {"hosts": robots}}}}
        path = self.folder / f"inventory-{len(list(self.folder.glob('inventory-*')))}.json"
        path.write_text(json.dumps(content))
        return path

    def run(self, *arguments: str, inventory: Path | None = None, **options: Any) -> Run:
        """One run; O(options) are those of command_for()."""
        return run_playbook(
            str(self.playbook), *arguments, inventory=inventory or self.inventory(), timeout=120, **options
        )

    def command(self, inventory: Path) -> list[str]:
        """The command of a run, for those that go on beside another."""
        return command_for(str(self.playbook), inventory=inventory)

    # -- what robots were asked, and serve

    def uploads(self) -> list[str]:
        """Names of robots in the order in which a pair was sent to them."""
        return [entry["device"] for entry in self.requests("POST")]

    def requests(self, method: str | None = None) -> list[dict[str, Any]]:
        """What robots were asked, in order."""
        return [entry for entry in self.emulator.log("request") if method in (None, entry["method"])]

    def moments(self, device: str, event: str = "handshake") -> list[float]:
        """When something happened at a robot."""
        return [entry["time"] for entry in self.emulator.log(event, device)]

    def served(self) -> dict[str, str]:
        """Fingerprint of each robot's leaf."""
        status = self.emulator.control("all", "status")
        return {name: str(found["fingerprint"]) for name, found in status.items()}

    def switch(self, names: Iterable[str], *words: str) -> None:
        """Set switches of robots; without words all of them go back."""
        for name in names:
            self.emulator.control(name, "set" if words else "unset", *words)

    # -- what the ledger knows

    def issued(self) -> Counter[str]:
        """How many certificates each identity has ever been issued."""
        rows = self.workshop.sql("SELECT identity FROM certificates WHERE identity != ''")
        return Counter(str(row[0]) for row in rows)

    def serials(self) -> list[str]:
        """Serial numbers of all leaves."""
        return [str(row[0]) for row in self.workshop.sql("SELECT serial FROM certificates WHERE identity != ''")]

    def outcomes(self, identity: str) -> list[str]:
        """How the deploys for an identity ended, the oldest first."""
        rows = self.workshop.sql("SELECT outcome FROM outcomes WHERE identity = ? ORDER BY id", identity)
        return [str(row[0]) for row in rows]

    def has_failed(self, identity: str, *, ago: int) -> None:
        """Let the ledger know of a deploy that went wrong, so many seconds ago."""
        failure = {"identity": identity, "name": "https", "outcome": "failed", "said": "a wrench in the works"}
        record([failure], [], store=self.workshop.store, now=int(time.time()) - ago)
