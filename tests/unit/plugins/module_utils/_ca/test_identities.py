# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines are renamed, replaced and decommissioned: what moves, what is revoked, what is forgotten, and that nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca import identities
from ansible_collections.certfleet.tls.plugins.module_utils._ca.acts import DECOMMISSIONED
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.identities import Act, Effect, look, perform
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known, Served
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, parse_certificate

from .workshop import DAY, Workshop, request

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
    for state in ("replaced", "decommissioned", "present"):
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
    do(fleet, "present")
    fleet.issue_one("robot-1", key=3, **names("robot-1"))
    assert len(do(fleet, "decommissioned").revoked) == 1


def test_a_decommissioned_machine_gets_nothing_until_it_is_readmitted(fleet: Workshop) -> None:
    # It has a certificate in force once more, which an older CA would have renewed at night.
    do(fleet, "decommissioned")
    asked = request("robot-1", key=3, **names("robot-1"))
    for _night in range(2):
        fleet.now += DAY
        answers = fleet.issue(asked, request("robot-2", key=2, **names("robot-2")))["certificates"]
        assert answers["robot-1/https"]["error"]["code"] == "decommissioned"
        assert "playbooks/readmit.yml" in answers["robot-1/https"]["error"]["message"]
        assert not answers["robot-2/https"]["issued"]
    assert fleet.sql("SELECT code, count FROM refusals") == [("decommissioned", 2)]
    assert fleet.info("robot-1")["identities"]["robot-1"]["decommissioned"] is True
    assert do(fleet, "present").before == {"decommissioned": True}
    assert not do(fleet, "present").changed
    assert "decommissioned" not in fleet.info("robot-1")["identities"]["robot-1"]
    assert acts(fleet)[-1] == ("readmitted", "robot-1", "", fleet.now)
    assert fleet.issue_one("robot-1", key=3, **names("robot-1"))["issued"]
    do(fleet, "decommissioned")
    assert fleet.issue_one("robot-1", key=3, **names("robot-1"))["error"]["code"] == "decommissioned"


def test_who_is_decommissioned_is_looked_up(workshop: Workshop) -> None:
    plan = str(workshop.sql(f"EXPLAIN QUERY PLAN {DECOMMISSIONED}", "[]"))
    assert "USING INDEX acts_by_identity (identity=?)" in plan
    assert "SCAN acts" not in plan


def test_another_machine_in_the_place_of_a_decommissioned_one(fleet: Workshop) -> None:
    do(fleet, "decommissioned")
    assert do(fleet, "replaced").changed
    assert fleet.issue_one("robot-1", key=3, **names("robot-1"))["issued"]


def test_who_is_decommissioned_is_so_by_every_name(fleet: Workshop) -> None:
    do(fleet, "decommissioned")
    do(fleet, "renamed", to="line-3")
    assert fleet.issue_one("line-3", key=3, **names("line-3"))["error"]["code"] == "decommissioned"
    assert fleet.issue_one("robot-1", key=3, **names("robot-1"))["issued"]
    # A name of which nothing is left is free, also for one that is in use.
    fleet.sql("DELETE FROM certificates WHERE identity = 'line-3'")
    fleet.sql("DELETE FROM outcomes WHERE identity = 'line-3'")
    fleet.sql("DELETE FROM refusals WHERE identity = 'line-3'")
    do(fleet, "renamed", "robot-2", to="line-3")
    assert fleet.issue_one("line-3", key=2, **names("robot-2")).get("issued") is False


