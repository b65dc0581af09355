# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads to an emulated device, with all the ways in which they go wrong."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Delivered, deliver, remove
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, TestAuthority

from .conftest import Plant


def first_upload(plant: Plant, given: Pair, on_failure: str = "keep") -> Delivered:
    """To a device whose built-in key is pinned."""
    leaf = (given.leaf.fingerprint,)
    return deliver(plant.access(plant.served().spki, leaves=leaf), plant.wish(given, on_failure=on_failure))


def put(plant: Plant, given: Pair) -> None:
    """Bring a pair there that no client would accept."""
    access = plant.access(plant.served().spki)
    assert access.client(access.meet()).upload(plant.wish(given).pair).kind == "accepted"
    assert plant.served().fingerprint == given.leaf.fingerprint
    plant.emulator.forget_log()


def test_first_upload_to_a_pinned_device_and_again_nothing(plant: Plant) -> None:
    built_in, given = plant.served(), plant.pair()
    done = first_upload(plant, given)
    assert done.outcome == "installed"
    assert done.before == built_in
    assert done.after is not None
    assert done.after.fingerprint == given.leaf.fingerprint
    assert done.proof is not None
    assert done.proof["ok"]
    assert plant.requests() == [("POST", True, 201)]
    plant.emulator.forget_log()
    assert deliver(plant.access(), plant.wish(given)).outcome == "unchanged"
    assert plant.requests() == []


def test_renewal_needs_no_pin_once_the_fleets_certificate_is_there(plant: Plant) -> None:
    first_upload(plant, plant.pair())
    again = plant.pair()
    assert deliver(plant.access(), plant.wish(again)).outcome == "installed"
    assert plant.served().fingerprint == again.leaf.fingerprint


def test_repair_of_an_expired_leaf_that_the_ledger_knows(plant: Plant) -> None:
    expired = plant.pair(not_before=-20, not_after=-10)
    put(plant, expired)
    known = plant.known(leaves={expired.leaf.fingerprint: "issued"})
    assert deliver(plant.access(known=known), plant.wish(plant.pair())).outcome == "installed"


def test_an_expired_leaf_that_is_unknown_gets_nothing(plant: Plant) -> None:
    put(plant, plant.pair(not_before=-20, not_after=-10))
    done = deliver(plant.access(known=plant.known()), plant.wish(plant.pair()))
    assert done.outcome == "refused"
    assert plant.requests() == []


def test_repair_of_a_revoked_leaf_that_the_ledger_knows(plant: Plant) -> None:
    expired = plant.pair(not_before=-20, not_after=-10)
    put(plant, expired)
    known = plant.known(leaves={expired.leaf.fingerprint: "revoked"})
    assert deliver(plant.access(known=known), plant.wish(plant.pair())).outcome == "installed"


@pytest.mark.parametrize("not_after", [-10, 3600])
def test_a_key_that_somebody_else_may_have_gets_nothing(plant: Plant, not_after: int) -> None:
    stolen = plant.pair(not_before=-20, not_after=not_after)
    put(plant, stolen)
    known = plant.known(stolen.leaf.spki, leaves={stolen.leaf.fingerprint: "revoked"})
    access = plant.access(known=dataclasses.replace(known, compromised=frozenset({stolen.leaf.spki})))
    done = deliver(access, plant.wish(plant.pair()))
    assert done.outcome == "refused"
    assert "somebody else may have it" in done.said
    assert plant.requests() == []


@pytest.mark.parametrize("not_after", [-10, 3600])
def test_the_machine_that_was_replaced_gets_nothing_unless_it_is_enrolled_anew(plant: Plant, not_after: int) -> None:
    old = plant.pair(not_before=-20, not_after=not_after)
    put(plant, old)
    known = plant.known(leaves={old.leaf.fingerprint: "revoked"})
    known = dataclasses.replace(known, gone=frozenset({old.leaf.fingerprint, old.leaf.spki}))
    done = deliver(plant.access(known=known), plant.wish(plant.pair()))
    assert done.outcome == "refused"
    assert "replaced or decommissioned" in done.said
    assert plant.requests() == []
    anew = dataclasses.replace(known, pins=frozenset({old.leaf.spki}))
    assert deliver(plant.access(known=anew), plant.wish(plant.pair())).outcome == "installed"


