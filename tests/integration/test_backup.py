# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup, drill, restore and moving of a CA, as an operator does them, in folders of the test's own on hosts of the lab."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_csr
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key, spki_of

from .machines import Lab, on
from .playbook import Run, run_playbook

KEY = new_key("ec-p256")
LIBRARY = ("dpkg-query", "--show", "--showformat", "${Package}\\n")
# The lab's CA, and a host that has never been one.
OLD, NEW = "ca", "web"


@dataclass(frozen=True)
class Place:
    """A CA's folder, passphrase and backups on a host; those of the lab's own CA are left alone."""

    host: str
    name: str
    folder: Path
    suffix: str = ""

    @property
    def directory(self) -> str:
        return f"/var/lib/{self.name}{self.suffix}"

    @property
    def passphrase(self) -> str:
        return f"/etc/{self.name}/passphrase"

    @property
    def backups(self) -> str:
        return f"/var/backups/{self.name}"

    def at(self, host: str) -> Place:
        """The same on another host."""
        return replace(self, host=host)

    def beside(self) -> Place:
        """Another folder on the same host, with the same passphrase and backups."""
        return replace(self, suffix="-2")

    def variables(self, **more: Any) -> dict[str, Any]:
        return {
            "tls_ca_host": self.host,
            "tls_ca_directory": self.directory,
            "tls_ca_passphrase_file": self.passphrase,
            "tls_ca_backup_folder": self.backups,
            **more,
        }

    def run(self, playbook: str, *arguments: str, **more: Any) -> Run:
        return run_playbook(f"playbooks/{playbook}.yml", *arguments, limit=OLD, extra=self.variables(**more))

    def work(
        self, *identities: str, revoke: tuple[str, ...] = (), published: tuple[str, ...] = (), crl: bool = False
    ) -> dict[str, Any]:
        """Let the CA issue, revoke and sign; what it answered by identity."""
        answer = self.folder / f"{self.host}-{os.urandom(4).hex()}.json"
        more = {
            "work_host": self.host,
            "work_requests": [request(identity) for identity in identities],
            "work_revoked": list(revoke),
            "work_published": list(published),
            "work_signs_crl": crl,
            "work_answer": str(answer),
        }
        run = run_playbook("tests/integration/ca_work.yml", extra=self.variables(**more))
        assert run.rc == 0, run.output
        said = json.loads(answer.read_text())
        return {key.partition("/")[0]: item for key, item in (said["issued"].get("certificates") or {}).items()}

    def crl(self) -> x509.CertificateRevocationList:
        """That of the issuing CA, as it lies there."""
        return x509.load_pem_x509_crl(on(self.host, "cat", f"{self.directory}/authorities/fleet/crl.pem").encode())

    def digest(self) -> str:
        """Of all files of the authorities."""
        return on(
            self.host,
            "sh",
            "-c",
            f"cd {self.directory} && sha256sum authorities/*/[ri][os]*.key authorities/*/[ri][os]*.pem",
        )

    def remove(self) -> None:
        parents = (self.directory, os.path.dirname(self.passphrase), self.backups)
        on(self.host, "rm", "-rf", *parents, f"{self.directory}-2")


def request(identity: str) -> dict[str, Any]:
    return {
        "id": f"{identity}/https",
        "identity": identity,
        "name": "https",
        "authority": "fleet",
        "profile": "server",
        "names": [f"DNS:{identity}.plant.example"],
        "csr": build_csr(KEY, common_name=None, names=()),
        "spki": spki_of(KEY.public_key()),
        "lifetime": 30 * 86400,
        "reasons": ["missing"],
    }


def said(run: Run) -> str:
    return " ".join(run.output.split())


