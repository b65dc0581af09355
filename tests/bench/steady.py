# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs when nothing is due: 1,000 emulated robots on loopback addresses.

Three playbooks with the same forks over the same robots, whole runs, wall clock:
  floor  one no-op that stays in the worker, on every robot
  ours   all tasks of the engine from ca_info to ca_record, on every robot
  peer   `uri` and `community.crypto.get_certificate` on a sample, extrapolated to all robots
The last line is {"certificate_phase": ours / floor, "peer": peer / ours}.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import key_to_pem, new_key
from ansible_collections.certfleet.tls.tests.certificate_request import certificate_request

sys.path.insert(0, str(Path(__file__).parent))
from plays import CHECKOUT, LOCAL, OURS, PEER, Workplace, no_op, play

HTTPS_PORT = 28443
FORKS = 10


def main() -> int:
    """Set up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=50, help="robots that the peer looks at")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="certfleet-bench-") as name:
        bench = Bench(Path(name), given.robots, min(given.sample, given.robots))
        bench.issue_certificates()
        emulator = bench.start_robots()
        try:
            figures = bench.measure()
        finally:
            emulator.send_signal(signal.SIGTERM)
            emulator.wait(timeout=30)
    print(json.dumps(figures))
    return 0


class Bench:
    """A CA and robots in a temporary folder, and playbooks over them."""

    def __init__(self, folder: Path, robots: int, sample: int) -> None:
        self.folder, self.sample = folder, sample
        self.robots = [(f"robot-{n}", f"127.{100 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}") for n in range(robots)]
        self.workplace = Workplace(folder, self._inventory(), forks=FORKS)

    def _inventory(self) -> dict[str, Any]:
        variables = {
            "tls_ca_host": "ca",
            "tls_ca_directory": str(self.folder / "ca"),
            "tls_ca_passphrase_file": str(self.folder / "passphrase"),
            "tls_certificate_ca_become": False,
            "mir_robot_port": HTTPS_PORT,
            "mir_robot_username": "bench",
            "mir_robot_password": "never sent in the steady state",
        }
        robots = {name: {"ansible_host": address} for name, address in self.robots}
        return {
            "all": {
                "vars": variables,
                "hosts": {"ca": LOCAL},
                "children": {"mir_robots": {"hosts": robots}},
            }
        }

    def issue_certificates(self) -> None:
        """A CA, and a leaf for each robot, through the collection's own modules. The robots share one key."""
        key = new_key("rsa-2048")
        (self.folder / "key.pem").write_bytes(key_to_pem(key))
        requests = [
            certificate_request(name, key=key, common_name=name, names=[f"DNS:{name}", f"IP:{address}"])
            for name, address in self.robots
        ]
        (self.folder / "requests.json").write_text(json.dumps({"requests": requests}))
        self.workplace.run(OURS, "setup", [play("ca", _setup_tasks(self.folder))], f"@{self.folder}/requests.json")
        issued = json.loads((self.folder / "issued.json").read_text())
        for name, _address in self.robots:
            item = issued["certificates"][f"{name}/https"]
            chain = issued["chains"][item["authority"]]
            (self.folder / f"{name}.pem").write_text(item["certificate"] + chain)

    def start_robots(self) -> subprocess.Popen[str]:
        """One process that serves all robots; it has been told to be quiet about anything but its start."""
        devices = [
            {
                "name": name,
                "profile": "robot",
                "addresses": [address],
                "username": "bench",
                "password": "bench",
                "certificate": str(self.folder / f"{name}.pem"),
                "key": str(self.folder / "key.pem"),
            }
            for name, address in self.robots
        ]
        config = {
            "state_dir": str(self.folder / "state"),
            "log": str(self.folder / "requests.jsonl"),
            "control": str(self.folder / "robots.sock"),
            "bind": "wildcard",
            "ports": {"https": HTTPS_PORT, "http": [28080, 28081, 28090]},
            "devices": devices,
        }
        (self.folder / "robots.json").write_text(json.dumps(config))
        emulator = subprocess.Popen(
            [sys.executable, CHECKOUT / "tests/lab/robots/serve.py", "--config", self.folder / "robots.json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert emulator.stdout is not None
        print(emulator.stdout.readline().strip(), flush=True)
        return emulator

    def measure(self) -> dict[str, float]:
        """Run all three, print absolute times, return the ratios."""
        everyone = len(self.robots)
        floor = self._timed("floor", OURS, "floor", [play("mir_robots", [no_op()])])
        ours = self._timed("ours", OURS, "ours", [play("mir_robots", [_our_role()])])
        sample = f"mir_robots[0:{self.sample - 1}]"
        start = self._timed("peer, nothing but its start", PEER, "start", [play("ca", [no_op()])])
        peer_sample = self._timed(f"peer on {self.sample}", PEER, "peer", [play(sample, _peer_tasks(self.folder))])
        peer = start + (peer_sample - start) * everyone / self.sample
        print(f"{'peer on all (extrapolated)':<28} {peer:8.1f} s")
        print(f"robots: {everyone}, forks: {FORKS}, cores: {os.cpu_count()}")
        return {"certificate_phase": round(ours / floor, 2), "peer": round(peer / ours, 2)}

    def _timed(self, title: str, programs: Path, name: str, plays: list[dict[str, Any]]) -> float:
        cost = self.workplace.run(programs, name, plays)
        changed = [line for line in cost.output.splitlines() if " changed=" in line and " changed=0 " not in line]
        if changed:
            raise SystemExit(f"{title}: not the steady state:\n" + "\n".join(changed[:5]))
        print(f"{title:<28} {cost.wall:8.1f} s wall {cost.cpu:8.1f} s CPU", flush=True)
        return cost.wall


def _our_role() -> dict[str, Any]:
    role = {"name": "certfleet.tls.mir_robot", "rolespec_validate": False}
    return {"name": "The engine", "ansible.builtin.import_role": role}


def _setup_tasks(folder: Path) -> list[dict[str, Any]]:
    where = {"directory": str(folder / "ca"), "passphrase_file": str(folder / "passphrase")}
    return [
        {"name": "Authority", "certfleet.tls.ca_authority": {**where, "name": "fleet", "generate_passphrase": True}},
        {
            "name": "Leaves",
            "certfleet.tls.ca_issue": {**where, "requests": "{{ requests }}"},
            "register": "issued",
            "no_log": True,
        },
        {
            "name": "Keep",
            "ansible.builtin.copy": {
                "content": "{{ issued | to_json }}",
                "dest": str(folder / "issued.json"),
                "mode": "0600",
            },
            "no_log": True,
        },
        {
            "name": "Anchors",
            "ansible.builtin.copy": {
                "src": str(folder / "ca" / "authorities" / "fleet" / "root.pem"),
                "dest": str(folder / "anchors.pem"),
                "mode": "0644",
            },
        },
    ]


def _peer_tasks(folder: Path) -> list[dict[str, Any]]:
    """The same look as a person would write it today: does it answer, whose leaf, how long is it good?"""
    anchors, local = str(folder / "anchors.pem"), {"delegate_to": "ca"}
    return [
        {
            "name": "Does the interface answer to a client that trusts the CA?",
            "ansible.builtin.uri": {
                "url": "https://{{ ansible_host }}:{{ mir_robot_port }}/api/v2.0.0/status",
                "ca_path": anchors,
                "status_code": [200, 401],
            },
            **local,
        },
        {
            "name": "Which certificate does it serve?",
            "community.crypto.get_certificate": {
                "host": "{{ ansible_host }}",
                "port": "{{ mir_robot_port }}",
                "ca_cert": anchors,
            },
            "register": "leaf",
            **local,
        },
        {
            "name": "Is it good for another month?",
            "ansible.builtin.assert": {
                "that": "(leaf.not_after | to_datetime('%Y%m%d%H%M%SZ') - now(utc=true).replace(tzinfo=none)).days > 30",
                "quiet": True,
            },
        },
    ]


if __name__ == "__main__":
    sys.exit(main())
