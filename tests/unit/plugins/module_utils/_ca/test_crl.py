# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs: what is on them, when a new one is due, and numbers that rise whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca import crl as crl_file
from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import look, refresh
from ansible_collections.certfleet.tls.plugins.module_utils._ca.durable import replace_file
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import Crl, is_crl_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import (
    iso,
    parse_certificate,
)

from .crls import LIFETIME, in_place, publish, revoke, without_root_key
from .workshop import DAY, NOW, Workshop


def on_it(crl: Crl) -> dict[str, str]:
    return {item.serial: item.reason for item in crl.revoked}


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_first_ones_are_empty_signed_and_where_they_belong(workshop: Workshop) -> None:
    found, done = publish(workshop)
    assert done == ["sign the issuing CA's CRL: there is none yet", "sign the root CA's CRL: there is none yet"]
    for part, file, certificate in (
        ("issuing", "crl.pem", found.chain.issuing),
        ("root", "root-crl.pem", found.chain.root),
    ):
        crl = in_place(workshop, file)
        assert is_crl_of(crl, certificate), part
        assert (crl.number, crl.this_update, crl.next_update, crl.revoked) == (NOW, NOW - 3600, NOW + LIFETIME, ())
        assert os.stat(workshop.store.path("fleet", file)).st_mode & 0o777 == 0o600
    assert [crl.pem for crl in found.crls] == [in_place(workshop).pem, in_place(workshop, "root-crl.pem").pem]
    kept = workshop.sql("SELECT number, authority, part, this_update, next_update, pem FROM crls ORDER BY part")
    assert kept[0] == (NOW, "fleet", "issuing", NOW - 3600, NOW + LIFETIME, in_place(workshop).pem)
    assert kept[1][2] == "root"


def test_nothing_due_needs_neither_lock_nor_passphrase(workshop: Workshop) -> None:
    publish(workshop)
    workshop.passphrase_file.unlink()
    workshop.now += LIFETIME // 3
    assert publish(workshop, wait=0)[1] == []


def test_refreshed_once_a_third_of_its_life_is_over(workshop: Workshop) -> None:
    publish(workshop)
    workshop.now += LIFETIME // 3 + 1
    assert len(publish(workshop)[1]) == 2
    assert in_place(workshop).next_update == workshop.now + LIFETIME
    assert publish(workshop)[1] == []


def test_revoked_leaf_is_on_it_with_date_and_reason(workshop: Workshop) -> None:
    publish(workshop)
    serial = workshop.issue_one()["serial"]
    workshop.now += 60
    revoke(workshop, serial, "key_compromise")
    assert publish(workshop)[1] == ["sign the issuing CA's CRL: revocations that are not on it: 1, that have left: 0"]
    crl = in_place(workshop)
    assert [tuple(item) for item in crl.revoked] == [(serial, NOW + 60, "key_compromise")]
    assert crl.number == NOW + 60
    shown = openssl("crl", "-in", workshop.store.path("fleet", "crl.pem"), "-noout", "-text")
    assert "Key Compromise" in shown
    assert serial in shown.lower()


def test_unspecified_is_left_out_of_the_entry(workshop: Workshop) -> None:
    revoke(workshop, workshop.issue_one()["serial"], "unspecified")
    publish(workshop)
    assert "Reason" not in openssl("crl", "-in", workshop.store.path("fleet", "crl.pem"), "-noout", "-text")
    assert publish(workshop)[1] == []


def test_a_worse_reason_makes_a_new_one(workshop: Workshop) -> None:
    serial = workshop.issue_one()["serial"]
    revoke(workshop, serial)
    publish(workshop)
    assert len(revoke(workshop, serial, "key_compromise")) == 1
    assert len(publish(workshop)[1]) == 1
    assert on_it(in_place(workshop)) == {serial: "key_compromise"}


