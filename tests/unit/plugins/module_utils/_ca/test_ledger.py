# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger tells and what is written to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._ca import schema
from ansible_collections.certfleet.tls.plugins.module_utils._ca.authority import look as look_at_authority
from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import look as look_at_crl
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.freezing import read_standing
from ansible_collections.certfleet.tls.plugins.module_utils._ca.holders import LISTED, OF_HOLDER
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger import CHOICE, IN_FORCE, Ledger, choose
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revocation import COMPROMISED
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revoke import Target
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revoke import look as look_at_revocation
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known

from .workshop import DAY, Workshop, request, wish

SPKI = "ab" * 32


def issue_many(workshop: Workshop, count: int, identity: str = "robot-1") -> list[dict[str, Any]]:
    """As many certificates for one name, a day apart, oldest first."""
    answers = []
    for number in range(count):
        workshop.now += DAY
        answers.append(workshop.issue_one(identity, names=[f"DNS:generation-{number}.example"]))
    return answers


def told(workshop: Workshop, identity: str = "robot-1") -> list[tuple[str, str]]:
    """(serial, state) as ca_info tells them."""
    known = workshop.info(identity)["identities"]
    return [(leaf["serial"], leaf["state"]) for leaf in known.get(identity, {"leaves": []})["leaves"]]


def test_info_of_a_fresh_ca(workshop: Workshop) -> None:
    answer = workshop.info("robot-1")
    folder = Path(workshop.store.path("fleet"))
    profiles = {"server": ["serverAuth"], "client": ["clientAuth"], "server_client": ["clientAuth", "serverAuth"]}
    anchors, chain = ((folder / file).read_text() for file in ("root.pem", "issuing.pem"))
    assert answer == {
        "authorities": {"fleet": {"anchors": anchors, "chain": chain, "profiles": profiles}},
        "problems": {},
        "identities": {},
        "open_failures": [],
        "time": workshop.now,
    }


def test_info_feeds_the_verdict(workshop: Workshop) -> None:
    answer = workshop.issue_one()
    record([], [{"identity": "robot-1", "spki": SPKI, "why": "on site"}], store=workshop.store, now=workshop.now)
    known = Known.from_ca_info(workshop.info("robot-1", "robot-2"), identity="robot-1", authority="fleet")
    assert known.available
    assert known.issuing is not None
    assert (known.pins, known.leaves) == ({SPKI}, {answer["fingerprint"]: "issued"})


def test_info_without_a_ca(empty: Workshop) -> None:
    with pytest.raises(CAError, match="There is no CA yet") as refused:
        empty.info("robot-1")
    assert refused.value.code == "missing"
    assert list(empty.folder.iterdir()) == []


def test_info_tells_the_newest_the_one_in_service_and_the_revoked(workshop: Workshop) -> None:
    answers = issue_many(workshop, 9)
    serials = [answer["serial"] for answer in answers]
    workshop.sql("UPDATE certificates SET state = 'revoked' WHERE serial = ?", serials[0])
    workshop.install(answers[2])
    workshop.issue_one("robot-2")
    assert told(workshop) == [
        (serials[8], "issued"),
        (serials[7], "issued"),
        (serials[6], "issued"),
        (serials[2], "issued"),
        (serials[0], "revoked"),
    ]


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["https", "api"]),
        st.sampled_from(["issued", "superseded", "revoked"]),
        st.none() | st.integers(0, 50),
        st.integers(0, 50),
        st.sampled_from([None, "superseded", "key_compromise"]),
        st.none() | st.integers(0, 50),
    ),
    max_size=30,
)


@given(rows=ROWS, newest=st.integers(0, 4), now=st.integers(0, 50))
def test_choice_is_what_its_definition_says(rows: list[tuple[Any, ...]], newest: int, now: int) -> None:
    numbered = [(name, number, *others) for number, (name, *others) in enumerate(rows)]
    chosen = set(choose(numbered, newest=newest, now=now))
    for name, number, state, at, not_after, reason, gone_at in numbered:
        peers = [row for row in numbered if row[0] == name]
        is_new = sum(row[1] > number for row in peers) < newest
        in_service = at is not None and not any(row[3] is not None and (row[3], row[1]) > (at, number) for row in peers)
        counts = not_after >= now or reason == "key_compromise" or gone_at is not None
        assert (number in chosen) is (is_new or in_service or (state == "revoked" and counts))


