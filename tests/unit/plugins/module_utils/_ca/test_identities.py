# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines are renamed, replaced and decommissioned: what moves, what is revoked, what is forgotten, and that nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca import identities
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.identities import Act, Effect, look, perform
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record

from .workshop import DAY, Workshop

PIN = "ab" * 32


def names(identity: str) -> dict[str, Any]:
    return {"common_name": identity, "names": [f"DNS:{identity}.plant.example"]}


@pytest.fixture
def fleet(workshop: Workshop) -> Workshop:
    """robot-1 with a leaf in service, a newer one, a pin, a failure and a refusal; robot-2 with a leaf and a pin."""
    old = workshop.issue_one("robot-1", **names("robot-1"))
    workshop.install(old)
    workshop.now += DAY
    workshop.issue_one("robot-1", key=1, **names("robot-1"))
    workshop.issue_one("robot-2", key=2, **names("robot-2"))
    failure = {"identity": "robot-1", "name": "https", "outcome": "failed", "said": "it did not start"}
    pins = [{"identity": robot, "spki": PIN, "why": "seen"} for robot in ("robot-1", "robot-2")]
    record([failure], pins, store=workshop.store, now=workshop.now)
    workshop.sql("INSERT INTO refusals VALUES ('robot-1', 'https', 'bad_names', 'no', 1, 1, 1)")
    for robot in ("robot-1", "robot-2"):
        name = names(robot)["names"][0]
        workshop.sql(
            "INSERT OR IGNORE INTO holders (authority, name, identity, shared) VALUES ('fleet', ?, ?, 0)", name, robot
        )
    workshop.now += DAY
    return workshop


def do(workshop: Workshop, state: str, identity: str = "robot-1", **options: Any) -> Effect:
    """The prediction must say what is then done."""
    act = Act.from_options({"state": state, "identity": identity, **options})
    before = everything(workshop)
    predicted = look(act, store=workshop.store, now=workshop.now)
    assert everything(workshop) == before
    done = perform(act, store=workshop.store, now=workshop.now)
    assert done == predicted
    assert done.changed == (everything(workshop) != before)
    return done


def everything(workshop: Workshop) -> list[list[tuple[Any, ...]]]:
    statements = [*(sql.replace("count(*)", "*").partition(" WHERE ")[0] for _what, sql in identities._TRACES)]
    return [workshop.sql(statement) for statement in (*statements, "SELECT * FROM acts")]


def traces(workshop: Workshop, identity: str) -> dict[str, int]:
    return {what: workshop.sql(sql, identity)[0][0] for what, sql in identities._TRACES}


def acts(workshop: Workshop) -> list[tuple[Any, ...]]:
    return workshop.sql("SELECT act, identity, said, at FROM acts ORDER BY id")


def test_renamed_moves_all_that_the_ledger_knows(fleet: Workshop) -> None:
    before, other = traces(fleet, "robot-1"), traces(fleet, "robot-2")
    assert all(before.values())
    told = fleet.info("robot-1")["identities"]["robot-1"]
    effect = do(fleet, "renamed", to="line-3")
    assert (effect.before["identity"], effect.after["identity"]) == ("robot-1", "line-3")
    assert not any(traces(fleet, "robot-1").values())
    assert (traces(fleet, "line-3"), traces(fleet, "robot-2")) == (before, other)
    assert fleet.info("robot-1", "line-3")["identities"] == {"line-3": told}
    assert acts(fleet) == [("renamed", "robot-1", "to line-3", fleet.now)]
    assert fleet.states() == ["issued"] * 3
    assert not do(fleet, "renamed", to="line-3").changed
    assert len(acts(fleet)) == 1


def test_renamed_there_and_back(fleet: Workshop) -> None:
    before = fleet.info("robot-1")["identities"]
    do(fleet, "renamed", to="line-3")
    do(fleet, "renamed", "line-3", to="robot-1")
    assert fleet.info("robot-1", "line-3")["identities"] == before
    assert do(fleet, "renamed", to="line-3").changed


