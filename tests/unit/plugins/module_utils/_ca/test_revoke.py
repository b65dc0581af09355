# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is revoked when somebody says serial, identity or certificate, and what the ledger and the next runs make of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import refresh
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger import Ledger
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revocation import revoke_entries
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revoke import Effect, Target, look, revoke
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import parse_crl
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known
from ansible_collections.certfleet.tls.plugins.module_utils._x509.revocation_reasons import REASONS

from .workshop import DAY, NOW, Workshop


def do(workshop: Workshop, **options: Any) -> Effect:
    return revoke(Target.from_options(options), store=workshop.store, now=workshop.now)


def serials(effect: Effect) -> list[str]:
    return [entry.serial for entry in effect.revoked]


def lost(workshop: Workshop, tmp_path: Path, *identities: str, **changes: Any) -> list[dict[str, Any]]:
    """Certificates that were issued after the backup which is restored now."""
    backup = tmp_path / "backup"
    shutil.copytree(workshop.store.directory, backup)
    answers = [workshop.issue_one(identity, names=[f"DNS:{identity}.example"], **changes) for identity in identities]
    shutil.rmtree(workshop.store.directory)
    shutil.copytree(backup, workshop.store.directory)
    return answers


@pytest.mark.parametrize("form", ["{}", "0x{}", "00{}"])
def test_by_serial(workshop: Workshop, form: str) -> None:
    serial = workshop.issue_one()["serial"]
    assert serials(do(workshop, serial=form.format(serial.upper()), reason="superseded")) == [serial]
    kept = workshop.sql("SELECT state, revoked_at, revocation_reason FROM certificates WHERE identity != ''")
    assert kept == [("revoked", NOW, "superseded")]
    assert workshop.sql("SELECT at, act, identity, said FROM acts WHERE identity != ''") == [
        (NOW, "revoked", "robot-1", f"https of fleet, serial {serial} (superseded)")
    ]


def test_by_serial_with_colons(workshop: Workshop) -> None:
    serial = workshop.issue_one()["serial"]
    colons = ":".join(serial[at : at + 2] for at in range(0, len(serial), 2))
    assert serials(do(workshop, serial=colons)) == [serial]


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_reach_whoever_judges_the_leaf(workshop: Workshop, reason: str) -> None:
    item = workshop.issue_one()
    do(workshop, serial=item["serial"], reason=reason)
    told = workshop.info("robot-1")
    leaf = told["identities"]["robot-1"]["leaves"][0]
    assert (leaf["state"], leaf["revocation_reason"]) == ("revoked", reason)
    known = Known.from_ca_info(told, identity="robot-1", authority="fleet")
    assert known.compromised == (
        {leaf["fingerprint"], leaf["spki"]} if reason in ("key_compromise", "ca_compromise") else set()
    )


def test_by_identity_all_that_have_not_ended(workshop: Workshop) -> None:
    short = workshop.issue_one(lifetime=DAY)
    workshop.now += 2 * DAY
    first = workshop.issue_one(key=1)
    second = workshop.issue_one(key=2)
    workshop.install(second)
    api = workshop.issue_one(name="api", names=["DNS:robot-1.plant.example"])
    other = workshop.issue_one("robot-2", names=["DNS:robot-2.plant.example"])
    assert serials(do(workshop, identity="robot-1")) == [first["serial"], second["serial"], api["serial"]]
    states = dict(workshop.sql("SELECT serial, state FROM certificates WHERE identity != ''"))
    assert states[other["serial"]] == "issued"
    assert states[short["serial"]] == "superseded"


def test_by_identity_and_name(workshop: Workshop) -> None:
    workshop.issue_one()
    api = workshop.issue_one(name="api")
    assert serials(do(workshop, identity="robot-1", name="api")) == [api["serial"]]


def test_after_a_compromise_ended_and_revoked_ones_identify_nobody_either(workshop: Workshop) -> None:
    ended = workshop.issue_one(lifetime=DAY)
    workshop.now += 2 * DAY
    first, second = workshop.issue_one(key=1), workshop.issue_one(key=2)
    do(workshop, serial=first["serial"], reason="superseded")
    workshop.now += 60
    done = do(workshop, identity="robot-1", reason="key_compromise")
    assert serials(done) == [ended["serial"], first["serial"], second["serial"]]
    kept = workshop.sql("SELECT revoked_at, revocation_reason FROM certificates WHERE identity != '' ORDER BY id")
    # When it was revoked first stays.
    assert kept == [
        (workshop.now, "key_compromise"),
        (workshop.now - 60, "key_compromise"),
        (workshop.now, "key_compromise"),
    ]


