# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill of the guide to backups, on a machine that is not the CA host: this one, as an inventory of its own. It needs no lab."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.backups import back_up
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.workshop import Workshop

from .playbook import Run, run_playbook

pytestmark = pytest.mark.loopback


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A CA whose backup, of two hours ago, was brought to the controller."""
    made = Workshop(tmp_path)
    made.now = int(time.time()) - 7300
    made.create()
    made.create("clients")
    for number in range(3):
        made.issue_one(f"robot-{number}")
    back_up(made)
    return made


def drill(workshop: Workshop, *, python: str) -> Run:
    """As the guide has it."""
    (source,) = (workshop.folder / "backups").glob("*.backup")
    place = workshop.folder / "drill"
    extra = {
        "tls_ca_host": "drill",
        "tls_ca_become": False,
        "tls_ca_directory": str(place / "ca"),
        "tls_ca_backup_folder": str(place / "backups"),
        "tls_ca_passphrase_file": str(workshop.passphrase_file),
        "tls_ca_backup_source": str(source),
        "ansible_connection": "local",
        "ansible_python_interpreter": python,
    }
    inventory = workshop.folder / "inventory"
    inventory.write_text("drill\n")
    return run_playbook("playbooks/restore.yml", "--check", inventory=inventory, extra=extra)


def test_the_drill_says_what_it_has_opened(workshop: Workshop) -> None:
    run = drill(workshop, python=sys.executable)
    said = " ".join(run.output.split())
    assert run.rc == 0, run.output
    assert "can be opened and is whole." in said
    assert "(0 days and 2 hours old), has the authorities clients, fleet, and 3 certificates (3 issued)." in said
    assert not (workshop.folder / "drill" / "ca").exists()


def test_a_drill_that_opens_nothing_fails(workshop: Workshop) -> None:
    """On a machine without the library."""
    bare = workshop.folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True, timeout=60)
    run = drill(workshop, python=str(bare / "bin/python"))
    said = " ".join(run.output.split())
    assert run.rc != 0, run.output
    assert "so nothing was tried. Install python3-cryptography there" in said
    assert "can be opened" not in said
