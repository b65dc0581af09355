# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore replaces and what it never does; what holds after an old backup; a CA that moves."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.certfleet.tls.plugins.module_utils._ca import sealed_archive
from ansible_collections.certfleet.tls.plugins.module_utils._ca.backup import MANIFEST
from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import refresh
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.freezing import Standing, bring_to, read_standing
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record
from ansible_collections.certfleet.tls.plugins.module_utils._ca.restore import predict_restore
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revoke import Target, revoke
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import LEDGER_FILE
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import Crl

from .backups import CHEAP, back_up, files, ledger, members, other_place, restore_to, seal_members
from .test_ledger import make_old
from .workshop import DAY, Workshop, request


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_archive, "COST", CHEAP)


def standing(workshop: Workshop, state: str, *, to: str | None = None, although_moved: bool = False) -> Standing:
    _before, after = bring_to(
        workshop.store, state=state, to=to, although_moved=although_moved, now=workshop.now, wait=1
    )
    assert read_standing(workshop.store) == after
    return after


def take_back(workshop: Workshop, **what: Any) -> list[str]:
    effect = revoke(Target.from_options({"reason": "superseded", **what}), store=workshop.store, now=workshop.now)
    return [entry.serial for entry in effect.revoked]


def crl_of(workshop: Workshop, *, published: str = "") -> Crl:
    found, _done = refresh(
        workshop.store, "fleet", passphrase=workshop.passphrase(), published=published, now=workshop.now
    )
    return found.crls[0]


# --- what is in the way


def refused(place: Workshop, file: str) -> str:
    before, rows = files(place.store), ledger(place) if place.store.has_ledger() else []
    with pytest.raises(CAError) as caught:
        restore_to(place, file)
    assert caught.value.code == "exists"
    assert "Nothing was changed" in str(caught.value)
    assert (files(place.store), ledger(place) if place.store.has_ledger() else []) == (before, rows)
    assert not os.path.exists(os.path.join(place.store.directory, ".restoring"))
    return str(caught.value)


def test_over_a_ca_that_is_in_use_nothing_is_restored(workshop: Workshop) -> None:
    workshop.issue_one()
    file = back_up(workshop).file
    assert "it is in use" in refused(workshop, file)
    place = other_place(workshop)
    place.create()
    assert "the backup lacks 2 certificates" in refused(place, file)


def test_restored_once(workshop: Workshop) -> None:
    file, place = back_up(workshop).file, other_place(workshop)
    assert restore_to(place, file).changed
    place.issue_one()
    rows = ledger(place)
    again = restore_to(place, file)
    assert (again.changed, again.before) == (False, "restored")
    assert ledger(place) == rows
    assert "the backup lacks 1" in refused(place, back_up(workshop).file)


def test_a_lost_ledger_comes_back_beside_the_files_that_are_still_there(workshop: Workshop) -> None:
    workshop.issue_one()
    file, rows = back_up(workshop).file, ledger(workshop)
    os.unlink(workshop.store.ledger)
    assert restore_to(workshop, file).before == "absent"
    assert ledger(workshop) == rows
    assert workshop.issue_one()["issued"] is False


def test_a_lost_file_comes_back_too_but_another_one_is_no_loss(workshop: Workshop) -> None:
    file, before = back_up(workshop).file, files(workshop.store)
    os.unlink(workshop.store.ledger)
    os.unlink(workshop.store.path("fleet", "root.key"))
    restore_to(workshop, file)
    assert files(workshop.store) == before
    os.unlink(workshop.store.ledger)
    key = Path(workshop.store.path("fleet", "root.key"))
    key.write_bytes(key.read_bytes() + b"\n")
    assert "root.key is not what the backup has" in refused(workshop, file)


def test_what_sqlite_has_left_of_another_ledger_is_no_part_of_this_one(workshop: Workshop) -> None:
    file, place = back_up(workshop).file, other_place(workshop)
    os.mkdir(place.store.directory)
    Path(place.store.ledger + "-wal").write_bytes(b"something")
    assert "ledger.sqlite-wal is not what the backup has" in refused(place, file)


def test_a_damaged_ledger_is_not_replaced_but_the_way_is_said(workshop: Workshop) -> None:
    file = back_up(workshop).file
    Path(workshop.store.ledger).write_bytes(b"not a ledger at all" * 500)
    with pytest.raises(CAError, match=r"cannot be read.*move its folder away first") as caught:
        restore_to(workshop, file)
    assert caught.value.code == "exists"
    shutil.move(workshop.store.directory, workshop.store.directory + ".damaged")
    assert restore_to(workshop, file).changed


def test_a_prediction_changes_nothing(workshop: Workshop) -> None:
    file, place = back_up(workshop).file, other_place(workshop)

    def predict(name: str) -> Any:
        return predict_restore(
            file,
            folder=str(workshop.folder / name),
            store=place.store,
            secret=place.passphrase(),
            passphrase=place.passphrase(),
        )

    assert (predict("a").changed, predict("b").before) == (True, "absent")
    assert not os.path.exists(place.store.directory)
    restore_to(place, file)
    assert predict("c").changed is False


