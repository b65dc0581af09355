# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The issuing CA's own life and limits: reissued under its key in time, and never so that leaves in force would fail."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.authority import look
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.constraints import Constraints, constraints_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import x509
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, parse_certificate

from .workshop import DAY, NOW, Workshop, request, wish

END = NOW + 1825 * DAY  # of the issuing CA that workshop.create() makes
PLANT: dict[str, Any] = {"domains": ["plant.example"], "networks": ["198.18.0.0/15"]}


def issuing(workshop: Workshop) -> Leaf:
    return parse_certificate(workshop.store.read_text("fleet", "issuing.pem"))


def openssl_says(workshop: Workshop, leaf: str, *, at: int) -> str:
    """What OpenSSL says to this leaf under the chain as it is now; empty when it accepts it."""
    (workshop.folder / "leaf.pem").write_text(leaf)
    command = ["openssl", "verify", "-x509_strict", "-attime", str(at), "-no-CApath", "-no-CAstore"]
    where = [workshop.store.path("fleet", file) for file in ("root.pem", "issuing.pem")]
    files = ["-CAfile", where[0], "-untrusted", where[1], str(workshop.folder / "leaf.pem")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    return done.stderr


def own_states(workshop: Workshop) -> list[str]:
    return [row[0] for row in workshop.sql("SELECT state FROM certificates WHERE name = 'issuing' ORDER BY id")]


def test_renewed_once_less_than_the_longest_life_is_left(workshop: Workshop) -> None:
    old = issuing(workshop)
    workshop.now = END - 90 * DAY
    assert workshop.create().due == []
    workshop.now += 1
    found = workshop.create()
    assert found.due == [
        "reissue the issuing CA of authority 'fleet' under its key: it ends 2032-01-14T08:00:00Z, a leaf may live 90 days"
    ]
    new = issuing(workshop)
    assert (new.spki, new.subject, new.subject_key_id) == (old.spki, old.subject, old.subject_key_id)
    assert (new.not_after, new.serial != old.serial) == (workshop.now + 1825 * DAY, True)
    assert found.leaves is not None
    assert found.leaves[1] == new
    assert own_states(workshop) == ["superseded", "issued"]
    assert workshop.sql("SELECT act FROM acts") == [("renewed",)]
    assert (workshop.create().due, workshop.create().warnings) == ([], [])
    leaf = workshop.issue_one()
    assert leaf["notes"] == []
    assert openssl_says(workshop, leaf["certificate"], at=workshop.now + 89 * DAY) == ""


def test_leaves_from_before_a_renewal_stay_valid(workshop: Workshop) -> None:
    workshop.now = END - 100 * DAY
    leaf = workshop.issue_one()["certificate"]
    workshop.now = END - 80 * DAY
    assert workshop.create().due != []
    assert openssl_says(workshop, leaf, at=workshop.now + DAY) == ""


@pytest.mark.parametrize(
    ("options", "asked", "life"),
    [
        ({}, 400, 400),
        ({}, 30, 90),
        ({"profiles": {"long": {"usages": ["serverAuth"], "max_lifetime": "200d"}}}, 30, 200),
        ({"issuing": {"lifetime": "100d"}}, 90, 50),
    ],
)
def test_what_the_longest_life_is(empty: Workshop, options: dict[str, Any], asked: int, life: int) -> None:
    made = empty.create(**options).leaves
    assert made is not None
    empty.now = made[1].not_after - life * DAY - 3600
    empty.issue_one(lifetime=asked * DAY)
    assert empty.create(**options).due == []
    # Half of its own life includes half of the hour that it is backdated.
    empty.now += 3600 + (1801 if life == 50 else 1)
    assert len(empty.create(**options).due) == 1


def test_years_of_days_past_the_end_of_the_issuing_ca(workshop: Workshop) -> None:
    renewals = []
    for day in range(0, 3640, 5):
        workshop.now = NOW + day * DAY
        if workshop.create().due:
            renewals.append(day)
        assert issuing(workshop).not_after > workshop.now
    # Less than 90 days before the end each time; the second reaches to the root's end, after which nothing can be gained.
    assert renewals == [1740, 3480]
    assert issuing(workshop).not_after == NOW + 3650 * DAY


def test_a_root_that_ends_is_said_and_nothing_is_done(workshop: Workshop) -> None:
    for day in (1740, 3480):
        workshop.now = NOW + day * DAY
        workshop.create()
    before = issuing(workshop)
    workshop.now = NOW + 3600 * DAY
    found = workshop.create()
    assert found.due == []
    assert "its root ends (2037-01-12T08:00:00Z), so that renewing its issuing CA gains nothing" in found.warnings[0]
    assert issuing(workshop) == before
    workshop.now = NOW + 3651 * DAY
    assert "its root has ended, nothing below it is valid any more" in workshop.create(**PLANT).warnings[0]
    assert issuing(workshop) == before


def test_under_a_root_that_has_ended_nothing_is_renewed(workshop: Workshop) -> None:
    before = issuing(workshop)
    workshop.now = NOW + 3651 * DAY
    found = workshop.create()
    assert (found.due, issuing(workshop)) == ([], before)
    assert "its root has ended, nothing below it is valid any more" in found.warnings[0]


def test_an_issuing_ca_that_has_expired_recovers(workshop: Workshop) -> None:
    workshop.now = END + 10 * DAY
    assert workshop.issue_one()["error"]["code"] == "issuer_expired"
    assert "it has ended 2032-01-14T08:00:00Z" in workshop.create().due[0]
    answer = workshop.issue_one()
    assert openssl_says(workshop, answer["certificate"], at=workshop.now + DAY) == ""


def test_limits_reissue_under_the_same_key_and_leaves_stay_valid(workshop: Workshop) -> None:
    leaf = workshop.issue_one()["certificate"]
    old = issuing(workshop)
    found = workshop.create(**PLANT)
    assert found.due == [
        "reissue the issuing CA of authority 'fleet' under its key: its limits change from no limits to plant.example, 198.18.0.0/15",
        "change what authority 'fleet' signs: domains, networks",
    ]
    assert constraints_of(issuing(workshop).pem) == Constraints(("plant.example",), ("198.18.0.0/15",))
    assert issuing(workshop).spki == old.spki
    assert openssl_says(workshop, leaf, at=NOW + DAY) == ""
    assert workshop.create(**PLANT).due == []
    # A new network, then no limits any more.
    wider = {**PLANT, "networks": ["198.18.0.0/15", "2001:2::/48"]}
    assert "to plant.example, 198.18.0.0/15, 2001:2::/48" in workshop.create(**wider).due[0]
    assert openssl_says(workshop, leaf, at=NOW + DAY) == ""
    assert "to no limits" in workshop.create().due[0]
    assert constraints_of(issuing(workshop).pem) is None
    assert own_states(workshop) == ["superseded", "superseded", "superseded", "issued"]


def test_a_clock_that_was_fast_once_hides_no_leaf_from_narrowing(workshop: Workshop) -> None:
    workshop.issue_one("robot-2", names=["DNS:robot-2.other.example"], common_name=None)
    workshop.now += 400 * DAY
    workshop.issue_one("robot-1", key=1)
    workshop.now -= 400 * DAY
    with pytest.raises(CAError, match=r"robot-2/https has DNS:robot-2\.other\.example") as refused:
        workshop.create(**PLANT)
    assert refused.value.code == "narrowing"


def test_narrowing_below_what_is_in_force_is_refused_by_name(workshop: Workshop) -> None:
    workshop.issue_one("robot-1")
    workshop.issue_one("robot-2", key=1, names=["DNS:robot-2.other.example"], common_name=None)
    before = issuing(workshop)
    with pytest.raises(CAError, match=r"robot-2/https has DNS:robot-2\.other\.example") as refused:
        workshop.create(**PLANT)
    assert refused.value.code == "narrowing"
    assert "robot-1/https" not in str(refused.value)
    assert issuing(workshop) == before
    assert not Path(workshop.store.path("fleet", "policy.json")).exists()
    workshop.sql("UPDATE certificates SET state = 'revoked' WHERE identity = 'robot-2'")
    assert len(workshop.create(**PLANT).due) == 2


def test_many_outside_are_counted(workshop: Workshop) -> None:
    workshop.issue(*(request(f"robot-{number}", names=[f"DNS:{number}.a.example"]) for number in range(8)))
    with pytest.raises(CAError, match=r"\(robot-0/https has DNS:0\.a\.example; .*; and 3 more\)"):
        workshop.create(domains=["b.example"])


def test_a_prediction_writes_nothing(workshop: Workshop) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in Path(workshop.store.authorities).rglob("*") if path.is_file()}

    before = files()
    there: dict[str, Any] = {"store": workshop.store, "passphrase": workshop.passphrase(), "generate": False}
    found = look(wish(**PLANT), now=END - 10 * DAY, **there)
    assert len(found.due) == 2
    assert found.before["issuing"] == {"not_after": "2032-01-14T08:00:00Z", "limits": "no limits"}
    assert files() == before
    assert own_states(workshop) == ["issued"]


