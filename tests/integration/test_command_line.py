# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks that somebody calls by hand, from a folder of his own: what they find there, and what their exit code says. No lab."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_ca_csr, ca_name
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key, spki_of

from .loopback_fleet import CONNECTION, LoopbackFleet
from .playbook import CHECKOUT, Run, command_for, environment_for, read_run

pytestmark = pytest.mark.loopback

# The CA's phase within a run that goes on, as in site.yml.
WITHIN_A_RUN = [
    {"name": "CA", "ansible.builtin.import_playbook": "certfleet.tls.ca", "vars": {"tls_certificate_fails": False}},
    {"name": "Proof and report", "ansible.builtin.import_playbook": "certfleet.tls.report"},
]


class OwnFolder:
    """A folder of somebody's with an inventory of a CA alone, which is in a folder of this machine."""

    def __init__(self, folder: Path, fleet: LoopbackFleet) -> None:
        self.folder, self.ca = folder, fleet.workshop
        folder.mkdir()
        everybody = {
            "tls_ca_host": "ca",
            "tls_ca_become": False,
            "tls_ca_directory": self.ca.store.directory,
            "tls_ca_passphrase_file": str(self.ca.passphrase_file),
            "tls_trust_managed": False,
        }
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps({"all": {"vars": everybody, "hosts": {"ca": CONNECTION}}}))

    def call(self, playbook: str, *arguments: str, inventory: Path | None = None, **extra: Any) -> Run:
        """Call a playbook of the collection from here."""
        command = command_for(
            f"certfleet.tls.{playbook}", *arguments, inventory=inventory or self.inventory, extra=extra
        )
        return self._run(command)

    def call_file(self, playbook: Path) -> Run:
        return self._run(command_for(str(playbook), inventory=self.inventory))

    def _run(self, command: list[str]) -> Run:
        environment = environment_for({"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")})
        # What a shell says of the folder may be another one's, as in an execution environment: it is not asked.
        environment.pop("PWD", None)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        return read_run(done.returncode, done.stdout + done.stderr)

    def leaf(self, identity: str) -> str:
        """A certificate that the CA issues for it: PEM."""
        return str(self.ca.issue_one(identity)["certificate"])


@pytest.fixture
def own_folder(tmp_path: Path, loopback_fleet: LoopbackFleet) -> OwnFolder:
    return OwnFolder(tmp_path / "mine", loopback_fleet)


def said(run: Run) -> str:
    return " ".join(run.output.split())


def break_ca(own_folder: OwnFolder) -> None:
    Path(own_folder.ca.store.path("fleet", "issuing.key")).unlink()


def test_ca_alone_fails_when_something_is_wrong_with_the_ca(own_folder: OwnFolder) -> None:
    healthy = own_folder.call("ca")
    assert (healthy.rc, healthy.failed) == (0, set()), healthy.output
    break_ca(own_folder)
    broken = own_folder.call("ca")
    assert (broken.rc, broken.failed) == (2, {"ca"}), broken.output
    assert "Half a CA" in broken.task("What the CA could not do")


def test_ca_alone_fails_when_its_host_is_away(own_folder: OwnFolder) -> None:
    content = json.loads(own_folder.inventory.read_text())
    content["all"]["hosts"]["ca"] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    own_folder.inventory.write_text(json.dumps(content))
    away = own_folder.call("ca")
    assert (away.rc, away.failed) == (2, {"ca"}), away.output
    assert "bring it up" in away.task("What the CA could not do")


def test_within_a_run_the_report_says_what_is_wrong_with_the_ca(own_folder: OwnFolder) -> None:
    break_ca(own_folder)
    playbook = own_folder.folder / "run.json"
    playbook.write_text(json.dumps(WITHIN_A_RUN))
    run = own_folder.call_file(playbook)
    assert (run.rc, run.failed) == (2, {"ca"}), run.output
    assert run.proved is not None
    assert "Half a CA" in run.task("What is not as wanted")


@pytest.mark.parametrize("playbook", ["ca", "crl", "inquire", "revoke"])
def test_an_inventory_without_machines_is_an_error(own_folder: OwnFolder, playbook: str) -> None:
    """As is none at all: a command that has found nobody to work for must not look like one that has worked."""
    nobody = own_folder.folder / "nobody.json"
    nobody.write_text('{"all": {}}')
    run = own_folder.call(playbook, inventory=nobody, tls_ca_host="ca", tls_revoke_identity="robot-01")
    assert run.rc == 2, run.output
    assert "The inventory names no machine" in said(run)