def test_expired_is_told_and_never_written_down(workshop: Workshop) -> None:
    """A clock that was fast once would hide it for as long as nobody corrects that."""
    old, new = issue_many(workshop, 2)
    workshop.install(new)
    workshop.now += 91 * DAY
    assert told(workshop) == [(new["serial"], "expired"), (old["serial"], "expired")]
    workshop.issue_one("robot-2")
    assert workshop.states() == ["superseded", "issued", "issued"]
    workshop.now -= 91 * DAY
    assert told(workshop) == [(new["serial"], "issued"), (old["serial"], "superseded")]


def test_what_has_ended_is_not_in_force(workshop: Workshop) -> None:
    item = workshop.issue_one()
    (entry,) = (row[0] for row in workshop.sql("SELECT spki FROM certificates WHERE serial = ?", item["serial"]))
    key = ("robot-1", "https", entry)
    with Ledger.open(workshop.store.ledger) as ledger:
        assert [found.serial for found in ledger.find_in_force([key], now=workshop.now)[key]] == [item["serial"]]
        assert ledger.find_in_force([key], now=workshop.now + 91 * DAY) == {}


def test_revoked_stays_revoked_when_it_expires(workshop: Workshop) -> None:
    serial = workshop.issue_one()["serial"]
    workshop.sql("UPDATE certificates SET state = 'revoked' WHERE serial = ?", serial)
    workshop.now += 91 * DAY
    workshop.issue_one("robot-2")
    assert told(workshop) == [(serial, "revoked")]


@pytest.mark.parametrize(
    ("outcome", "states"),
    [
        ("installed", ["superseded", "issued", "issued"]),
        ("reloaded", ["superseded", "issued", "issued"]),
        ("rolled_back", ["issued", "issued", "issued"]),
        ("failed", ["issued", "issued", "issued"]),
    ],
)
def test_what_came_into_service_supersedes_the_older(workshop: Workshop, outcome: str, states: list[str]) -> None:
    answers = issue_many(workshop, 3)
    workshop.issue_one("robot-2")
    workshop.issue_one(name="api")
    workshop.install(answers[1], outcome=outcome)
    assert workshop.states() == [*states, "issued", "issued"]


def test_what_is_found_in_service_was_brought_there_by_a_run_that_could_not_tell(workshop: Workshop) -> None:
    """The new leaf's names stay blocked for nobody, and nobody is warned of the old one's end."""
    old, new = issue_many(workshop, 2)
    workshop.install(old)
    leaves = workshop.info("robot-1")["identities"]["robot-1"]["leaves"]
    assert [leaf.get("installed") for leaf in leaves] == [None, True]
    workshop.install(new, outcome="unchanged")
    assert workshop.states() == ["superseded", "issued"]
    leaves = workshop.info("robot-1")["identities"]["robot-1"]["leaves"]
    assert [leaf.get("installed") for leaf in leaves] == [True, True]
    since = workshop.sql("SELECT serial, installed_at FROM certificates WHERE identity != ''")
    workshop.now += DAY
    workshop.install(new, outcome="unchanged")
    assert workshop.sql("SELECT serial, installed_at FROM certificates WHERE identity != ''") == since


def test_what_was_put_back_by_hand_or_is_revoked_supersedes_nothing(workshop: Workshop) -> None:
    older, revoked, newest = issue_many(workshop, 3)
    workshop.sql("UPDATE certificates SET state = 'revoked' WHERE serial = ?", revoked["serial"])
    workshop.install(newest)
    before = workshop.sql("SELECT serial, state, installed_at FROM certificates")
    for answer in (older, revoked):
        workshop.install(answer, outcome="unchanged")
    assert workshop.sql("SELECT serial, state, installed_at FROM certificates") == before


def test_a_certificate_of_somebody_else_supersedes_nothing(workshop: Workshop) -> None:
    issue_many(workshop, 2)
    other = workshop.issue_one("robot-2")
    workshop.install(other, identity="robot-1")
    workshop.install({"fingerprint": "0" * 64}, identity="robot-1")
    assert workshop.states() == ["issued"] * 3