def number_of(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def pem_of(crl: x509.CertificateRevocationList) -> str:
    return crl.public_bytes(serialization.Encoding.PEM).decode()


def revoked_in(crl: x509.CertificateRevocationList) -> set[str]:
    return {f"{entry.serial_number:x}" for entry in crl}


def make_ca(place: Place) -> None:
    made = place.run("ca")
    # What is wrong with a CA is kept for a report, which this playbook alone does not print.
    assert (made.rc, made.recap[OLD]["rescued"]) == (0, 0), made.output


@pytest.fixture
def place(lab: Lab, tmp_path: Path) -> Iterator[Place]:
    """A new CA on the CA host."""
    here = Place(OLD, f"certfleet-{os.urandom(4).hex()}", tmp_path)
    try:
        make_ca(here)
        yield here
    finally:
        here.remove()


@pytest.fixture
def new_host(place: Place) -> Iterator[Place]:
    """The same place on another host, where the library is missing; it leaves that host as it was."""
    there = place.at(NEW)
    before = set(on(NEW, *LIBRARY).split())
    try:
        yield there
    finally:
        there.remove()
        added = sorted(set(on(NEW, *LIBRARY).split()) - before)
        if added:
            on(NEW, "apt-get", "purge", "--yes", "--quiet", *added)


def put_passphrase(place: Place, *, value: str | None = None) -> None:
    """As the operator does, by hand."""
    secret = value or on(OLD, "cat", place.passphrase)
    on(place.host, "install", "-d", "-m", "0700", os.path.dirname(place.passphrase))
    on(place.host, "sh", "-c", f"umask 077; cat > {place.passphrase}", given=secret)


def test_backup_drill_and_what_holds_after_an_old_one(place: Place, tmp_path: Path) -> None:
    issued = place.work("robot-1", "robot-2", crl=True)
    kept = tmp_path / "kept"
    check = place.run("backup", "--check", tls_ca_backup_fetch=str(kept))
    assert (check.rc, kept.exists()) == (0, False), check.output
    assert on(OLD, "ls", place.backups, check=False) == ""
    done = place.run("backup", tls_ca_backup_fetch=str(kept))
    assert done.rc == 0, done.output
    assert "holds fleet with 2 certificates, and can be opened" in said(done)
    (file,) = kept.iterdir()
    assert on(OLD, "stat", "--format", "%a %U", f"{place.backups}/{file.name}") == "600 root\n"
    assert b"CERTIFICATE" not in file.read_bytes()

    # Life goes on; the CRL with the revocation is published.
    later = place.work("robot-3", "robot-4", "robot-5", revoke=(issued["robot-1"]["certificate"],), crl=True)
    published = place.crl()
    assert revoked_in(published) == {issued["robot-1"]["serial"]}

    # The old backup, in another folder: first as a drill, then really, then once more.
    old, source = place.beside(), {"tls_ca_backup_source": str(file)}
    predicted = old.run("restore", "--check", "--diff", **source)
    assert (predicted.rc, on(OLD, "ls", old.directory, check=False)) == (0, ""), predicted.output
    for changed in (True, False):
        run = old.run("restore", **source)
        assert (run.rc, bool(run.changed)) == (0, changed), run.output
    assert old.digest() == place.digest()
    assert on(OLD, "stat", "--format", "%a", old.directory, f"{old.directory}/ledger.sqlite") == "700\n600\n"

    # Numbers of CRLs rise, serials do not come again, and what the backup does not know can be taken back all the same.
    again = old.work("robot-1", "robot-3", "robot-6", crl=True)
    # None is signed yet: it would take back what was revoked since.
    assert number_of(old.crl()) < number_of(published)
    assert [again[name]["issued"] for name in again] == [False, True, True]
    known = {item["serial"] for item in (*issued.values(), *later.values())}
    assert not {again[name]["serial"] for name in ("robot-3", "robot-6")} & known
    lost = later["robot-4"]
    old.work(revoke=(lost["certificate"],), published=(pem_of(published),), crl=True)
    assert revoked_in(old.crl()) == {issued["robot-1"]["serial"], lost["serial"]}
    assert number_of(old.crl()) > number_of(published)
    # What site.yml does with such a CA: nothing is made anew.
    whole = old.run("ca")
    assert (whole.rc, whole.changed) == (0, {}), whole.output


def test_what_a_restore_refuses(place: Place, tmp_path: Path) -> None:
    place.work("robot-1")
    assert place.run("backup").rc == 0
    file = on(OLD, "sh", "-c", f"ls {place.backups}/*.backup").strip()
    before = place.digest()
    live = place.run("restore", tls_ca_backup_file=file)
    assert live.rc != 0
    assert "There is a CA in" in said(live)
    assert "it is in use" in said(live)

    elsewhere = place.beside()
    wrong = elsewhere.run("restore", tls_ca_backup_file=file, tls_ca_passphrase_command=["/bin/echo", "something else"])
    assert "gives another passphrase than it was sealed with" in said(wrong)
    on(
        OLD,
        "sh",
        "-c",
        f"cp {file} /{tmp_path.name}.backup && printf %016d 0 | dd of=/{tmp_path.name}.backup bs=1 seek=2000 conv=notrunc",
    )
    try:
        damaged = elsewhere.run("restore", tls_ca_backup_file=f"/{tmp_path.name}.backup")
    finally:
        on(OLD, "rm", "-f", f"/{tmp_path.name}.backup")
    assert "is damaged: it is not what was written" in said(damaged)
    unnamed = elsewhere.run("restore")
    assert "No backup is named" in said(unnamed)
    for run in (live, wrong, damaged, unnamed):
        assert run.rc != 0, run.output
        assert "something else" not in run.output.replace("begins with something else", "")
    assert place.digest() == before
    assert on(OLD, "sh", "-c", f"ls -A {elsewhere.directory} 2>/dev/null || true").split() in ([], ["lock"])


def fail_to_move(place: Place, new_host: Place) -> None:
    """First without the passphrase, which shows before anything is frozen; then with somebody else's CA in the way."""
    none = place.run("move_ca", tls_ca_new_host=NEW)
    assert none.rc != 0
    assert "does not exist" in said(none)
    assert "Freeze the CA" not in none.output

    put_passphrase(new_host)
    make_ca(new_host)
    theirs = new_host.digest()
    there = place.run("move_ca", tls_ca_new_host=NEW)
    assert there.rc != 0
    assert "The CA did not move: There is a CA in" in said(there)
    assert f"The one on {OLD} is in use as before" in said(there)
    assert place.work("robot-6")["robot-6"]["issued"]
    assert new_host.digest() == theirs
    on(NEW, "rm", "-rf", new_host.directory)


@pytest.mark.slow
def test_moving_to_another_host_and_back(place: Place, new_host: Place) -> None:
    issued = place.work("robot-1", crl=True)
    fail_to_move(place, new_host)
    before = place.digest()
    moved = place.run("move_ca", tls_ca_new_host=NEW)
    assert moved.rc == 0, moved.output
    assert f"Set tls_ca_host to {NEW} in the inventory" in said(moved)
    assert new_host.digest() == before

    # What was in force is known there, what is new is signed there, and nowhere else.
    there = new_host.work("robot-1", "robot-3", revoke=(issued["robot-1"]["certificate"],), crl=True)
    assert [item["issued"] for item in there.values()] == [False, True]
    refusal = place.work("robot-4")["robot-4"]["error"]["message"]
    assert f"This CA is frozen: It has moved to '{NEW}'" in refusal

    back = new_host.run("move_ca", tls_ca_new_host=OLD)
    assert back.rc == 0, back.output
    assert place.digest() == before
    here = place.work("robot-3", "robot-4", crl=True)
    assert [item["issued"] for item in here.values()] == [False, True]
    assert revoked_in(place.crl()) == {issued["robot-1"]["serial"]}
    serials = [item["serial"] for answer in (issued, there, here) for item in answer.values() if item["issued"]]
    assert len(serials) == len(set(serials)) == 3