# --- after an old backup


def test_after_an_old_backup_no_number_and_no_serial_comes_twice(workshop: Workshop) -> None:
    kept = workshop.issue_one("robot-1", key=1)
    take_back(workshop, serial=workshop.issue_one("robot-2", key=2)["serial"])
    old = crl_of(workshop)
    file = back_up(workshop).file
    # Life goes on: certificates, revocations, and CRLs that were published, several within a second.
    since = [workshop.issue_one(f"robot-{number}", key=3) for number in range(10, 15)]
    published = [old]
    for answer in since[:3]:
        take_back(workshop, serial=answer["serial"])
        published.append(crl_of(workshop))
    take_back(workshop, serial=kept["serial"])
    published.append(crl_of(workshop))
    numbers = [crl.number for crl in published]
    assert numbers == sorted(set(numbers))
    serials = {row[0] for row in workshop.sql("SELECT serial FROM certificates")}

    # The machine is gone; a week later the old backup is found.
    place = other_place(workshop)
    place.now += 7 * DAY
    restore_to(place, file)
    # None is signed that would take back what was revoked since.
    assert crl_of(place) == old
    again = [place.issue_one(f"robot-{number}", key=3) for number in range(10, 15)]
    assert all(answer["issued"] for answer in again)
    assert not {answer["serial"] for answer in again} & serials

    # What was issued since the backup is revoked by showing it, and one that was revoked since then once more.
    assert take_back(place, certificate=since[3]["certificate"]) == [since[3]["serial"]]
    # The rest comes from the CRL that is out there.
    latest = crl_of(place, published=published[-1].pem)
    wanted = {entry.serial for entry in published[-1].revoked} | {since[3]["serial"]}
    assert {entry.serial for entry in latest.revoked} == wanted
    assert kept["serial"] in wanted
    assert latest.number > max(numbers)
    # As any client reads it.
    read = x509.load_pem_x509_crl(latest.pem.encode())
    assert {f"{entry.serial_number:x}" for entry in read} == wanted


def test_a_crl_number_rises_although_the_clock_was_set_back(workshop: Workshop) -> None:
    crl_of(workshop)
    take_back(workshop, serial=workshop.issue_one()["serial"])
    file, published = back_up(workshop).file, crl_of(workshop)
    place = other_place(workshop)
    place.now -= DAY
    restore_to(place, file)
    take_back(place, identity="robot-1", reason="key_compromise")
    assert crl_of(place, published=published.pem).number > published.number


# --- a CA that moves


@pytest.mark.parametrize(
    "write",
    [
        lambda shop: shop.issue_one("robot-2"),
        lambda shop: record([{"identity": "r", "name": "h", "outcome": "failed"}], [], store=shop.store, now=shop.now),
        lambda shop: shop.create("second"),
        lambda shop: take_back(shop, identity="robot-1"),
        crl_of,
    ],
    ids=["issue", "record", "authority", "revoke", "crl"],
)
def test_a_frozen_ca_writes_nothing(workshop: Workshop, write: Callable[[Workshop], object]) -> None:
    workshop.issue_one()
    standing(workshop, "frozen", to="ca-2")
    before, rows = files(workshop.store), ledger(workshop)
    with pytest.raises(CAError, match="It is being moved to 'ca-2'") as caught:
        write(workshop)
    assert caught.value.code == "frozen"
    assert (files(workshop.store), ledger(workshop)) == (before, rows)
    assert list(workshop.info("robot-1")["identities"]) == ["robot-1"]
    standing(workshop, "thawed")
    write(workshop)


def test_there_and_back_again(workshop: Workshop) -> None:
    """The old copy is replaced by the one that comes back, since that knows all that the old one does."""
    workshop.issue_one()
    old, new = workshop, other_place(workshop, "new")
    standing(old, "frozen", to="new")
    written = back_up(old)
    done = restore_to(new, written.file)
    assert (done.changed, done.content.manifest.frozen) == (True, True)
    assert new.sql("SELECT name FROM conditions") == [("frozen",)]
    assert (files(old.store), ledger(old)) == (files(new.store), ledger(new))
    # Neither of them writes until the old one has said goodbye.
    for place in (old, new):
        with pytest.raises(CAError, match="being moved"):
            place.issue_one("robot-2")
    standing(old, "moved", to="new")
    standing(new, "thawed")
    assert new.issue_one("robot-2", key=1)["issued"]
    take_back(new, identity="robot-1")
    new.create("late")
    with pytest.raises(CAError, match="It has moved to 'new'"):
        old.issue_one("robot-2")
    with pytest.raises(CAError, match="was not thawed"):
        standing(old, "thawed")

    standing(new, "frozen", to="old")
    back = restore_to(old, back_up(new).file)
    assert (back.changed, back.before) == (True, "frozen")
    standing(new, "moved", to="old")
    standing(old, "thawed")
    assert (files(old.store), ledger(old)) == (files(new.store), ledger(new))
    assert sorted(old.store.names()) == ["fleet", "late"]
    assert old.sql("PRAGMA integrity_check") == [("ok",)]
    assert old.issue_one("robot-2", key=1)["issued"] is False
    assert old.issue_one("robot-3", key=2)["issued"]