def test_outcomes_are_kept_in_full(workshop: Workshop) -> None:
    item = {
        "id": "r/https",
        "identity": "r",
        "name": "https",
        "outcome": "rolled_back",
        "reasons": ["expiring", "mode_changed"],
        "said": "no",
    }
    assert record([item, item], [], store=workshop.store, now=7) == {"recorded": 2, "pinned": 0}
    kept = workshop.sql("SELECT at, identity, name, outcome, reasons, fingerprint, said FROM outcomes")
    assert kept == [(7, "r", "https", "rolled_back", "expiring mode_changed", None, "no")] * 2


def test_pins_count_once_and_fingerprints_may_have_colons(workshop: Workshop) -> None:
    colons = ":".join(["AB"] * 32)
    pins = [
        {"identity": "r", "spki": SPKI},
        {"identity": "r", "spki": colons},
        {"identity": "s", "spki": SPKI, "why": "new"},
    ]
    assert record([], pins, store=workshop.store, now=7) == {"recorded": 0, "pinned": 2}
    assert record([], pins, store=workshop.store, now=8) == {"recorded": 0, "pinned": 0}
    assert workshop.info("r", "s", "t")["identities"] == {
        "r": {"pins": [SPKI], "leaves": []},
        "s": {"pins": [SPKI], "leaves": []},
    }


@pytest.mark.parametrize(
    ("outcomes", "pins", "said"),
    [
        (
            [{"identity": "r", "name": "n", "outcome": "installed"}, {"identity": "r"}],
            [],
            "'name' is missing .* 'r/\\?'",
        ),
        (
            [{"identity": "r", "name": "n", "outcome": "installed", "fingerprint": "x"}],
            [],
            "'fingerprint' is no SHA-256",
        ),
        ([], [{"identity": "r", "spki": SPKI}, {"identity": "r", "spki": "short"}], "'spki' is no SHA-256"),
        ([], [{"spki": SPKI}], "'identity' is missing"),
    ],
)
def test_all_is_recorded_or_nothing(workshop: Workshop, outcomes: list[Any], pins: list[Any], said: str) -> None:
    with pytest.raises(CAError, match=said):
        record(outcomes, pins, store=workshop.store, now=7)
    assert workshop.sql("SELECT (SELECT count(*) FROM outcomes) + (SELECT count(*) FROM pins)") == [(0,)]


def test_recording_nothing_needs_no_lock(workshop: Workshop) -> None:
    assert record([], [], store=workshop.store, now=7) == {"recorded": 0, "pinned": 0}
    with pytest.raises(CAError, match="There is no CA yet"):
        record([], [], store=type(workshop.store)(str(workshop.folder / "nowhere")), now=7)


def test_large_questions_read_no_more_than_they_return(workshop: Workshop) -> None:
    """What makes 100,000 certificates cost nothing: every query is answered from an index."""
    plans = {
        CHOICE: "COVERING INDEX",
        IN_FORCE: "AND state=?)",
        COMPROMISED: "COVERING INDEX certificates_compromised",
        OF_HOLDER: "certificates_by_holder (identity=?)",
        "SELECT * FROM certificates WHERE fingerprint = ?": "(fingerprint=?)",
        "SELECT * FROM certificates WHERE serial = ?": "(serial=?)",
        LISTED: "(authority=? AND name=?)",
        "SELECT 1 FROM refusals WHERE identity = ? AND name = ?": "(identity=? AND name=?)",
    }
    for statement, wanted in plans.items():
        plan = workshop.sql(f"EXPLAIN QUERY PLAN {statement}", *(["x"] * statement.count("?")))
        assert wanted in str(plan), statement
        assert "SCAN certificates" not in str(plan).replace(f"SCAN certificates USING {wanted}", "")
        assert "SCAN holders" not in str(plan)


