# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real `ansible-playbook` runs on the lab, and what they said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORY = CHECKOUT / "inventories" / "lab"
_RECAP = re.compile(r"^(\S+)\s+: (ok=\d+ .*)$", re.MULTILINE)
_STANDING = re.compile(r"^([a-z ]+): \d+ \((.+)\)$", re.MULTILINE)
_PROVED = re.compile(r"^proved: (\d+)/(\d+) endpoints", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run: exit code, everything that it printed, and the recap's figures by host."""

    rc: int
    output: str
    recap: dict[str, dict[str, int]]

    @property
    def proved(self) -> tuple[int, int] | None:
        """(proved, total) of the last line of the table."""
        found = _PROVED.search(self.output)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def changed(self) -> dict[str, int]:
        """Hosts on which something changed."""
        return {host: figures["changed"] for host, figures in self.recap.items() if figures["changed"]}

    @property
    def failed(self) -> set[str]:
        """Hosts that failed or were unreachable."""
        return {host for host, figures in self.recap.items() if figures["failed"] or figures["unreachable"]}

    @property
    def standings(self) -> dict[str, set[str]]:
        """How the machines came out of the run, as the lines below the table say (each names eight machines at most)."""
        return {standing: set(names.split(", ")) for standing, names in _STANDING.findall(self.output)}

    def row(self, endpoint: str) -> str:
        """The line of the table for an endpoint."""
        table = self.output.partition("\nendpoint ")[2].partition("\nproved: ")[0]
        found = [line for line in table.splitlines() if line.startswith(f"{endpoint} ")]
        assert found, f"no row for {endpoint} in:\n{self.output}"
        return found[0]

    def task(self, name: str) -> str:
        """What was printed below the (last) headline of a task."""
        parts = re.split(r"^(?:TASK|RUNNING HANDLER|PLAY) (?:RECAP )?\[?", self.output, flags=re.MULTILINE)
        found = [part for part in parts if name in part.splitlines()[0]]
        assert found, f"no task '{name}' in:\n{self.output}"
        return found[-1]


def command_for(
    playbook: str,
    *arguments: str,
    limit: str | None = None,
    extra: dict[str, Any] | None = None,
    overlay: Path | None = None,
    inventory: Path = INVENTORY,
) -> list[str]:
    """The command line of a run on the lab, with an additional inventory in O(overlay) when given."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory)]
    if overlay is not None:
        command += ["-i", str(overlay)]
    if limit is not None:
        command += ["--limit", limit]
    if extra:
        command += ["--extra-vars", json.dumps(extra)]
    return [*command, *arguments, playbook]


def environment_for(environment: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a run: the caller's, without its settings of Ansible, and plain output."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return {**kept, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", **(environment or {})}


def later(seconds: int) -> dict[str, str]:
    """The environment of a run whose controller lives so much later. Machines that it reaches keep their clocks: give it a
    tls_clock_limit that is longer."""
    folder = str(Path(__file__).parent / "later")
    paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "SECONDS_LATER": str(seconds)}


def read_run(rc: int, output: str) -> Run:
    """What a run printed, understood."""
    recap = {
        host: {key: int(value) for key, _equals, value in (item.partition("=") for item in figures.split())}
        for host, figures in _RECAP.findall(output)
    }
    return Run(rc, output, recap)


def run_playbook(
    playbook: str,
    *arguments: str,
    environment: dict[str, str] | None = None,
    timeout: int = 600,
    **options: Any,
) -> Run:
    """Run a playbook of the checkout on the lab; O(options) are those of command_for()."""
    done = subprocess.run(
        command_for(playbook, *arguments, **options),
        cwd=CHECKOUT,
        env=environment_for(environment),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
    )
    return read_run(done.returncode, done.stdout + done.stderr)


def site(*arguments: str, **options: Any) -> Run:
    """The main job. Services are held for a second only, so that a test run is short; what an earlier test has made fail is no
    reason to wait, or to stop."""
    patient = {"mir_robot_hold": 1, "mir_fleet_hold": 1, "tls_retry_now": True, "tls_failure_budget": "100"}
    extra = {**patient, **(options.pop("extra", None) or {})}
    return run_playbook("site.yml", *arguments, extra=extra, **options)