def test_a_frozen_ca_renews_nothing(workshop: Workshop) -> None:
    workshop.sql("INSERT INTO conditions VALUES ('frozen', 'It has moved.', 0)")
    before = issuing(workshop)
    with pytest.raises(CAError) as refused:
        workshop.create(**PLANT)
    assert refused.value.code == "frozen"
    assert issuing(workshop) == before


@pytest.mark.parametrize("key_type", ["ed25519", "rsa-2048", "ec-p384"])
def test_authorities_with_other_keys(empty: Workshop, key_type: str) -> None:
    options = {"root": {"key_type": key_type}, "issuing": {"key_type": key_type}, **PLANT}
    empty.create(**options)
    assert openssl_says(empty, empty.issue_one()["certificate"], at=NOW + DAY) == ""
    empty.now = END - 10 * DAY
    assert len(empty.create(**options).due) == 1
    assert issuing(empty).key == key_type
    assert openssl_says(empty, empty.issue_one(key=1)["certificate"], at=empty.now + DAY) == ""


def test_a_reissued_one_is_as_strict_as_the_first(workshop: Workshop) -> None:
    workshop.create(**PLANT)
    extensions = x509.load_pem_x509_certificate(issuing(workshop).pem.encode()).extensions
    assert extensions.get_extension_for_class(x509.NameConstraints).critical
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


@pytest.mark.parametrize(("reason", "is_reissued"), [("key_compromise", False), ("superseded", True)])
def test_one_that_was_revoked_signs_nothing_and_a_compromised_key_gets_no_other(
    workshop: Workshop, reason: str, is_reissued: bool
) -> None:
    assert workshop.issue_one()["issued"]
    workshop.sql(
        "UPDATE certificates SET state = 'revoked', revoked_at = ?, revocation_reason = ? WHERE name = 'issuing'",
        workshop.now,
        reason,
    )
    assert workshop.issue_one("robot-2", key=1)["error"]["code"] == "issuer_revoked"
    found = workshop.create(**PLANT)
    assert any(f"its certificate was revoked ({reason})" in due for due in found.due) is is_reissued
    assert own_states(workshop) == (["revoked", "issued"] if is_reissued else ["revoked"])
    answer = workshop.issue_one("robot-2", key=1, names=["DNS:robot-2.plant.example"])
    assert ("error" not in answer) is is_reissued
    assert any("gets no other certificate" in said for said in workshop.create(**PLANT).warnings) is not is_reissued
    assert not any("reissue" in due for due in workshop.create(**PLANT).due)
