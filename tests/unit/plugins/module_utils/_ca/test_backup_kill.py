# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL before every write of a backup and of a restore: whole or not at all, and the next run succeeds."""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca import sealed_archive
from ansible_collections.certfleet.tls.plugins.module_utils._ca.backup import backups_in
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.freezing import bring_to

from .backups import CHEAP, back_up, drill, files, ledger, other_place, restore_to
from .interruption import Countdown, is_killed
from .workshop import Workshop

WRITES = ("open", "mkdir", "link", "unlink", "rename", "rmdir", "fsync", "ftruncate", "pwrite", "write", "chmod")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_archive, "COST", CHEAP)


class Interruption(Countdown):
    """Counts writes to disk, also those of an archive and within the copy of a ledger."""

    def install(self) -> None:
        """Only ever in a child: nothing is put back."""
        interruption = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                interruption.step()
                return super().execute(*arguments)

            def backup(self, target: sqlite3.Connection, **_options: Any) -> None:
                # A few pages at a time, so that it is killed in the midst of them too.
                super().backup(target, pages=16, progress=lambda *_counts: interruption.step())

        connect = functools.partial(sqlite3.connect, factory=Connection)
        replacements = [(os, name, self.counted(getattr(os, name))) for name in WRITES]
        for place, name, replacement in (*replacements, (sqlite3, "connect", connect)):
            setattr(place, name, replacement)


def killed_at_every_step(
    ground: Path, work: Callable[[Workshop], object], *, first: int = 1
) -> Iterable[tuple[Workshop, bool]]:
    """For each number of steps from O(first) on a copy of O(ground) whose process was killed then; the last one was not killed any more."""
    for at in range(first, 1000):
        folder = ground.parent / f"killed-{at}"
        shutil.copytree(ground, folder)
        workshop, interruption = Workshop(folder), Interruption(at)

        def child(workshop: Workshop = workshop, interruption: Interruption = interruption) -> None:
            interruption.install()
            work(workshop)

        killed = is_killed(child, at=at)
        yield workshop, killed
        shutil.rmtree(folder)
        if not killed:
            return
    raise AssertionError("it never ended")


@pytest.fixture
def ground(tmp_path: Path) -> Workshop:
    """What each attempt begins with: a CA that has issued, and a backup of it."""
    folder = tmp_path / "ground"
    folder.mkdir()
    workshop = Workshop(folder)
    workshop.create()
    workshop.issue_one()
    back_up(workshop)
    return workshop


def test_backup(ground: Workshop) -> None:
    before, rows = files(ground.store), ledger(ground)
    seen, steps = set(), 0
    for workshop, killed in killed_at_every_step(ground.folder, lambda workshop: back_up(workshop, keep=2)):
        steps += 1
        workshop.now += 60
        folder = str(workshop.folder / "backups")
        there = backups_in(folder)
        seen.add(len(there))
        # Whatever has the name of a backup is one, wholly; the CA is as it was.
        for file in there:
            assert drill(workshop, file).manifest.certificates["issued"] == 1
        assert (files(workshop.store), ledger(workshop)) == (before, rows)
        assert killed or len(there) == 2
        written = back_up(workshop, keep=2)
        assert backups_in(folder)[0] == written.file
        assert len(backups_in(folder)) == 2
        left = [name for name in os.listdir(folder) if name.startswith(".")]
        assert (
            left + [name for name in os.listdir(os.path.join(workshop.store.directory, ".backup")) if name != "lock"]
            == []
        )
        assert drill(workshop, written.file)
    assert seen == {1, 2}
    assert steps > 40, steps


def test_restore(ground: Workshop) -> None:
    before, rows = files(ground.store), ledger(ground)

    def place_of(workshop: Workshop) -> Workshop:
        return other_place(workshop, "place")

    def work(workshop: Workshop) -> None:
        restore_to(place_of(workshop), backups_in(str(workshop.folder / "backups"))[0])

    refused, steps = set(), 0
    for workshop, killed in killed_at_every_step(ground.folder, work):
        steps += 1
        place = place_of(workshop)
        is_done = place.store.has_ledger()
        assert killed or is_done
        if is_done:
            # The ledger comes last: where it is, all is.
            assert (files(place.store), ledger(place)) == (before, rows)
        elif place.store.names():
            # Half of it is no CA that anybody works with, or makes anew.
            for attempt in (place.create, place.issue_one, place.info, functools.partial(place.create, "another")):
                with pytest.raises(CAError) as caught:
                    attempt()
                refused.add(caught.value.code)
        work(workshop)
        assert (files(place.store), ledger(place)) == (before, rows)
        assert sorted(os.listdir(place.store.directory)) == ["authorities", "ledger.sqlite", "lock"]
        assert place.sql("PRAGMA integrity_check") == [("ok",)]
        assert place.sql("SELECT count(*) FROM acts WHERE act = 'restored'") == [(1,)]
        assert place.create().due == []
    assert refused <= {"half_ca", "ledger_missing"}
    assert refused
    assert steps > 60, steps


def test_restore_over_a_frozen_one(ground: Workshop, tmp_path: Path) -> None:
    """The CA comes back to where it was: until the last write it is the frozen old one, or refuses to work."""
    old, new = ground, other_place(ground, "new")

    def bring(workshop: Workshop, state: str, to: str | None = None) -> None:
        bring_to(workshop.store, state=state, to=to, although_moved=False, now=workshop.now)

    bring(old, "frozen", "new")
    restore_to(new, back_up(old, folder=str(old.folder / "there")).file)
    bring(old, "moved", "new")
    bring(new, "thawed")
    new.create("late")
    new.issue_one("robot-2", key=1)
    bring(new, "frozen", "old")
    file = os.path.relpath(back_up(new, folder=str(old.folder / "back")).file, old.folder)
    before, after = ledger(old), ledger(new)
    seen, steps = set(), 0
    for workshop, killed in killed_at_every_step(
        # Before that it opens and checks the backup, as it does in the test above.
        ground.folder,
        lambda workshop: restore_to(workshop, str(workshop.folder / file)),
        first=60,
    ):
        steps += 1
        assert ledger(workshop) in (before, after), steps
        seen.add((files(workshop.store) == files(new.store), ledger(workshop) == after))
        assert killed or ledger(workshop) == after
        for attempt in (workshop.issue_one, functools.partial(workshop.create, "another")):
            with pytest.raises(CAError) as caught:
                attempt()
            assert caught.value.code in ("frozen", "half_ca", "foreign_ca")
        restore_to(workshop, str(workshop.folder / file))
        assert (files(workshop.store), ledger(workshop)) == (files(new.store), after)
        bring(workshop, "thawed")
        assert workshop.issue_one("robot-2", key=1)["issued"] is False
    # Begun before the first file was in its place, and ended after the ledger was.
    assert {(False, False), (True, False), (True, True)} <= seen
    assert steps > 40, steps