@pytest.mark.parametrize("state", ["replaced", "decommissioned"])
def test_no_key_of_the_old_machine_identifies_the_new_one(fleet: Workshop, state: str) -> None:
    ended = fleet.issue_one("robot-1", name="api", key=3, names=["DNS:api.plant.example"], lifetime=DAY)
    fleet.now += 2 * DAY
    do(fleet, state)
    do(fleet, "present")
    served = [leaf_of(row[0]) for row in fleet.sql("SELECT pem FROM certificates WHERE identity = 'robot-1'")]
    assert ended["fingerprint"] in {leaf.fingerprint for leaf in served}
    known = Known.from_ca_info(fleet.info("robot-1"), identity="robot-1", authority="fleet")
    for leaf in served:
        assert not known.recognises(Served(leaf, trusted=True))
        assert not known.recognises(Served(leaf, trusted=False))
    # The very same machine was looked at and enrolled anew.
    pin = {"identity": "robot-1", "spki": served[0].spki, "why": "compared on site"}
    record([], [pin], store=fleet.store, now=fleet.now)
    anew = Known.from_ca_info(fleet.info("robot-1"), identity="robot-1", authority="fleet")
    assert anew.recognises(Served(served[0], trusted=False))
    others = [leaf for leaf in served if leaf.spki != served[0].spki]
    assert others
    assert not any(anew.recognises(Served(leaf, trusted=True)) for leaf in others)
    # What is issued from now on is its own.
    fresh = fleet.issue_one("robot-1", key=2, names=["DNS:robot-1b.plant.example"])
    after = Known.from_ca_info(fleet.info("robot-1"), identity="robot-1", authority="fleet")
    assert after.recognises(Served(leaf_of(fresh["certificate"]), trusted=False))
    assert not do(fleet, "renamed", to="line-3").revoked
    line_3 = Known.from_ca_info(fleet.info("line-3"), identity="line-3", authority="fleet")
    assert not any(line_3.recognises(Served(leaf, trusted=True)) for leaf in others)


def test_a_pin_does_not_heal_a_compromised_key(fleet: Workshop) -> None:
    do(fleet, "replaced", reason="key_compromise")
    leaf = leaf_of(fleet.sql("SELECT pem FROM certificates WHERE identity = 'robot-1'")[0][0])
    record([], [{"identity": "robot-1", "spki": leaf.spki, "why": ""}], store=fleet.store, now=fleet.now)
    known = Known.from_ca_info(fleet.info("robot-1"), identity="robot-1", authority="fleet")
    assert not known.recognises(Served(leaf, trusted=True))
    assert "somebody else may have it" in str(known.suspicion(leaf))


def leaf_of(pem: str) -> Leaf:
    return parse_certificate(pem, where="test")


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
    """Its certificates are revoked with their machine, and nobody else gets their names meanwhile."""
    workshop.issue_one()
    workshop.now += 400 * DAY
    workshop.issue_one("robot-2", key=1)
    workshop.now -= 400 * DAY
    act = Act.from_options({"state": "decommissioned", "identity": "robot-1"})
    assert len(look(act, store=workshop.store, now=workshop.now).revoked) == 1
    workshop.issue_one("robot-3", key=2)
    assert workshop.states() == ["issued", "issued", "issued"]
    taken = workshop.issue_one("robot-4", key=3, names=["DNS:robot-1.plant.example"])
    assert taken["error"]["code"] == "name_held"


@pytest.mark.parametrize("state", ["replaced", "decommissioned"])
def test_a_stolen_key_is_no_good_under_another_name_either(workshop: Workshop, state: str) -> None:
    own = workshop.issue_one()
    shared = workshop.issue_one("robot-2", **names("robot-2"))
    workshop.issue_one("robot-3", key=1, **names("robot-3"))
    done = do(workshop, state, reason="key_compromise")
    assert [item["serial"] for item in done.revoked.values()] == [own["serial"], shared["serial"]]
    assert [item["identity"] for item in done.revoked.values()] == ["robot-1", "robot-2"]
    assert workshop.states() == ["revoked", "revoked", "issued"]
    assert ("revoked", "robot-2", workshop.now) in [(act, who, at) for act, who, _said, at in acts(workshop)]
    assert not do(workshop, state, reason="key_compromise").changed
    # What robot-2 is otherwise stays: it gets a new key.
    assert workshop.issue_one("robot-2", key=2, **names("robot-2"))["issued"]
