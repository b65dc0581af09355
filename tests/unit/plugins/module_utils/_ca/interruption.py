# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL of a process of ours before each of its writes, one after the other."""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._ca import local
from ansible_collections.certfleet.tls.tests.unit.child_process import in_child

from .workshop import KILLED, Workshop

WRITES = ("open", "mkdir", "link", "unlink", "rename", "fsync", "ftruncate", "pwrite", "chmod")


class Countdown:
    """Kills its own process before the step whose number is given."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, as a step."""

        def step_and_call(*arguments: Any, **options: Any) -> Any:
            self.step()
            return call(*arguments, **options)

        return step_and_call


class Interruption(Countdown):
    """Counts writes to disk, ledger and the signatures."""

    def __init__(self, at: int, signed: Path) -> None:
        super().__init__(at)
        self._signed = signed

    def install(self) -> None:
        """Only ever in a child: nothing is put back."""
        for name in WRITES:
            setattr(os, name, self.counted(getattr(os, name)))
        interruption = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                interruption.step()
                return super().execute(*arguments)

            def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
                return super().executemany(sql, (row for row in rows if interruption.step() is None))

        for place, name, replacement in (
            (sqlite3, "connect", functools.partial(sqlite3.connect, factory=Connection)),
            (local, "sign_leaf", self._remembered(local.sign_leaf)),
        ):
            setattr(place, name, replacement)

    def _remembered(self, sign: Callable[..., Any]) -> Callable[..., Any]:
        """A signature that exists is written down beside the CA, before anything else can happen."""

        def remembered(*arguments: Any, **options: Any) -> Any:
            self.step()
            certificate = sign(*arguments, **options)
            with self._signed.open("a") as file:
                file.write(f"{certificate.serial_number:x}\n")
            self.step()
            return certificate

        return remembered


def is_killed(work: Callable[[], object], *, at: int) -> bool:
    """Whether a child that does this work is killed at that step; it ends well otherwise."""
    status = in_child(work)
    assert status in (0, KILLED), at
    return status == KILLED


def killed_at_every_step(
    make: Callable[[], Workshop], work: Callable[[Workshop], object]
) -> Iterable[tuple[Workshop, bool]]:
    """For each number of steps a new host whose process was killed then; the last one was not killed any more."""
    for at in range(1, 500):
        workshop = make()
        interruption = Interruption(at, workshop.folder / "signed")

        def child(workshop: Workshop = workshop, interruption: Interruption = interruption) -> None:
            interruption.install()
            work(workshop)

        killed = is_killed(child, at=at)
        yield workshop, killed
        if not killed:
            return
    raise AssertionError("it never ended")


def files(folder: str) -> dict[str, bytes]:
    """What a folder holds, by name; nothing where there is none."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()} if Path(folder).exists() else {}