def test_openssl_refuses_the_revoked_leaf_alone(workshop: Workshop, tmp_path: Path) -> None:
    good, bad = (
        workshop.issue_one(f"robot-{number}", names=[f"DNS:robot-{number}.plant.example"]) for number in (1, 2)
    )
    revoke(workshop, bad["serial"])
    found, _done = publish(workshop)
    (tmp_path / "ca.pem").write_text(
        found.chain.root.pem + found.chain.issuing.pem + "".join(crl.pem for crl in found.crls)
    )
    said = []
    for name, item in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.pem").write_text(item["certificate"])
        said.append(
            openssl(
                *("verify", "-x509_strict", "-crl_check_all", "-attime", str(NOW + 60)),
                *("-CAfile", str(tmp_path / "ca.pem"), str(tmp_path / f"{name}.pem")),
            )
        )
    assert said[0].endswith("good.pem: OK\n")
    assert "certificate revoked" in said[1]


def test_expired_certificates_leave_one_lifetime_after_their_end(workshop: Workshop) -> None:
    serial = workshop.issue_one(lifetime=DAY)["serial"]
    revoke(workshop, serial)
    workshop.now += DAY + LIFETIME
    publish(workshop)
    assert list(on_it(in_place(workshop))) == [serial]
    workshop.now += 1
    assert publish(workshop)[1] == ["sign the issuing CA's CRL: revocations that are not on it: 0, that have left: 1"]
    assert on_it(in_place(workshop)) == {}


def test_number_rises_within_a_second_and_when_the_clock_is_set_back(workshop: Workshop) -> None:
    workshop.now = begin = NOW + 2 * DAY
    publish(workshop)
    numbers = [in_place(workshop).number]
    for step in (0, -DAY):
        workshop.now += step
        revoke(workshop, workshop.issue_one(f"robot-{step}", names=[f"DNS:r{step}.example"])["serial"])
        publish(workshop)
        numbers.append(in_place(workshop).number)
    assert numbers == [begin, begin + 1, begin + 2]


def test_one_that_a_fast_clock_has_signed_is_replaced(workshop: Workshop) -> None:
    workshop.now = NOW + 400 * DAY
    publish(workshop)
    early = in_place(workshop)
    workshop.now = early.this_update - 1
    assert [said.split(": ", 1)[1] for said in look(workshop.store, "fleet", now=workshop.now).due] == [
        f"it begins only {iso(early.this_update)}, a clock was wrong when it was signed"
    ] * 2
    publish(workshop)
    new = in_place(workshop)
    assert (new.this_update, new.number) == (workshop.now - 3600, early.number + 1)
    assert publish(workshop)[1] == []
    # One that begins now is good.
    workshop.now = new.this_update
    assert look(workshop.store, "fleet", now=workshop.now).due == []


@pytest.mark.parametrize("damage", ["", "rubbish", "foreign", "cut"])
def test_damaged_or_foreign_is_replaced_by_one_with_a_higher_number(workshop: Workshop, damage: str) -> None:
    publish(workshop)
    path = Path(workshop.store.path("fleet", "crl.pem"))
    workshop.create("second")
    if damage == "foreign":
        refresh(workshop.store, "second", passphrase=workshop.passphrase(), now=workshop.now)
        shutil.copy(workshop.store.path("second", "crl.pem"), path)
    else:
        path.write_text(path.read_text()[:100] if damage == "cut" else damage)
    done = publish(workshop)[1]
    assert len(done) == 1
    assert "in place" in done[0]
    assert in_place(workshop).number == NOW + 1


def test_older_file_put_back_is_replaced(workshop: Workshop) -> None:
    publish(workshop)
    old = workshop.store.read_text("fleet", "crl.pem")
    revoke(workshop, workshop.issue_one()["serial"])
    publish(workshop)
    Path(workshop.store.path("fleet", "crl.pem")).write_text(old)
    assert "a later one was published" in publish(workshop)[1][0]
    assert in_place(workshop).number == NOW + 2