def test_twice_changes_nothing_and_is_told(workshop: Workshop) -> None:
    item = workshop.issue_one()
    do(workshop, serial=item["serial"], reason="key_compromise")
    workshop.now += 5
    for options in ({"serial": item["serial"]}, {"identity": "robot-1", "reason": "key_compromise"}):
        again = do(workshop, **options)
        assert ([entry.serial for entry in again.already], again.revoked) == ([item["serial"]], [])
    assert workshop.sql("SELECT revoked_at, revocation_reason FROM certificates WHERE identity != ''") == [
        (NOW, "key_compromise")
    ]
    assert workshop.sql("SELECT count(*) FROM acts WHERE act = 'revoked'") == [(1,)]


def test_looking_changes_nothing(workshop: Workshop) -> None:
    item = workshop.issue_one()
    target = Target.from_options({"serial": item["serial"]})
    assert serials(look(target, store=workshop.store, now=NOW)) == [item["serial"]]
    assert workshop.states() == ["issued"]


def test_revoked_is_issued_anew_for_the_same_key_and_names(workshop: Workshop) -> None:
    item = workshop.issue_one()
    do(workshop, serial=item["serial"], reason="superseded")
    again = workshop.issue_one()
    assert (again["issued"], again["serial"] == item["serial"]) == (True, False)


@pytest.mark.parametrize("reason", REASONS)
def test_key_that_somebody_else_may_have_gets_no_other_certificate(workshop: Workshop, reason: str) -> None:
    item = workshop.issue_one()
    do(workshop, serial=item["serial"], reason=reason)
    for identity in ("robot-1", "robot-2"):
        again = workshop.issue_one(identity, names=[f"DNS:{identity}.example"])
        if reason in ("key_compromise", "ca_compromise"):
            assert again["error"]["code"] == "compromised_key"
        else:
            assert again["issued"] is True
    assert workshop.issue_one(key=1)["issued"] is True


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"serial": "abcdef"}, "not_found"),
        ({"serial": "xyz"}, "bad_request"),
        ({"serial": "", "identity": "", "certificate": ""}, "bad_request"),
        ({"identity": "nobody"}, "not_found"),
        ({"identity": "robot-1", "name": "other"}, "not_found"),
        ({"certificate": "rubbish"}, "bad_request"),
        ({"identity": "robot-1", "reason": "on_hold"}, "bad_request"),
    ],
)
def test_what_is_not_there_or_makes_no_sense(workshop: Workshop, options: dict[str, str], code: str) -> None:
    workshop.issue_one()
    with pytest.raises(CAError, match="Nothing was") as caught:
        do(workshop, **options)
    assert caught.value.code == code
    assert workshop.states() == ["issued"]


def test_serial_of_another_machine_is_not_revoked(workshop: Workshop) -> None:
    item = workshop.issue_one()
    with pytest.raises(CAError, match="Nothing was revoked") as caught:
        do(workshop, serial=item["serial"], identity="robot-2")
    assert caught.value.code == "mismatch"
    assert workshop.states() == ["issued"]


def test_own_certificates_are_not_revoked_here(workshop: Workshop) -> None:
    serial = workshop.sql("SELECT serial FROM certificates WHERE name = 'issuing'")[0][0]
    with pytest.raises(CAError, match="'issuing' of authority 'fleet'") as caught:
        do(workshop, serial=serial)
    assert caught.value.code == "own_certificate"


def test_frozen_ca_revokes_nothing(workshop: Workshop) -> None:
    workshop.issue_one()
    workshop.sql("INSERT INTO conditions VALUES ('frozen', 'moved.', 1)")
    with pytest.raises(CAError) as caught:
        do(workshop, identity="robot-1")
    assert caught.value.code == "frozen"
    assert workshop.states() == ["issued"]


@pytest.mark.parametrize("known_by", ["key", "names"])
def test_lost_with_an_older_backup_is_entered_for_whom_it_belongs_to(
    workshop: Workshop, tmp_path: Path, known_by: str
) -> None:
    workshop.issue_one("robot-3", names=["DNS:robot-3.example"], lifetime=40 * DAY)
    (item,) = lost(workshop, tmp_path, "robot-3", key=0 if known_by == "key" else 1)
    assert serials(do(workshop, certificate=item["certificate"], reason="key_compromise")) == [item["serial"]]
    leaf = workshop.info("robot-3")["identities"]["robot-3"]["leaves"][0]
    assert (leaf["fingerprint"], leaf["name"], leaf["state"]) == (item["fingerprint"], "https", "revoked")
    refresh(workshop.store, "fleet", passphrase=workshop.passphrase(), now=workshop.now)
    crl = parse_crl(workshop.store.read_text("fleet", "crl.pem"))
    assert [entry.serial for entry in crl.revoked] == [item["serial"]]
    assert do(workshop, certificate=item["certificate"], reason="key_compromise").revoked == []


