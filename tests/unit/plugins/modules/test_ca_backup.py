# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ca_backup as a host runs it: options in, JSON out, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from .test_ca_host import Host, request


class BackupHost(Host):
    """A CA host with folders for backups."""

    def backup(self, state: str = "present", **options: Any) -> dict[str, Any]:
        given = {"folder": str(self.folder / "backups"), "passphrase_file": str(self.passphrase), **options}
        return self.run("ca_backup", state=state, **given)

    def everything(self) -> dict[str, bytes]:
        return {
            str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and path.name != "lock"
        }


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA that has issued one certificate; each test gets a copy."""
    made = BackupHost(tmp_path_factory.mktemp("ground"))
    made.create()
    made.run("ca_issue", requests=[request()])
    return made.folder


@pytest.fixture
def host(tmp_path: Path, ground: Path) -> BackupHost:
    return BackupHost(Path(shutil.copytree(ground, tmp_path / "host")))


def test_check_write_drill_restore(host: BackupHost) -> None:
    before = host.everything()
    assert host.backup(check=True)["changed"] is True
    assert host.everything() == before
    written = host.backup(keep=2)
    assert (written["changed"], written["backup"]["certificates"]["issued"], written["removed"]) == (True, 1, [])
    assert written["diff"]["after"]["backup"] == written["file"]
    assert os.stat(written["file"]).st_size == written["size"]

    before = host.everything()
    drills = [host.backup("verified", check=check) for check in (True, False)]
    for answer in drills:
        assert (answer["changed"], answer["file"]) == (False, written["file"])
        assert (answer["backup"]["id"], answer["authorities"]["fleet"]["keys"]) == (
            written["backup"]["id"],
            ["root", "issuing"],
        )
        assert 0 <= answer["backup"]["age"] < 600
    assert host.everything() == before

    elsewhere = {"directory": str(host.folder / "other"), "file": written["file"]}
    predicted = host.backup("restored", check=True, **elsewhere)
    assert host.everything() == before
    restored = host.backup("restored", **elsewhere)
    assert predicted["diff"] == restored["diff"]
    assert restored["diff"]["before"] == {"ca": "absent"}
    assert (predicted["changed"], restored["changed"]) == (True, True)
    for check in (True, False):
        again = host.backup("restored", check=check, **elsewhere)
        assert (again["changed"], "diff" in again) == (False, False)
    known = host.run("ca_info", identities=["robot-1"], directory=elsewhere["directory"])
    assert len(known["identities"]["robot-1"]["leaves"]) == 1


def test_the_newest_is_of_this_ca(host: BackupHost) -> None:
    """The folder is shared with another CA, whose backup is newer; and then this one's ledger is lost."""
    own = host.backup()["file"]
    other = {"directory": str(host.folder / "root")}
    host.create(**other)
    time.sleep(1.1)
    theirs = host.backup(**other)["file"]
    assert theirs > own
    for check in (True, False):
        assert host.backup("verified", check=check)["file"] == own
        assert host.backup("verified", check=check, **other)["file"] == theirs
        nowhere = host.backup("restored", check=check, directory=str(host.folder / "third"))
        assert (nowhere["code"], own in nowhere["msg"], theirs in nowhere["msg"]) == ("bad_request", True, True)
    os.unlink(host.directory / "ledger.sqlite")
    assert host.backup("verified")["code"] == "bad_request"
    assert host.backup("verified", file=own)["file"] == own
    os.unlink(own)
    assert host.backup("verified")["file"] == theirs
    assert host.backup("restored", file=theirs, directory=str(host.folder / "third"))["changed"] is True


def test_backups_of_another_ca_alone(host: BackupHost) -> None:
    other = {"directory": str(host.folder / "root")}
    host.create(**other)
    host.backup(**other)
    answer = host.backup("verified")
    assert (answer["code"], "only of another one" in answer["msg"]) == ("missing", True)


def test_freeze_move_thaw(host: BackupHost) -> None:
    for state, more, said in (
        ("frozen", {"to": "ca-2"}, {"frozen": "It is being moved to 'ca-2'.", "moved_to": None}),
        ("moved", {"to": "ca-2"}, {"frozen": "It has moved to 'ca-2'.", "moved_to": "ca-2"}),
        ("thawed", {"although_moved": True}, {"frozen": None, "moved_to": None}),
    ):
        predicted = host.backup(state, check=True, **more)
        done = host.backup(state, cryptography=False, **more)
        again = host.backup(state, **more)
        assert (predicted["changed"], done["changed"], again["changed"]) == (True, True, False)
        assert predicted["diff"] == done["diff"]
        assert done["diff"]["after"] == said
        assert {key: again[key] for key in said} == said
        refused = host.run("ca_record", outcomes=[{"identity": "r", "name": "h", "outcome": "installed"}])
        assert refused.get("code") == (None if state == "thawed" else "frozen")


def test_the_secret_may_be_another_one(host: BackupHost) -> None:
    own = host.folder / "own"
    own.write_text("planted-secret-0815\n")
    own.chmod(0o600)
    written = host.backup(backup_passphrase_file=str(own))
    assert host.backup("verified")["code"] == "wrong_passphrase"
    # What it holds is opened with the passphrase of the CA's keys all the same.
    by_command = host.backup("verified", backup_passphrase_command=["/bin/cat", str(own)])
    assert by_command["changed"] is False
    assert (
        host.backup("verified", backup_passphrase_file=str(own), passphrase_file=str(own))["code"] == "wrong_passphrase"
    )
    assert "planted-secret-0815" not in json.dumps([written, by_command])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"directory": "/nowhere/at/all"}, "missing"),
        ({"keep": -1}, "bad_request"),
        ({"passphrase_file": "/nowhere/at/all"}, "passphrase"),
        ({"backup_passphrase_file": "/nowhere/at/all"}, "passphrase"),
        ({"state": "verified"}, "missing"),
        ({"state": "restored", "file": "/etc/passwd"}, "bad_backup"),
        ({"state": "verified", "file": "/nowhere/at/all"}, "files"),
        ({"state": "moved", "to": "x"}, "bad_request"),
        ({"state": "frozen", "directory": "/nowhere/at/all"}, "missing"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_failures_say_why_and_leave_nothing(host: BackupHost, options: dict[str, Any], code: str, check: bool) -> None:
    before = host.everything()
    answer = host.backup(**{"check": check, **options})
    assert (answer["failed"], answer["code"]) == (True, code), answer
    assert len(answer["msg"]) > 40
    assert "Traceback" not in answer["msg"]
    assert host.everything() == before


def test_without_the_library(host: BackupHost) -> None:
    """A drill that opens nothing must not look like one that has gone well."""
    assert host.backup(cryptography=False)["code"] == "missing_library"
    predicted = host.backup(cryptography=False, check=True)
    assert (predicted["cryptography"], predicted["changed"]) == (False, True)
    nothing = host.backup(cryptography=False, check=True, directory=str(host.folder / "nothing"))
    assert (nothing["failed"], nothing["code"]) == (True, "missing")
    host.backup()
    for state in ("verified", "restored"):
        for check in (False, True):
            refused = host.backup(state, cryptography=False, check=check)
            assert (refused["failed"], refused["code"], refused["cryptography"]) == (True, "missing_library", False)
            assert "so nothing was tried. Install python3-cryptography there" in refused["msg"]
