# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks of the benchmarks: written, run, and what a run has cost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
OURS = Path(sys.executable).parent
PEER = CHECKOUT / ".venv-peer" / "bin"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
LIMIT = 1800


@dataclass(frozen=True)
class Cost:
    """Of one run. Seconds; C(tasks) by name, without the start of the program; C(peak) bytes, where it was watched."""

    wall: float
    cpu: float
    output: str
    tasks: dict[str, float] = field(default_factory=dict)
    peak: int = 0


class Workplace:
    """A folder with an inventory, in which playbooks are run with the programs of one environment or the other."""

    def __init__(self, folder: Path, inventory: dict[str, Any], *, forks: int) -> None:
        self.folder, self.forks = folder, forks
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps(inventory))

    def run(self, programs: Path, name: str, plays: list[dict[str, Any]], *extra: str, watch: bool = False) -> Cost:
        """Run the plays; O(extra) goes behind -e. Anything but success ends the benchmark with the end of the output."""
        playbook, times = self.folder / f"{name}.json", self.folder / f"{name}-times.json"
        playbook.write_text(json.dumps(plays))
        command = [programs / "ansible-playbook", "-i", self.inventory, "-f", str(self.forks), playbook]
        for variables in extra:
            command += ["-e", variables]
        environment = {
            **os.environ,
            "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "tests/bench/callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "task_seconds",
            "ANSIBLE_LIBRARY": str(CHECKOUT / "tests/bench/library"),
            "TASK_SECONDS_FILE": str(times),
        }
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        output_path = self.folder / f"{name}.log"
        with output_path.open("w") as output:
            process = subprocess.Popen(
                command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            try:
                peak = _peak_until_end(process, began) if watch else _end(process)
            finally:
                process.kill()
                process.wait(timeout=30)
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        text = output_path.read_text()
        if process.returncode:
            raise SystemExit(f"{name}: {text[-3000:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(wall, cpu, text, json.loads(times.read_text()), peak)


def play(hosts: str, tasks: list[dict[str, Any]], **keywords: Any) -> dict[str, Any]:
    """One play without facts."""
    return {"name": "Bench", "hosts": hosts, "gather_facts": False, "tasks": tasks, **keywords}


def no_op() -> dict[str, Any]:
    """A task that stays in the worker."""
    return {"name": "Nothing", "ansible.builtin.assert": {"that": True, "quiet": True}}


def _end(process: subprocess.Popen[bytes]) -> int:
    process.wait(timeout=LIMIT)
    return 0


def _peak_until_end(process: subprocess.Popen[bytes], began: float) -> int:
    """The most memory, in bytes, that the process and all below it had at a time: the sum of their proportional shares."""
    peak = 0
    while process.poll() is None:
        if time.monotonic() - began > LIMIT:
            raise SystemExit("the run does not end")
        peak = max(peak, sum(map(_proportional_share, _tree(process.pid))))
        time.sleep(0.05)
    return peak


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [root]
    for process in found:
        found.extend(children.get(process, ()))
    return found


def _proportional_share(process: int) -> int:
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