def test_lost_and_nobodys(workshop: Workshop, tmp_path: Path) -> None:
    one, two = lost(workshop, tmp_path, "robot-3", "robot-4")
    done = do(workshop, certificate=one["certificate"])
    assert ([entry.identity for entry in done.revoked], len(done.warnings)) == (["?"], 1)
    given = do(workshop, certificate=two["certificate"], identity="robot-4", name="https")
    assert ([entry.identity for entry in given.revoked], given.warnings) == (["robot-4"], [])


def test_lost_though_its_serial_was_reserved(workshop: Workshop) -> None:
    item = workshop.issue_one()
    workshop.sql(
        "UPDATE certificates SET state = 'reserved', fingerprint = NULL, pem = NULL WHERE serial = ?", item["serial"]
    )
    with pytest.raises(CAError) as caught:
        do(workshop, serial=item["serial"])
    assert caught.value.code == "not_found"
    done = do(workshop, certificate=item["certificate"], reason="superseded")
    assert [(entry.identity, entry.name, entry.serial) for entry in done.revoked] == [
        ("robot-1", "https", item["serial"])
    ]
    assert workshop.sql("SELECT state, pem FROM certificates WHERE identity != ''") == [
        ("revoked", item["certificate"])
    ]


def test_certificate_of_another_ca_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    stranger = Workshop(tmp_path / "stranger")
    stranger.create()
    with pytest.raises(CAError, match="No authority here has signed") as caught:
        do(workshop, certificate=stranger.issue_one()["certificate"])
    assert caught.value.code == "foreign_certificate"
    assert workshop.states() == []


def test_reserved_serials_are_left_alone(workshop: Workshop) -> None:
    workshop.issue_one()
    workshop.sql("UPDATE certificates SET state = 'reserved' WHERE identity = 'robot-1'")
    with Ledger.open(workshop.store.ledger) as ledger, ledger.transaction():
        (number,) = (row[0] for row in ledger.run("SELECT id FROM certificates WHERE identity = 'robot-1'"))
        assert revoke_entries(ledger, [number, 4711], reason="superseded", now=NOW) == ()


def test_by_identity_a_compromised_key_is_so_under_every_name(workshop: Workshop) -> None:
    own = workshop.issue_one()
    shared = workshop.issue_one("robot-2", names=["DNS:robot-2.example"])
    other = workshop.issue_one("robot-3", key=1, names=["DNS:robot-3.example"])
    options = {"identity": "robot-1", "reason": "key_compromise"}
    foreseen = look(Target.from_options(options), store=workshop.store, now=workshop.now)
    assert serials(foreseen) == serials(do(workshop, **options)) == [own["serial"], shared["serial"]]
    assert do(workshop, **options).revoked == []
    assert workshop.states() == ["revoked", "revoked", "issued"]
    assert other["issued"]
    acts = workshop.sql("SELECT identity FROM acts WHERE act = 'revoked' ORDER BY id")
    assert acts == [("robot-1",), ("robot-2",)]


def test_a_lost_certificate_takes_the_others_of_its_key_along(workshop: Workshop, tmp_path: Path) -> None:
    kept = workshop.issue_one()
    (item,) = lost(workshop, tmp_path, "robot-3")
    options = {"certificate": item["certificate"], "reason": "key_compromise"}
    foreseen = look(Target.from_options(options), store=workshop.store, now=workshop.now)
    assert serials(foreseen) == [item["serial"], kept["serial"]]
    assert serials(do(workshop, **options)) == [item["serial"], kept["serial"]]
    assert do(workshop, **options).revoked == []
    assert workshop.states() == ["revoked", "revoked"]


def test_what_an_older_release_left_of_a_compromised_key_is_neither_handed_out_nor_spared(workshop: Workshop) -> None:
    first, second = workshop.issue_one(), workshop.issue_one("robot-2", names=["DNS:robot-2.example"])
    do(workshop, serial=first["serial"], reason="key_compromise")
    workshop.sql(
        "UPDATE certificates SET state = 'issued', revoked_at = NULL, revocation_reason = NULL WHERE serial = ?",
        second["serial"],
    )
    again = workshop.issue_one("robot-2", names=["DNS:robot-2.example"])
    assert again["error"]["code"] == "compromised_key"
    assert serials(do(workshop, serial=first["serial"], reason="key_compromise")) == [second["serial"]]


def test_all_certificates_of_a_compromised_key_are_revoked(workshop: Workshop) -> None:
    """A renewal may have kept the key: whoever has it has both."""
    old = workshop.issue_one()
    workshop.now += 80 * DAY
    new, other = workshop.issue_one(), workshop.issue_one("robot-2", key=1)
    assert serials(do(workshop, serial=old["serial"], reason="superseded")) == [old["serial"]]
    assert serials(do(workshop, serial=old["serial"], reason="key_compromise")) == [old["serial"], new["serial"]]
    assert serials(do(workshop, serial=new["serial"], reason="key_compromise")) == []
    assert workshop.states() == ["revoked", "revoked", "issued"]
    assert other["issued"]
