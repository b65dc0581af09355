# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root away from the CA host: what it signs, what it refuses, its CRL, and that a kill on the way costs nothing."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca import root_signing
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ceremony import Ceremony, Held
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger import Ledger
from ansible_collections.certfleet.tls.plugins.module_utils._ca.local import open_key
from ansible_collections.certfleet.tls.plugins.module_utils._ca.passphrase import Passphrase
from ansible_collections.certfleet.tls.plugins.module_utils._ca.restore import restore
from ansible_collections.certfleet.tls.plugins.module_utils._ca.root_signing import hold, predict
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_ca_csr, build_csr, ca_name
from ansible_collections.certfleet.tls.plugins.module_utils._x509.constraints import Constraints, constraints_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import is_crl_of, parse_crl
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import serialization, x509
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key, spki_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import (
    is_issued_by,
    load_certificate,
    parse_bundle,
    parse_certificate,
)

from .backups import back_up
from .workshop import DAY, NOW, Workshop

KEY, OTHER = new_key("ec-p256"), new_key("ec-p256")
SPKI = spki_of(KEY.public_key())
LIMITS = Constraints(("plant.example",), ("198.18.0.0/15",))
YEAR = 365 * DAY


class Room:
    """The room with the root, and the stick that is carried in and out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stick = folder / "stick"
        self.stick.mkdir()
        self.store = Store(str(folder / "root"))
        self.now = NOW
        self.bring()

    def bring(self, key: Any = KEY, *, name: str = "fleet issuing CA", limits: Constraints | None = LIMITS) -> None:
        csr = build_ca_csr(key, subject=ca_name(name, "Example Plant"), constraints=limits)
        (self.stick / "issuing.csr").write_text(csr)

    def options(self, state: str = "present", **changes: Any) -> dict[str, Any]:
        return {
            "name": "fleet",
            "state": state,
            "root": {"lifetime": "20y", "key_type": "ec-p256"},
            "issuing": {"lifetime": "5y"},
            "crl_lifetime": "1y",
            "request": str(self.stick / "issuing.csr"),
            "chain": str(self.stick / "chain.pem"),
            "crl": str(self.stick / "root-crl.pem"),
            **({"spki": SPKI} if state == "signed" else {}),
            **changes,
        }

    def hold(self, state: str = "present", **changes: Any) -> Held:
        """What was due must be what had been predicted."""
        ceremony, before = Ceremony.from_options(self.options(state, **changes)), self.all_files()
        predicted = self.do(predict, ceremony)
        assert self.all_files() == before
        held = self.do(hold, ceremony)
        assert (held.due, held.warnings) == (predicted.due, predicted.warnings)
        assert not self.do(predict, ceremony).due
        return held

    def do(self, function: Callable[..., Held], ceremony: Ceremony) -> Held:
        secret = Passphrase(file=str(self.folder / "passphrase"))
        return function(ceremony, store=self.store, passphrase=secret, generate=True, now=self.now)

    def refuses(self, code: str, state: str = "signed", **changes: Any) -> str:
        before = self.all_files()
        for function in (predict, hold):
            with pytest.raises(CAError) as caught:
                self.do(function, Ceremony.from_options(self.options(state, **changes)))
            assert caught.value.code == code, caught.value
        assert self.all_files(but=("lock",)) == {path: data for path, data in before.items() if path.name != "lock"}
        return str(caught.value)

    def all_files(self, but: tuple[str, ...] = ()) -> dict[Path, bytes]:
        # SQLite's own helpers come and go with readers.
        found = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
        return {path: path.read_bytes() for path in found if path.name not in but}

    def chain(self) -> list[Any]:
        return parse_bundle((self.stick / "chain.pem").read_text())


@pytest.fixture
def bare(tmp_path: Path) -> Room:
    """There is no root yet."""
    return Room(tmp_path)


@pytest.fixture
def room(bare: Room) -> Room:
    bare.hold(request="", chain="")
    return bare


@pytest.mark.parametrize(("state", "asked"), [("signed", {}), ("revoked", {"spki": SPKI})])
def test_only_who_asks_for_a_root_makes_one(bare: Room, state: str, asked: dict[str, Any]) -> None:
    """In a wrong folder, another root would sign, or revoke nothing and say that all is well."""
    assert "no root was made. Check the option 'directory'" in bare.refuses("missing", state, **asked)
    assert not (bare.folder / "root").exists()
    assert not (bare.folder / "passphrase").exists()
    # Nor beside another root.
    bare.hold()
    bare.refuses("missing", state, name="clients", **asked)


def test_a_root_is_made_once_and_keeps_its_key_closed(bare: Room) -> None:
    room = bare
    held = room.hold(request="", chain="")
    assert held.due == ["make the root 'fleet'", "sign the root's CRL: there is none yet"]
    assert held.root is not None
    assert held.root["subject"] == "CN=fleet root CA"
    folder = room.folder / "root" / "authorities" / "fleet"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "root.pem": 0o600,
        "root.key": 0o600,
        "root-crl.pem": 0o600,
    }
    assert "ENCRYPTED" in (folder / "root.key").read_text().splitlines()[0]
    assert room.hold(request="", chain="").due == []
    assert room.hold(request="", chain="").root == held.root


def test_a_request_is_shown_and_not_signed_unless_its_key_is_the_expected_one(room: Room) -> None:
    ceremony = Ceremony.from_options(room.options())
    assert ceremony.request is not None
    assert ceremony.request.describe() == {
        "spki": SPKI,
        "key": "ec-p256",
        "subject": "CN=fleet issuing CA,O=Example Plant",
        "limits": "plant.example, 198.18.0.0/15",
    }
    assert room.hold().issued == []
    assert not (room.stick / "chain.pem").exists()
    room.bring(OTHER)
    assert "exchanged" in room.refuses("spki_mismatch")
    room.refuses("bad_request", spki="")


def test_the_chain_that_is_carried_back(room: Room) -> None:
    held = room.hold("signed")
    issuing, root = room.chain()
    assert is_issued_by(issuing, root)
    assert is_issued_by(root, root)
    assert (issuing.spki, issuing.subject, issuing.is_ca) == (SPKI, "CN=fleet issuing CA,O=Example Plant", True)
    assert issuing.not_after == room.now + 5 * YEAR
    assert constraints_of(issuing.pem) == LIMITS
    assert held.chain == (room.stick / "chain.pem").read_text()
    assert [path.stat().st_mode & 0o777 for path in (room.stick / "chain.pem", room.stick / "root-crl.pem")] == [
        0o644
    ] * 2
    assert [(item["serial"], item["state"], item["limits"]) for item in held.issued] == [
        (issuing.serial, "issued", "plant.example, 198.18.0.0/15")
    ]
    crl = parse_crl((room.stick / "root-crl.pem").read_text())
    assert (crl.revoked, is_crl_of(crl, root)) == ((), True)


def test_openssl_accepts_the_chain_and_the_crl(bare: Room, tmp_path: Path) -> None:
    room = bare
    room.now = int(time.time())
    room.hold()
    room.hold("signed")
    issuing, root = room.chain()
    (tmp_path / "issuing.pem").write_text(issuing.pem)
    (tmp_path / "root.pem").write_text(root.pem + (room.stick / "root-crl.pem").read_text())
    command = ["openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", str(tmp_path / "root.pem")]
    done = subprocess.run([*command, str(tmp_path / "issuing.pem")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_same_request_is_answered_with_the_same_certificate_until_half_its_life_is_over(room: Room) -> None:
    room.hold("signed")
    first = room.chain()
    assert room.hold("signed").due == []
    (room.stick / "chain.pem").unlink()
    assert room.hold("signed").due == [f"write {room.stick / 'chain.pem'}"]
    assert room.chain() == first
    room.now += 2 * YEAR
    room.hold("signed")
    assert room.chain() == first
    room.now += YEAR
    room.hold("signed")
    issuing, root = room.chain()
    assert (issuing.spki, issuing.not_after, root) == (SPKI, room.now + 5 * YEAR, first[1])
    assert issuing.serial != first[0].serial
    assert [item["state"] for item in room.hold().issued] == ["superseded", "issued"]


def test_other_limits_are_signed_anew(room: Room) -> None:
    room.hold("signed")
    first = room.chain()[0]
    room.bring(limits=Constraints(("plant.example",), ("198.18.0.0/15", "2001:2::/48")))
    room.hold("signed")
    second = room.chain()[0]
    assert (second.spki, second.not_after) == (first.spki, first.not_after)
    assert constraints_of(second.pem) == Constraints(("plant.example",), ("198.18.0.0/15", "2001:2::/48"))
    # What is said at the ceremony counts more than what the request asks for.
    room.hold("signed", domains=["other.example"])
    assert constraints_of(room.chain()[0].pem) == Constraints(("other.example",))
    room.hold("signed", domains=[], networks=[])
    assert constraints_of(room.chain()[0].pem) is None


def test_two_issuing_cas_under_one_root(room: Room) -> None:
    room.hold("signed")
    room.bring(OTHER, name="other issuing CA")
    held = room.hold("signed", spki=spki_of(OTHER.public_key()))
    assert [item["state"] for item in held.issued] == ["issued", "issued"]


def test_an_issuing_ca_ends_with_its_root(room: Room) -> None:
    room.hold()
    room.now += 18 * YEAR
    held = room.hold("signed")
    issuing, root = room.chain()
    assert issuing.not_after == root.not_after
    assert ["ends with its root" in warning for warning in held.warnings] == [True]
    # Nothing can be gained: it is not signed again and again.
    room.now += YEAR + 200 * DAY
    room.hold("signed")
    assert room.chain()[0] == issuing
    room.now += YEAR
    assert "ended" in room.refuses("issuer_expired")


def test_its_crl_is_refreshed_in_time_and_its_number_rises_also_after_an_old_backup(room: Room) -> None:
    numbers = []
    room.hold("signed")
    for _month in range(12):
        numbers.append(parse_crl((room.stick / "root-crl.pem").read_text()).number)
        room.now += 31 * DAY
        room.hold()
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 3  # a new one every four months
    newest = parse_crl((room.stick / "root-crl.pem").read_text())
    room.now -= 300 * DAY  # a folder and a clock of long ago
    os.unlink(room.store.path("fleet", "root-crl.pem"))
    with sqlite3.connect(room.store.ledger) as ledger:
        ledger.execute("DELETE FROM crls WHERE number > ?", (numbers[0],))
    ledger.close()
    room.hold()
    assert parse_crl((room.stick / "root-crl.pem").read_text()).number > newest.number


def test_what_an_older_backup_has_forgotten_is_learnt_from_the_stick(room: Room) -> None:
    serial = room.hold("signed").issued[0]["serial"]
    ledger = Path(room.store.ledger).read_bytes()
    room.hold("revoked", reason="superseded", serial=serial)
    Path(room.store.ledger).write_bytes(ledger)
    os.unlink(room.store.path("fleet", "root-crl.pem"))
    room.now += DAY
    held = room.hold()
    assert [(item["state"], item["revocation_reason"]) for item in held.issued] == [("revoked", "superseded")]
    assert [item.serial for item in parse_crl((room.stick / "root-crl.pem").read_text()).revoked] == [serial]


@pytest.mark.parametrize("by", ["serial", "spki"])
def test_an_issuing_ca_is_taken_back(room: Room, by: str) -> None:
    first = room.hold("signed").issued[0]
    room.bring(OTHER, name="other issuing CA")
    room.hold("signed", spki=spki_of(OTHER.public_key()))
    wanted = {by: first[by].upper()}
    held = room.hold("revoked", reason="ca_compromise", **wanted)
    assert [item["state"] for item in held.issued] == ["revoked", "issued"]
    assert held.issued[0]["revocation_reason"] == "ca_compromise"
    (revoked,) = parse_crl((room.stick / "root-crl.pem").read_text()).revoked
    assert (revoked.serial, revoked.at, revoked.reason) == (first["serial"], room.now, "ca_compromise")
    assert room.hold("revoked", reason="superseded", **wanted).due == []
    room.bring()
    assert "compromised" in room.refuses("compromised_key")


def test_a_compromised_key_loses_all_its_certificates(room: Room) -> None:
    first = room.hold("signed").issued[0]
    room.now += 3 * YEAR
    room.hold("signed")
    assert [item["state"] for item in room.hold().issued] == ["superseded", "issued"]
    held = room.hold("revoked", reason="key_compromise", serial=first["serial"])
    assert [item["state"] for item in held.issued] == ["revoked", "revoked"]


def test_of_another_reason_only_the_one_that_is_named(room: Room) -> None:
    first = room.hold("signed").issued[0]
    room.now += 3 * YEAR
    room.hold("signed")
    held = room.hold("revoked", reason="superseded", serial=first["serial"])
    assert [item["state"] for item in held.issued] == ["revoked", "issued"]


def test_a_root_that_has_left_its_ca_host_goes_on_where_its_folder_was_restored(bare: Room) -> None:
    """By a backup: the CA's whole folder, with an issuing CA that the ledger knows."""
    room = bare
    workshop = Workshop(room.folder / "host")
    workshop.create()
    shutil.copy(workshop.passphrase_file, room.folder / "passphrase")
    secret = Passphrase(file=str(room.folder / "passphrase"))
    restore(back_up(workshop).file, store=room.store, secret=secret, passphrase=secret, now=room.now)
    with Ledger.open(room.store.ledger):
        pass  # whoever is the first to open it prepares the file for many readers
    room.now += DAY
    root, issuing = (Path(workshop.store.path("fleet", f"{part}.pem")).read_text() for part in ("root", "issuing"))
    key = open_key(workshop.store, "fleet", "issuing", workshop.passphrase(), spki=parse_certificate(issuing).spki)
    (room.stick / "issuing.csr").write_text(
        build_ca_csr(key, subject=load_certificate(issuing).subject, constraints=LIMITS)
    )
    held = room.hold("signed", spki=parse_certificate(issuing).spki)
    assert room.chain()[1].pem == root
    assert constraints_of(room.chain()[0].pem) == LIMITS
    assert [item["state"] for item in held.issued] == ["superseded", "issued"]
    assert room.hold("signed", spki=parse_certificate(issuing).spki).due == []