def test_files_are_looked_up_where_the_command_was_called(own_folder: OwnFolder) -> None:
    leaf = own_folder.folder / "leaf.pem"
    leaf.write_text(own_folder.leaf("robot-01"))
    revoked = own_folder.call("revoke", tls_revoke_certificate="leaf.pem")
    assert revoked.rc == 0, revoked.output
    rows = own_folder.ca.sql("SELECT state FROM certificates WHERE identity = 'robot-01'")
    assert rows == [("revoked",)]
    crl = Path(own_folder.ca.store.path("fleet", "crl.pem"))
    (own_folder.folder / "published.pem").write_bytes(crl.read_bytes())
    published = own_folder.call("crl", tls_crl_published=["published.pem"])
    assert (published.rc, published.changed) == (0, {}), published.output


def test_the_exchange_folder_is_where_the_command_was_called(own_folder: OwnFolder) -> None:
    office = {"name": "office", "root": {"location": "elsewhere"}}
    made = own_folder.call("ca", tls_ca_authorities=[office], tls_ca_exchange="exchange")
    assert made.rc == 0, made.output
    exchanged = own_folder.folder / "exchange" / "office"
    assert "BEGIN CERTIFICATE REQUEST" in (exchanged / "issuing.csr").read_text()
    # What lies there is read, and is none.
    (exchanged / "chain.pem").write_text("no chain\n")
    answered = own_folder.call("ca", tls_ca_authorities=[office], tls_ca_exchange="exchange")
    assert "chain" in answered.task("What the CA could not do")


def test_a_ceremony_with_the_stick_where_the_command_was_called(own_folder: OwnFolder) -> None:
    (own_folder.folder / "stick").mkdir()
    room = {"tls_root_directory": "room", "tls_root_passphrase_file": str(own_folder.folder / "passphrase")}
    held = own_folder.call(
        "root_ceremony",
        **room,
        tls_root_name="vault",
        tls_root_stick="stick",
        tls_root_become=False,
        tls_root_crl_lifetime="200d",
    )
    assert held.rc == 0, held.output
    crl = x509.load_pem_x509_crl((own_folder.folder / "stick" / "root-crl.pem").read_bytes())
    assert crl.next_update_utc is not None
    assert (crl.next_update_utc - crl.last_update_utc).days == 200
    assert (own_folder.folder / "room" / "authorities" / "vault" / "root.pem").exists()


@pytest.mark.parametrize("act", ["tls_root_spki", "tls_root_revoke"])
def test_a_ceremony_in_a_wrong_folder_makes_no_root(own_folder: OwnFolder, act: str) -> None:
    stick = own_folder.folder / f"stick-{act}"
    stick.mkdir()
    key = new_key("ec-p256")
    (stick / "issuing.csr").write_text(build_ca_csr(key, subject=ca_name("vault issuing CA")))
    wrong = {
        "tls_root_directory": f"wrong-{act}",
        "tls_root_passphrase_file": str(own_folder.folder / f"passphrase-{act}"),
        "tls_root_name": "vault",
        "tls_root_stick": stick.name,
        "tls_root_become": False,
        act: spki_of(key.public_key()),
    }
    held = own_folder.call("root_ceremony", **wrong)
    assert held.rc == 2, held.output
    assert "no root was made" in " ".join(held.output.split())
    assert not (own_folder.folder / f"wrong-{act}").exists()
    assert not (own_folder.folder / f"passphrase-{act}").exists()


def test_a_backup_comes_to_and_from_the_folder_where_the_command_was_called(own_folder: OwnFolder) -> None:
    folder = own_folder.folder
    folders = {"tls_ca_backup_folder": str(folder / "on-the-ca")}
    made = own_folder.call("backup", **folders, tls_ca_backup_fetch="here")
    assert made.rc == 0, made.output
    (file,) = (folder / "here").glob("*.backup")
    drill = {"tls_ca_backup_folder": str(folder / "drill"), "tls_ca_directory": str(folder / "nothing")}
    tried = own_folder.call("restore", "--check", **drill, tls_ca_backup_source=f"here/{file.name}")
    assert tried.rc == 0, tried.output
    assert (folder / "drill" / file.name).read_bytes() == file.read_bytes()