def test_after_an_older_backup_numbers_and_revocations_are_learned_from_what_was_published(
    workshop: Workshop, tmp_path: Path
) -> None:
    answers = [workshop.issue_one(f"robot-{number}", names=[f"DNS:r{number}.example"]) for number in (1, 2)]
    publish(workshop)
    shutil.copytree(workshop.store.directory, tmp_path / "backup")
    lost = workshop.issue_one("robot-3", names=["DNS:r3.example"])
    for item in (*answers, lost):
        revoke(workshop, item["serial"], "key_compromise")
    publish(workshop)
    published = workshop.store.read_text("fleet", "crl.pem")
    shutil.rmtree(workshop.store.directory)
    shutil.copytree(tmp_path / "backup", workshop.store.directory)
    # Without any help: above what was published, since time has passed. And with it, also if it had not.
    assert "a later one was published" in publish(workshop, published=published)[1][0]
    crl = in_place(workshop)
    assert crl.number == NOW + 2
    assert set(on_it(crl)) == {item["serial"] for item in (*answers, lost)}
    assert workshop.states() == ["revoked", "revoked"]
    assert publish(workshop, published=published)[1] == []
    # What the ledger does not know at all stays on the next ones, too.
    workshop.now += LIFETIME
    publish(workshop)
    assert lost["serial"] in on_it(in_place(workshop))


def test_wrong_passphrase_changes_nothing(workshop: Workshop) -> None:
    publish(workshop)
    before = in_place(workshop).pem
    revoke(workshop, workshop.issue_one()["serial"])
    workshop.passphrase_file.write_text("another")
    with pytest.raises(CAError) as caught:
        publish(workshop)
    assert (caught.value.code, in_place(workshop).pem) == ("wrong_passphrase", before)
    assert workshop.sql("SELECT count(*) FROM crls WHERE pem IS NULL") == [(0,)]


def test_frozen_ca_signs_none(workshop: Workshop) -> None:
    workshop.sql("INSERT INTO conditions VALUES ('frozen', 'moved.', 1)")
    with pytest.raises(CAError) as caught:
        publish(workshop)
    assert caught.value.code == "frozen"
    assert not os.path.exists(workshop.store.path("fleet", "crl.pem"))