def test_what_cannot_be_revoked(room: Room) -> None:
    serial = room.hold("signed").issued[0]["serial"]
    room.refuses("unknown_certificate", "revoked", serial="ab")
    for options in ({}, {"serial": serial, "spki": SPKI}, {"serial": "xyz"}, {"spki": "ab"}):
        with pytest.raises(CAError) as caught:
            Ceremony.from_options(room.options("revoked", **options))
        assert caught.value.code == "bad_request"


def spoiled(csr: str) -> str:
    """With another last byte of the signature."""
    der = x509.load_pem_x509_csr(csr.encode()).public_bytes(serialization.Encoding.DER)
    body = base64.encodebytes(der[:-1] + bytes([der[-1] ^ 1])).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


BAD = {
    "nothing": lambda: "",
    "a certificate": lambda: "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n",
    "signature": lambda: spoiled(build_csr(KEY, common_name="fleet issuing CA", names=())),
    "no name": lambda: build_csr(KEY, common_name=None, names=("DNS:x.example",)),
    "a comma": lambda: build_ca_csr(KEY, subject=ca_name("a,b")),
    "a country": lambda: build_ca_csr(
        KEY,
        subject=x509.Name(
            [
                x509.NameAttribute(x509.oid.NameOID.COUNTRY_NAME, "DE"),
                x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "x"),
            ]
        ),
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_requests_that_are_none(room: Room, what: str) -> None:
    (room.stick / "issuing.csr").write_text(BAD[what]())
    with pytest.raises(CAError) as caught:
        Ceremony.from_options(room.options("signed"))
    assert caught.value.code == "bad_csr"
    assert "Nothing was signed" in str(caught.value)
    assert ("signature is wrong" in str(caught.value)) == (what == "signature")


def test_the_roots_own_key_and_a_request_that_is_not_there(room: Room) -> None:
    root, secret = room.hold().root, Passphrase(file=str(room.folder / "passphrase"))
    assert root is not None
    key = open_key(room.store, "fleet", "root", secret, spki=root["spki"])
    room.bring(key)
    room.refuses("bad_csr", spki=spki_of(key.public_key()))
    with pytest.raises(CAError, match="is there"):
        Ceremony.from_options(room.options(request=str(room.stick / "none.csr")))


def test_half_a_root_is_never_made_anew(room: Room) -> None:
    room.hold("signed")
    key = Path(room.store.path("fleet", "root.key"))
    away = key.rename(room.folder / "away.key")
    room.refuses("half_ca")
    away.rename(key)
    folder = Path(room.store.path("fleet"))
    folder.rename(room.folder / "away")
    room.refuses("half_ca")
    (room.folder / "away").rename(folder)
    (room.folder / "passphrase").chmod(0o600)
    (room.folder / "passphrase").write_text("another one\n")
    room.refuses("wrong_passphrase")


MOMENTS = {
    "the root's serial": (Ledger, "reserve", 1),
    "the root's folder": (Store, "publish", 1),
    "the root is in the ledger": (Ledger, "store", 1),
    "the issuing CA's serial": (Ledger, "reserve", 2),
    "the chain": (root_signing, "_put", 2),
    "the issuing CA is in the ledger": (root_signing._Root, "_settle", 1),
    "the CRL": (root_signing, "publish_crl", 1),
    "the CRL on the stick": (root_signing, "_put", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_was_cut_short_is_finished_by_the_next(
    bare: Room, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class Killed(BaseException):
        pass

    owner, name, turn = MOMENTS[moment]
    original, calls = getattr(owner, name), []

    def killed(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == turn:
            raise Killed
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            for state in ("present", "signed"):
                bare.do(hold, Ceremony.from_options(bare.options(state)))
    bare.hold()
    held = bare.hold("signed")
    (issued,) = held.issued
    assert (issued["state"], issued["serial"]) == ("issued", bare.chain()[0].serial)
    assert parse_crl((bare.stick / "root-crl.pem").read_text()).revoked == ()