def test_older_ledger_is_brought_up_to_date(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    issue_many(workshop, 2)
    newer = (*schema.STEPS, ("CREATE TABLE tags (serial TEXT)", "INSERT INTO tags SELECT serial FROM certificates"))
    monkeypatch.setattr("ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger.STEPS", newer)
    assert len(told(workshop)) == 2
    workshop.install({"fingerprint": "0" * 64})
    assert workshop.sql("SELECT count(*) FROM tags") == [(4,)]
    ours = len(schema.STEPS)
    assert workshop.sql("SELECT version FROM schema_version") == [(ours + 1,)]
    monkeypatch.undo()
    with pytest.raises(CAError, match=f"its version is {ours + 1}, this one reads up to {ours}"):
        workshop.info()


def make_old(path: Path, *, version: int) -> None:
    """Put a ledger of an earlier version, with the same certificates, into the place of this one."""
    old = path.with_suffix(".old")
    connection = sqlite3.connect(old)
    for step in schema.STEPS[:version]:
        for statement in step:
            connection.execute(statement)
    columns = ", ".join(row[1] for row in connection.execute("PRAGMA table_info(certificates)"))
    connection.execute("UPDATE schema_version SET version = ?", (version,))
    connection.commit()
    connection.execute("ATTACH ? AS newer", (str(path),))
    copy = "INSERT INTO certificates (COLUMNS) SELECT COLUMNS FROM newer.certificates"
    connection.execute(copy.replace("COLUMNS", columns))
    connection.commit()
    connection.close()
    old.replace(path)


def test_ledger_of_the_first_releases_knows_its_holders(workshop: Workshop) -> None:
    workshop.issue_one("a", names=["DNS:a.example", "IP:198.19.1.1"], common_name="x", profile="client")
    workshop.issue_one("b", names=["DNS:b.example"], common_name="y", profile="server")
    workshop.install(workshop.issue_one("b", names=["DNS:c.example"], common_name="y", profile="server"), identity="b")
    make_old(Path(workshop.store.ledger), version=2)
    assert len(told(workshop, "a")) == 1
    workshop.install({"fingerprint": "0" * 64})
    assert workshop.sql("SELECT * FROM holders ORDER BY name") == [
        ("fleet", "CN:x", "a", 0),
        ("fleet", "DNS:a.example", "a", 0),
        ("fleet", "DNS:c.example", "b", 0),
        ("fleet", "IP:198.19.1.1", "a", 0),
    ]


def test_what_an_older_ledger_calls_expired_is_told_by_its_end_again(workshop: Workshop) -> None:
    issue_many(workshop, 4)
    workshop.issue_one("robot-2", names=["DNS:robot-2.example"])
    third = workshop.sql("SELECT fingerprint FROM certificates WHERE identity = 'robot-1' ORDER BY id")[2][0]
    workshop.install({"fingerprint": third})
    workshop.sql(
        "UPDATE certificates SET state = 'revoked' WHERE id = (SELECT min(id) FROM certificates WHERE identity != '')"
    )
    # As the clock of an older release left it, which was fast.
    workshop.sql("UPDATE certificates SET state = 'expired' WHERE state IN ('issued', 'superseded')")
    make_old(Path(workshop.store.ledger), version=4)
    workshop.issue_one("robot-3", names=["DNS:robot-3.example"])
    assert workshop.states() == ["revoked", "superseded", "issued", "issued", "issued", "issued"]
    assert set(workshop.sql("SELECT name, state FROM certificates WHERE identity = ''")) == {
        ("root", "issued"),
        ("issuing", "issued"),
    }


def test_of_an_authoritys_own_certificates_the_newest_is_in_force_in_an_older_ledger(workshop: Workshop) -> None:
    workshop.create(domains=["plant.example", "example"], networks=["198.18.0.0/15", "2001:2::/48"])
    workshop.sql("UPDATE certificates SET state = 'expired' WHERE name = 'issuing' AND state = 'superseded'")
    make_old(Path(workshop.store.ledger), version=4)
    workshop.issue_one()
    states = workshop.sql("SELECT state FROM certificates WHERE name = 'issuing' ORDER BY id")
    assert states == [("superseded",), ("issued",)]


@pytest.mark.parametrize("part", ["find_serial", "find_fingerprint"])
def test_a_certificate_is_found_with_all_that_is_known_of_it(workshop: Workshop, part: str) -> None:
    answer = workshop.issue_one(lifetime=3 * 3650 * DAY)
    workshop.sql(
        "UPDATE certificates SET state = 'revoked', revoked_at = 7, revocation_reason = 'superseded' WHERE identity != ''"
    )
    with Ledger.open(workshop.store.ledger) as ledger:
        entry = getattr(ledger, part)(answer[part.removeprefix("find_")])
        assert getattr(ledger, part)("0") is None
    assert (entry.identity, entry.serial, entry.pem) == ("robot-1", answer["serial"], answer["certificate"])
    assert (entry.state, entry.revoked_at, entry.revocation_reason) == ("revoked", 7, "superseded")
    assert (entry.lifetime, entry.not_after) == (3 * 3650 * DAY, workshop.now + 1825 * DAY)
    assert workshop.info("robot-1")["identities"]["robot-1"]["leaves"][0]["revocation_reason"] == "superseded"


def test_frozen_ca_writes_nothing(workshop: Workshop) -> None:
    workshop.issue_one()
    workshop.sql("INSERT INTO conditions VALUES ('frozen', 'it has moved to ca-2.', 7)")
    before = workshop.sql("SELECT (SELECT count(*) FROM certificates), (SELECT count(*) FROM outcomes)")
    for write in (workshop.issue_one, lambda: workshop.install({"fingerprint": "0" * 64})):
        with pytest.raises(CAError, match=r"This CA is frozen: it has moved to ca-2\. Nothing was changed") as refused:
            write()
        assert refused.value.code == "frozen"
    assert workshop.sql("SELECT (SELECT count(*) FROM certificates), (SELECT count(*) FROM outcomes)") == before
    assert told(workshop)
    workshop.sql("DELETE FROM conditions")
    assert workshop.issue_one("robot-2")["issued"]


def test_one_transaction_within_another_is_part_of_it(workshop: Workshop) -> None:
    with Ledger.open(workshop.store.ledger) as ledger:
        with pytest.raises(CAError, match="no such table"), ledger.transaction():
            with ledger.transaction():
                ledger.run("INSERT INTO conditions VALUES ('a', 'b', 1)")
            ledger.run("INSERT INTO nowhere VALUES (1)")
        assert ledger.run("SELECT * FROM conditions") == []


def test_migration_that_fails_leaves_the_old_ledger(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (*schema.STEPS, ("CREATE TABLE tags (serial TEXT)", "nonsense"))
    monkeypatch.setattr("ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger.STEPS", broken)
    for use in (workshop.info, lambda: workshop.install({"fingerprint": "0" * 64})):
        with pytest.raises(CAError, match="was undone"):
            use()
    monkeypatch.undo()
    assert workshop.sql("SELECT name FROM sqlite_master WHERE name = 'tags'") == []
    assert workshop.info()["identities"] == {}


def test_who_only_looks_leaves_an_older_ledger_to_those_who_use_it(workshop: Workshop) -> None:
    """A look from a newer controller, such as a run with --check, must not lock out the older ones."""
    workshop.issue_one()
    passphrase, ledger = workshop.passphrase(), Path(workshop.store.ledger)
    make_old(ledger, version=2)
    ledger.chmod(0o600)
    before = ledger.read_bytes()
    options: dict[str, Any] = {"store": workshop.store, "now": workshop.now}
    looks: tuple[Callable[[], object], ...] = (
        lambda: told(workshop),
        lambda: look_at_authority(wish(), passphrase=passphrase, generate=False, **options),
        lambda: look_at_crl(workshop.store, "fleet", now=workshop.now),
        lambda: look_at_revocation(Target.from_options({"identity": "robot-1"}), **options),
        lambda: read_standing(workshop.store),
        workshop.create,
    )
    for look in looks:
        assert look()
        assert ledger.read_bytes() == before, look
        assert workshop.sql("SELECT version FROM schema_version") == [(2,)]
    assert len(told(workshop)) == 1
    workshop.issue_one("robot-2", names=["DNS:robot-2.plant.example"])
    assert workshop.sql("SELECT version FROM schema_version") == [(len(schema.STEPS),)]


def test_a_reader_does_not_wait_for_a_writer(workshop: Workshop) -> None:
    workshop.issue_one()
    writer = sqlite3.connect(workshop.store.ledger, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE certificates SET state = 'revoked'")
    assert [state for _serial, state in told(workshop)] == ["issued"]
    with (
        Ledger.open(workshop.store.ledger, busy_timeout=0.1) as ledger,
        pytest.raises(CAError, match="Another process holds it"),
    ):
        ledger.reserve([], now=1)
    writer.execute("ROLLBACK")
    writer.close()
    assert workshop.issue(request("after"))["certificates"]["after/https"]["issued"]