def test_cut_short_before_the_ledger_had_it_is_signed_anew(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    publish(workshop)
    revoke(workshop, workshop.issue_one()["serial"])
    with monkeypatch.context() as patch:
        # After the file is in its place.
        patch.setattr(crl_file, "replace_file", lambda path, data: (replace_file(path, data), killed()))
        with pytest.raises(KeyboardInterrupt):
            publish(workshop)
    left = in_place(workshop).number
    assert "cut short" in publish(workshop)[1][0]
    assert in_place(workshop).number == left + 1
    assert publish(workshop)[1] == []


def test_only_the_last_ones_are_kept(workshop: Workshop) -> None:
    for _number in range(12):
        publish(workshop)
        workshop.now += LIFETIME
    kept: Sequence[Any] = workshop.sql("SELECT number FROM crls WHERE part = 'issuing' ORDER BY number")
    assert len(kept) == 10
    assert kept[-1] == (in_place(workshop).number,)


@pytest.mark.parametrize("key", ["ec-p384", "rsa-2048", "ed25519"])
def test_other_keys_sign_them_too(empty: Workshop, key: str) -> None:
    empty.create(root={"key_type": key}, issuing={"key_type": key})
    found, _done = publish(empty)
    assert [is_crl_of(crl, leaf) for crl, leaf in zip(found.crls, (found.chain.issuing, found.chain.root))] == [
        True,
        True,
    ]
    assert not is_crl_of(found.crls[0], found.chain.root)
    assert parse_certificate(found.chain.issuing.pem).key == key


def restored(workshop: Workshop) -> str:
    """A backup is restored that knows nothing of the last revocation; returns the CRL that was published with it."""
    serial = workshop.issue_one()["serial"]
    publish(workshop)
    shutil.copytree(workshop.store.directory, workshop.folder / "backup")
    workshop.now += DAY
    revoke(workshop, serial, "key_compromise")
    publish(workshop)
    published = in_place(workshop).pem + in_place(workshop, "root-crl.pem").pem
    workshop.now += DAY
    shutil.rmtree(workshop.store.directory)
    shutil.copytree(workshop.folder / "backup", workshop.store.directory)
    workshop.sql("INSERT INTO conditions (name, said, at) VALUES ('restored', 'x', ?)", workshop.now)
    workshop.now += DAY
    return published


def test_a_restored_ca_takes_no_revocation_back(workshop: Workshop) -> None:
    published = restored(workshop)
    for age in (0, LIFETIME):
        # Whatever the age: whoever did not ask the servers signs nothing that would take the place of what they have.
        found = look(workshop.store, "fleet", now=workshop.now + age)
        assert (found.due, found.forgotten) == ([], True)
    before = in_place(workshop).pem
    found, done = publish(workshop)
    assert (done, in_place(workshop).pem) == ([], before)
    assert ["so none is signed. crl.yml learns it" in said for said in found.warnings] == [True, True]
    found, _done = publish(workshop, published=published)
    assert (found.forgotten, found.warnings) == (False, [])
    assert list(on_it(in_place(workshop)).values()) == ["key_compromise"]
    # From then on it is as ever.
    found, done = publish(workshop)
    assert (found.forgotten, found.warnings, done) == (False, [], [])


def test_an_older_one_tells_a_restored_ca_nothing(workshop: Workshop) -> None:
    publish(workshop)
    old = in_place(workshop).pem
    workshop.now += LIFETIME // 2
    restored(workshop)
    assert publish(workshop, published=old)[0].forgotten is True
    # That very one is out there: nothing was revoked since.
    same = in_place(workshop).pem
    assert publish(workshop, published=same)[0].forgotten is False


def test_where_nobody_has_one_a_restored_ca_signs_in_the_last_third(workshop: Workshop) -> None:
    restored(workshop)
    last_third = in_place(workshop).next_update - LIFETIME // 3
    workshop.now = last_third
    assert publish(workshop, is_complete=True)[1] == []
    workshop.now += 1
    found, done = publish(workshop, is_complete=True)
    assert (found.forgotten, len(done)) == (False, 2)
    assert ["takes their place" in said for said in found.warnings] == [True, True]
    assert publish(workshop)[0].warnings == []


def test_a_restored_ca_does_not_wait_when_something_is_revoked_again(workshop: Workshop) -> None:
    restored(workshop)
    serial = workshop.issue_one("robot-2", names=["DNS:r2.example"])["serial"]
    revoke(workshop, serial)
    assert publish(workshop)[1] == []
    assert len(publish(workshop, is_complete=True)[1]) == 1
    assert on_it(in_place(workshop)) == {serial: "superseded"}


def test_an_issuing_ca_that_its_root_elsewhere_has_revoked_signs_nothing(workshop: Workshop, tmp_path: Path) -> None:
    online = without_root_key(workshop, tmp_path)
    assert online.issue_one()["issued"]
    issuing = parse_certificate(workshop.store.read_text("fleet", "issuing.pem"))
    revoke(workshop, issuing.serial, "key_compromise")
    publish(workshop)
    signed = workshop.store.read_text("fleet", "root-crl.pem")
    assert "has revoked it (key_compromise)" in look(online.store, "fleet", published=signed, now=online.now).due[-1]
    publish(online, published=signed)
    assert online.issue_one("robot-2", key=1)["error"]["code"] == "issuer_revoked"
    # Its CRL is still signed: servers go on asking for it.
    assert publish(online)[1] == []
    assert online.sql("SELECT act FROM acts") == [("revoked",)]


def test_what_a_published_crl_calls_compromised_ends_every_certificate_of_the_key(workshop: Workshop) -> None:
    workshop.issue_one("robot-2", names=["DNS:robot-2.example"])
    published = restored(workshop)
    workshop.sql("UPDATE certificates SET state = 'issued', revoked_at = NULL, revocation_reason = NULL")
    publish(workshop, published=published)
    assert workshop.states() == ["revoked", "revoked"]
    assert list(on_it(in_place(workshop)).values()) == ["key_compromise"] * 2