def test_an_earlier_name_of_one_that_was_renamed_again_is_a_slip(fleet: Workshop) -> None:
    do(fleet, "renamed", to="line-3")
    do(fleet, "renamed", "line-3", to="line-4")
    refused(fleet, "unknown_identity", state="renamed", identity="robot-1", to="line-3")


def test_a_name_that_is_taken_is_refused(fleet: Workshop) -> None:
    refused(fleet, "identity_exists", state="renamed", identity="robot-1", to="robot-2")
    # Also where nothing but its history is left: the old machine's keys would identify the other one.
    do(fleet, "decommissioned", "robot-2")
    refused(fleet, "identity_exists", state="renamed", identity="robot-1", to="robot-2")


def test_a_machine_that_nobody_knows_is_a_slip(fleet: Workshop) -> None:
    for state in ("replaced", "decommissioned"):
        refused(fleet, "unknown_identity", state=state, identity="robot-l")
    refused(fleet, "unknown_identity", state="renamed", identity="robot-l", to="line-3")
    do(fleet, "renamed", to="line-3")
    refused(fleet, "unknown_identity", state="renamed", identity="robot-1", to="line-4")
    refused(fleet, "unknown_identity", state="replaced", identity="robot-1")


@pytest.mark.parametrize("identity", ["", "robot 1", "robot/1", "x" * 254, "robot\n"])
def test_what_is_no_identity(fleet: Workshop, identity: str) -> None:
    refused(fleet, "bad_request", state="renamed", identity="robot-1", to=identity)
    refused(fleet, "bad_request", state="replaced", identity=identity)


def test_renaming_to_itself_and_reasons_that_are_none(fleet: Workshop) -> None:
    refused(fleet, "bad_request", state="renamed", identity="robot-1", to="robot-1")
    refused(fleet, "bad_request", state="replaced", identity="robot-1", reason="remove_from_crl")


def refused(workshop: Workshop, code: str, **options: Any) -> None:
    before = everything(workshop)
    for do_it in (look, perform):
        with pytest.raises(CAError) as caught:
            do_it(Act.from_options(options), store=workshop.store, now=workshop.now)
        assert caught.value.code == code
        assert "Nothing was changed" in str(caught.value)
    assert everything(workshop) == before


def test_replaced_revokes_and_forgets_but_keeps_the_name_and_others(fleet: Workshop) -> None:
    other = fleet.info("robot-2")["identities"]
    effect = do(fleet, "replaced")
    assert [item["name"] for item in effect.revoked.values()] == ["https", "https"]
    assert (effect.before["pins"], effect.after["pins"]) == (1, 0)
    assert fleet.states() == ["revoked", "revoked", "issued"]
    rows = fleet.sql("SELECT DISTINCT revocation_reason, revoked_at FROM certificates WHERE state = 'revoked'")
    assert rows == [("superseded", fleet.now)]
    known = fleet.info("robot-1")["identities"]["robot-1"]
    assert (known["pins"], "failures" in known) == ([], False)
    assert traces(fleet, "robot-1") == {**traces(fleet, "robot-1"), "pins": 0, "failures": 0, "refusals": 0}
    assert traces(fleet, "robot-1")["outcomes"] == 2
    assert fleet.info("robot-2")["identities"] == other
    assert acts(fleet) == [("replaced", "robot-1", "2 certificates revoked (superseded), 1 pins removed", fleet.now)]
    assert not do(fleet, "replaced").changed
    # The new machine gets its own.
    assert fleet.issue_one("robot-1", key=3, **names("robot-1"))["issued"]


def test_decommissioned_frees_the_names(fleet: Workshop) -> None:
    effect = do(fleet, "decommissioned")
    assert "DNS:robot-1.plant.example" in effect.before["names"]
    assert effect.after["names"] == []
    assert traces(fleet, "robot-1")["names"] == 0
    rows = fleet.sql("SELECT DISTINCT revocation_reason FROM certificates WHERE state = 'revoked'")
    assert rows == [("cessation_of_operation",)]
    assert not do(fleet, "decommissioned").changed
    taken = fleet.issue_one("robot-3", key=3, **names("robot-1"))
    assert taken.get("issued"), taken