def test_an_impostor_gets_neither_login_nor_key(plant: Plant) -> None:
    access = plant.access(plant.served().spki)
    plant.emulator.control("robot-1", "set", "impostor=on")
    done = deliver(access, plant.wish(plant.pair()))
    assert done.outcome == "refused"
    assert "Nothing was sent" in done.said
    assert plant.served().spki in done.said
    assert "enrol.yml" in done.said
    assert plant.requests() == []


def test_a_certificate_of_another_ca_is_a_stranger_too(plant: Plant) -> None:
    theirs = TestAuthority("Theirs").pair(f"IP:{plant.emulator.address('robot-1')}")
    put(plant, theirs)
    assert deliver(plant.access(), plant.wish(plant.pair())).outcome == "refused"
    assert plant.requests() == []


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("shape", ["documented", "nested", "empty", "text"])
def test_wrong_login_is_tried_once_and_said(plant: Plant, status: int, shape: str) -> None:
    plant.emulator.control("robot-1", "set", f"login_status={status}", f"error_body={shape}")
    done = deliver(plant.access(plant.served().spki, password="wrong-Passw0rd"), plant.wish(plant.pair()))
    assert done.outcome == "failed"
    for part in ("refuses the login of user 'operator'", "API 'mir'", str(status), "Correct its username and password"):
        assert part in done.said
    assert ("Wrong user name" in done.said) == (shape in {"documented", "nested"})
    assert "wrong-Passw0rd" not in done.said
    assert plant.requests() == [("POST", True, status)]


@pytest.mark.parametrize("status", [200, 201, 204])
def test_every_accepted_status(plant: Plant, status: int) -> None:
    plant.emulator.control("robot-1", "set", f"upload_status={status}")
    assert first_upload(plant, plant.pair()).outcome == "installed"


def test_409_is_compared_with_what_is_served(plant: Plant) -> None:
    plant.emulator.control("robot-1", "set", "conflict=applied")
    assert first_upload(plant, plant.pair()).outcome == "installed"
    plant.emulator.control("robot-1", "factory")
    plant.emulator.control("robot-1", "set", "conflict=always")
    done = first_upload(plant, plant.pair())
    assert done.outcome == "failed"
    assert "409" in done.said
    assert "former certificate is still served" in done.said


@pytest.mark.parametrize("switches", [["reset=after"], ["upload=error_applied"]])
def test_broken_answers_after_the_upload_took_effect(plant: Plant, switches: list[str]) -> None:
    plant.emulator.control("robot-1", "set", *switches)
    assert first_upload(plant, plant.pair()).outcome == "installed"
    assert len(plant.requests()) == 1


@pytest.mark.parametrize("switches", [["reset=before"], ["upload=error"], ["upload=ignore"]])
def test_uploads_without_effect_are_tried_twice_and_fail(plant: Plant, switches: list[str]) -> None:
    built_in = plant.served()
    plant.emulator.control("robot-1", "set", *switches)
    done = first_upload(plant, plant.pair(), on_failure="remove")
    assert done.outcome == "failed"
    assert done.after == built_in
    assert "former certificate is still served" in done.said
    assert [method for method, _login, _status in plant.requests()] == ["POST", "POST"]


def test_a_new_leaf_that_comes_late_is_waited_for(plant: Plant) -> None:
    plant.emulator.control("robot-1", "set", "delay=0.3")
    access = plant.access(plant.served().spki, wait={"timeout": 20, "interval": 0.05})
    assert deliver(access, plant.wish(plant.pair())).outcome == "installed"
    assert len(plant.requests()) == 1


def test_a_new_leaf_that_does_not_stay_is_no_success(plant: Plant) -> None:
    built_in = plant.served()
    plant.emulator.control("robot-1", "set", "revert=1.0")
    done = deliver(plant.access(built_in.spki), plant.wish(plant.pair(), hold=1.6))
    assert done.outcome == "rolled_back"
    assert done.after == built_in
    assert "former certificate is back" in done.said


