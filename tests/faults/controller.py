# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of `ansible-playbook` that is watched while it works, and that can vanish at a step."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from ..integration.playbook import CHECKOUT, Run, command_for, environment_for, read_run


class Controller:
    """One run under way. The headlines that it prints tell its step."""

    def __init__(self, playbook: str, *arguments: str, **options: Any) -> None:
        """As run_playbook()."""
        self._process = subprocess.Popen(
            command_for(playbook, *arguments, **options),
            cwd=CHECKOUT,
            # Otherwise a headline waits for the first result below it.
            env=environment_for({"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        with self._news:
            return "".join(self._lines)

    def reach(self, task: str, *, nth: int = 1, timeout: float = 90) -> None:
        """Wait until the headline of a task (a part of its name) has been printed, or printed again."""
        limit = time.monotonic() + timeout
        with self._news:
            while sum(_is_headline(line) and task in line for line in self._lines) < nth:
                alive = self._process.poll() is None and time.monotonic() < limit
                assert alive, f"the run did not come to '{task}':\n{''.join(self._lines)}"
                self._news.wait(0.5)

    def kill(self) -> Run:
        """SIGKILL for it and all that it started: workers are in sessions of their own since ansible-core 2.19."""
        os.kill(self._process.pid, signal.SIGSTOP)
        for pid in [self._process.pid, *descendants(self._process.pid)]:
            _kill(pid)
        return self.end()

    def end(self, *, timeout: float = 300) -> Run:
        """Wait until it has ended."""
        rc = self._process.wait(timeout=timeout)
        self._reader.join(timeout=30)
        return read_run(rc, self.output)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()


def descendants(pid: int) -> list[int]:
    """All processes below a process, parents first. A connection that ssh keeps for later runs is not among them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = _parent(entry)
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _parent(entry: Path) -> int | None:
    try:
        return int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None  # it has just ended


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has just ended


def _is_headline(line: str) -> bool:
    return line.startswith(("TASK [", "RUNNING HANDLER [", "PLAY ["))