def test_a_machine_that_came_back_can_be_decommissioned_again(fleet: Workshop) -> None:
    do(fleet, "decommissioned")
    fleet.now += DAY
    fleet.issue_one("robot-1", key=3, **names("robot-1"))
    assert len(do(fleet, "decommissioned").revoked) == 1


def test_what_has_ended_is_not_revoked_but_needs_no_care_after(fleet: Workshop) -> None:
    fleet.now += 100 * DAY
    effect = do(fleet, "decommissioned")
    assert (effect.revoked, effect.changed) == ({}, True)
    assert fleet.states() == ["issued"] * 3  # a reader says expired
    assert not do(fleet, "decommissioned").changed


def test_a_superseded_leaf_is_still_good_for_others_and_is_revoked_too(fleet: Workshop) -> None:
    newest = fleet.sql("SELECT fingerprint FROM certificates WHERE identity = 'robot-1' ORDER BY id DESC LIMIT 1")[0][0]
    fleet.install({"fingerprint": newest})
    assert fleet.states()[:2] == ["superseded", "issued"]
    assert len(do(fleet, "replaced").revoked) == 2


@pytest.mark.parametrize("reason", ["key_compromise", "ca_compromise"])
def test_a_compromised_key_identifies_nobody_whatever_became_of_its_leaf(fleet: Workshop, reason: str) -> None:
    do(fleet, "replaced")
    fleet.now += 100 * DAY
    fleet.issue_one("robot-1", key=3, **names("robot-1"))
    assert len(do(fleet, "replaced", reason=reason).revoked) == 3
    rows = fleet.sql("SELECT DISTINCT revocation_reason FROM certificates WHERE identity = 'robot-1'")
    assert rows == [(reason,)]
    assert not do(fleet, "replaced", reason="key_compromise").changed


def test_a_serial_that_was_never_signed_stays_reserved(fleet: Workshop) -> None:
    fleet.sql("UPDATE certificates SET state = 'reserved', fingerprint = NULL, pem = NULL WHERE identity = 'robot-2'")
    do(fleet, "decommissioned", "robot-2", reason="key_compromise")
    assert fleet.states()[-1] == "reserved"


def test_all_or_nothing(fleet: Workshop) -> None:
    before = everything(fleet)
    fleet.sql("ALTER TABLE acts RENAME TO elsewhere")
    for options in ({"state": "decommissioned"}, {"state": "renamed", "to": "line-3"}):
        with pytest.raises(CAError):
            perform(Act.from_options({"identity": "robot-1", **options}), store=fleet.store, now=fleet.now)
    fleet.sql("ALTER TABLE elsewhere RENAME TO acts")
    assert everything(fleet) == before


def test_a_frozen_ca_does_none_of_it(fleet: Workshop) -> None:
    fleet.sql("INSERT INTO conditions (name, said, at) VALUES ('frozen', 'It has moved.', 1)")
    with pytest.raises(CAError, match="frozen"):
        perform(Act("replaced", "robot-1", reason="superseded"), store=fleet.store, now=fleet.now)
    assert fleet.states() == ["issued"] * 3


def test_a_clock_that_was_fast_once_hides_no_certificate(workshop: Workshop) -> None:
    """Certificates that were taken for expired are revoked with their machine, and nobody else gets their names."""
    workshop.issue_one()
    workshop.now += 400 * DAY
    workshop.issue_one("robot-2", key=1)
    workshop.now -= 400 * DAY
    assert workshop.states() == ["expired", "issued"]
    act = Act.from_options({"state": "decommissioned", "identity": "robot-1"})
    assert len(look(act, store=workshop.store, now=workshop.now).revoked) == 1
    workshop.issue_one("robot-3", key=2)
    assert workshop.states() == ["issued", "issued", "issued"]
    taken = workshop.issue_one("robot-4", key=3, names=["DNS:robot-1.plant.example"])
    assert taken["error"]["code"] == "name_held"
