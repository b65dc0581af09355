# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes how many seconds each task of a run took, by its name, to the file that TASK_SECONDS_FILE names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: task_seconds
type: aggregate
short_description: Seconds of each task
description:
  - For the benchmarks alone.
"""

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """From the start of a task to the start of the next."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_seconds"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._seconds: dict[str, float] = {}
        self._running: tuple[str, float] | None = None

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """The one before it has ended."""
        self._turn(task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Handlers are tasks."""
        self._turn(task.get_name())

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end of the run."""
        self._turn("")
        with open(os.environ["TASK_SECONDS_FILE"], "w", encoding="utf-8") as file:
            json.dump(self._seconds, file)

    def _turn(self, name: str) -> None:
        now = time.monotonic()
        if self._running:
            before, began = self._running
            self._seconds[before] = self._seconds.get(before, 0.0) + now - began
        self._running = (name, now)
