# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA that moves while a host goes away, at each step at which that can be: without the lab, both places are folders here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.freezing import Standing, read_standing
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.workshop import Workshop

from .playbook import Run, run_playbook

# Asked for the passphrase, it also counts how often.
ASKED = """#!/bin/sh
echo asked >> {folder}/asked
cat {passphrase}
"""
# A host is there until the passphrase has been asked for so many times; then nothing answers at its address.
CONNECTION = (
    "{{{{ 'ssh' if (lookup('ansible.builtin.pipe', 'cat {folder}/asked 2>/dev/null || true').split() | length) >= {times}"
    " else 'local' }}}}"
)


class Plant:
    """Two places for a CA, of which either can go away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new = Workshop(folder), Workshop(folder)
        self.new.store = Store(str(folder / "new"))
        self.old.create()
        self.old.issue_one()
        self.script = folder / "passphrase.sh"
        self.script.write_text(ASKED.format(folder=folder, passphrase=self.old.passphrase_file))
        self.script.chmod(0o700)

    def move(self, *, away: str = "", times: int = 0) -> Run:
        """Move it; O(away) goes away after the passphrase was asked for O(times) times."""
        (self.folder / "asked").unlink(missing_ok=True)
        gone = CONNECTION.format(folder=self.folder, times=times)
        hosts = {name: {"ansible_connection": gone if name == away else "local"} for name in ("old", "new")}
        variables = {
            "ansible_host": "127.77.0.1",
            "ansible_port": 1,
            "ansible_python_interpreter": sys.executable,
            "tls_ca_host": "old",
            "tls_ca_new_host": "new",
            "tls_ca_become": False,
            "tls_ca_directory": self.old.store.directory,
            "tls_ca_new_directory": self.new.store.directory,
            "tls_ca_backup_folder": str(self.folder / "backups"),
            "tls_ca_passphrase_command": [str(self.script)],
        }
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
        return run_playbook(
            "playbooks/move_ca.yml",
            limit="old",
            inventory=inventory,
            environment={"TMPDIR": str(self.temporary)},
        )

    @property
    def temporary(self) -> Path:
        """Where the controller keeps what it carries."""
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def standing(self, place: Workshop) -> Standing | None:
        """How it stands there; None where there is no CA."""
        try:
            return read_standing(place.store)
        except CAError as exc:
            assert exc.code == "missing"
            return None

    def in_use(self) -> list[str]:
        """Where certificates are signed."""
        found = {"old": self.standing(self.old), "new": self.standing(self.new)}
        return [name for name, standing in found.items() if standing and not standing.frozen]


def said(run: Run) -> str:
    return " ".join(run.output.split())


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


# The passphrase is asked for by the first backup, its trial, the last backup, the restore.
def test_the_new_place_goes_away(plant: Plant) -> None:
    """Before the freeze, and between freeze and comparison."""
    for times in (1, 3):
        run = plant.move(away="new", times=times)
        assert (run.rc, "The CA did not move:" in said(run)) == (2, True), run.output
        assert ("Freeze the CA" in run.output) == (times == 3)
        assert "The one on old is in use as before." in said(run)
        assert plant.in_use() == ["old"]
        assert list(plant.temporary.glob("ansible.*")) == []
    assert plant.old.issue_one("robot-2", key=1)["issued"]


def test_the_old_place_goes_away(plant: Plant) -> None:
    """Where it was frozen it stays so, which is said; nothing else is in use. The next run goes on from there, and the one after it
    finds nothing to do."""
    run = plant.move(away="old", times=4)
    assert (run.rc, "The CA did not move:" in said(run)) == (2, True), run.output
    assert "The one on old may be frozen and could not be thawed: the CA host 'old' cannot be reached" in said(run)
    assert plant.in_use() == []
    again = plant.move()
    assert (again.rc, plant.in_use()) == (0, ["new"]), again.output
    place = f"new:{plant.new.store.directory}"
    assert plant.standing(plant.old) == Standing(f"It has moved to '{place}'.", place)
    assert plant.new.issue_one("robot-2", key=1)["issued"]
    once_more = plant.move()
    assert (once_more.rc, once_more.changed, plant.in_use()) == (0, {}, ["new"]), once_more.output
    assert list(plant.temporary.glob("ansible.*")) == []