@pytest.mark.parametrize(("on_failure", "outcome"), [("keep", "kept"), ("remove", "removed")])
def test_a_pair_that_cannot_be_proved_is_kept_or_removed(plant: Plant, on_failure: str, outcome: str) -> None:
    built_in, wrong_name = plant.served(), plant.authority.pair("DNS:somebody-else.example")
    done = first_upload(plant, wrong_name, on_failure=on_failure)
    assert done.outcome == outcome
    assert done.after is not None
    assert (done.after == built_in) == (on_failure == "remove")
    assert done.proof is not None
    assert (done.proof["leaf"], done.proof["chain"], done.proof["name"]) == (True, True, False)
    methods = [method for method, _login, _status in plant.requests()]
    assert methods == ["POST", "POST"] + ["DELETE"] * (on_failure == "remove")


def test_a_rejected_pair_is_not_sent_again(plant: Plant) -> None:
    one, other = plant.pair(), plant.pair()
    mixed = plant.wish(one)
    object.__setattr__(mixed.pair, "key_pem", other.key)
    done = deliver(plant.access(plant.served().spki), mixed)
    assert done.outcome == "failed"
    assert "The certificate is not valid" in done.said
    assert plant.requests() == [("POST", True, 400)]


def test_a_device_that_is_away_is_absent_and_one_without_https_is_not(plant: Plant) -> None:
    access, wish = plant.access(plant.served().spki), plant.wish(plant.pair())
    plant.emulator.control("robot-1", "set", "https=off")
    done = deliver(access, wish)
    assert (done.outcome, "no HTTPS" in done.said) == ("failed", True)
    plant.emulator.control("robot-1", "set", "power=off")
    assert deliver(access, wish).outcome == "absent"
    assert [login for _method, login, _status in plant.requests()] == [False] * len(plant.requests())


def test_removal_goes_back_to_the_built_in_certificate_once(plant: Plant) -> None:
    built_in = plant.served()
    first_upload(plant, plant.pair())
    done = remove(plant.access())
    assert (done.outcome, done.after) == ("removed", built_in)
    done = remove(plant.access(built_in.spki))
    assert done.outcome == "unchanged"
    assert [status for method, _login, status in plant.requests() if method == "DELETE"] == [204, 404]


def test_removal_from_a_stranger_is_refused(plant: Plant) -> None:
    assert remove(plant.access()).outcome == "refused"
    assert plant.requests() == []


def test_removal_that_has_no_effect_fails(plant: Plant) -> None:
    first_upload(plant, plant.pair())
    plant.emulator.control("robot-1", "set", "delay=30")
    done = remove(plant.access())
    assert done.outcome == "failed"
    assert "after 0.6 s" in done.said


def test_a_users_own_api(plant: Plant) -> None:
    built_in = plant.served("appliance")
    given = plant.pair("appliance")
    access = plant.access(built_in.spki, device="appliance")
    assert deliver(access, plant.wish(given)).outcome == "installed"
    assert plant.served("appliance").fingerprint == given.leaf.fingerprint
    assert plant.requests("appliance") == [("PUT", True, 202)]
    assert remove(plant.access(device="appliance")).outcome == "removed"
    assert remove(plant.access(built_in.spki, device="appliance")).outcome == "unchanged"
    wrong = plant.access(built_in.spki, device="appliance", password="not-it")
    assert "token not accepted" in deliver(wrong, plant.wish(given)).said


def test_an_api_without_remove_cannot_remove(plant: Plant) -> None:
    with pytest.raises(DeviceError, match="does not say how a certificate is removed"):
        remove(plant.access(plant.served().spki, remove=None))


def test_nothing_that_is_said_or_logged_holds_a_secret(plant: Plant) -> None:
    given = plant.pair()
    texts = [str(first_upload(plant, given)), plant.emulator.log_text()]
    for text in texts:
        assert PASSWORD not in text
        assert given.key.splitlines()[1] not in text