def test_an_attempt_that_failed_does_not_stand_in_the_way_of_the_next(workshop: Workshop) -> None:
    old, new = workshop, other_place(workshop, "new")
    standing(old, "frozen", to="new")
    restore_to(new, back_up(old).file)
    standing(old, "thawed")
    old.issue_one()
    standing(old, "frozen", to="new")
    assert restore_to(new, back_up(old).file).before == "frozen"
    assert ledger(new) == ledger(old)


def test_a_frozen_ca_is_not_replaced_by_a_backup_that_knows_less(workshop: Workshop) -> None:
    workshop.issue_one()
    early = back_up(workshop).file
    take_back(workshop, identity="robot-1")
    standing(workshop, "frozen")
    assert "lacks 1 certificates or revocations" in refused(workshop, early)
    standing(workshop, "thawed")
    workshop.issue_one("robot-2", key=1)
    standing(workshop, "frozen")
    assert "lacks 2 certificates or revocations" in refused(workshop, early)


def test_a_reader_of_the_frozen_one_sees_the_old_or_the_new(workshop: Workshop) -> None:
    """An open transaction of a reader neither stops the restore nor breaks."""

    new = other_place(workshop, "new")
    standing(workshop, "frozen", to="new")
    restore_to(new, back_up(workshop).file)
    standing(new, "thawed")
    new.issue_one()
    standing(new, "frozen", to="old")
    reader = sqlite3.connect(workshop.store.ledger, isolation_level=None)
    count = "SELECT count(*) FROM certificates"
    reader.execute("BEGIN")
    assert reader.execute(count).fetchall() == [(2,)]
    restore_to(workshop, back_up(new).file)
    assert reader.execute(count).fetchall() == [(2,)]
    reader.execute("COMMIT")
    assert reader.execute(count).fetchall() == [(3,)]
    reader.close()


def test_states_of_a_move(workshop: Workshop) -> None:
    with pytest.raises(CAError, match="Only a frozen CA can have moved"):
        standing(workshop, "moved", to="x")
    assert standing(workshop, "thawed") == Standing()
    assert workshop.sql("SELECT count(*) FROM acts") == [(0,)]
    assert standing(workshop, "frozen") == Standing("It was frozen by hand.")
    with pytest.raises(CAError, match="was frozen by hand") as caught:
        standing(workshop, "frozen", to="x")
    assert caught.value.code == "frozen"
    standing(workshop, "thawed")
    assert standing(workshop, "frozen", to="x") == Standing("It is being moved to 'x'.")
    assert standing(workshop, "frozen", to="y") == Standing("It is being moved to 'y'.")
    moved = Standing("It has moved to 'y'.", "y")
    assert standing(workshop, "moved", to="y") == standing(workshop, "frozen", to="y") == moved
    assert standing(workshop, "frozen") == moved
    for state in ("frozen", "moved"):
        with pytest.raises(CAError, match="has moved to 'y' already") as caught:
            standing(workshop, state, to="z")
        assert caught.value.code == "moved"
    assert standing(workshop, "thawed", although_moved=True) == Standing()
    assert [row[0] for row in workshop.sql("SELECT act FROM acts ORDER BY id")] == [
        *("frozen", "thawed", "frozen", "frozen", "moved", "thawed"),
    ]


def test_a_restored_backup_that_was_not_frozen_is_in_use(workshop: Workshop) -> None:
    place = other_place(workshop)
    restore_to(place, back_up(workshop).file)
    assert read_standing(place.store) == Standing()
    assert place.issue(request())["certificates"]["robot-1/https"]["issued"]


def test_backups_of_releases_that_wrote_down_what_had_ended(workshop: Workshop) -> None:
    workshop.issue_one("robot-1", lifetime=DAY)
    workshop.issue_one("robot-2", key=1)
    workshop.now += 2 * DAY
    counted = back_up(workshop).manifest.certificates
    assert (counted["issued"], counted["expired"], workshop.states()) == (1, 1, ["issued", "issued"])
    # That clock was fast once, so nothing seemed to be in force.
    workshop.sql("UPDATE certificates SET state = 'expired' WHERE identity != ''")
    make_old(Path(workshop.store.ledger), version=4)
    old_ledger, secret = Path(workshop.store.ledger).read_bytes(), workshop.passphrase().get()
    content = members(back_up(workshop).file, secret)
    manifest = json.loads(content[MANIFEST])
    for name, expired, is_whole in (("old", 2, True), ("cut", 3, False)):
        told = {**manifest, "certificates": {**counted, "issued": 0, "expired": expired}}
        changed = {**content, LEDGER_FILE: old_ledger, MANIFEST: json.dumps(told).encode()}
        file = seal_members(workshop.folder / f"{name}.backup", {**changed}, secret)
        if is_whole:
            place = other_place(workshop, name)
            restore_to(place, file)
            assert place.states() == ["issued", "issued"]
        else:
            with pytest.raises(CAError, match="other certificates"):
                restore_to(other_place(workshop, name), file)
