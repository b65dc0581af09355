# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger remembers of deploys that went wrong: counted in a row, closed by a good one, also in an older ledger."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._ca import schema
from ansible_collections.certfleet.tls.plugins.module_utils._ca.failures import LATELY
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger import Ledger, Outcome
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record

from .workshop import DAY, Workshop

NEUTRAL = ("not_tried", "absent", "refused", "deferred")


def end(workshop: Workshop, outcome: str, **more: Any) -> None:
    """Record how a deploy of robot-1/https ended; a day passes."""
    item = {"identity": "robot-1", "name": "https", "outcome": outcome, "said": f"said {workshop.now}", **more}
    workshop.now += DAY
    record([item], [], store=workshop.store, now=workshop.now)


def failures(workshop: Workshop) -> dict[str, Any]:
    told: dict[str, Any] = workshop.info("robot-1")["identities"].get("robot-1", {}).get("failures", {})
    return told


def test_failures_are_counted_in_a_row_and_told(workshop: Workshop) -> None:
    assert failures(workshop) == {}
    for outcome in ("rolled_back", "failed", "kept", "removed"):
        end(workshop, outcome)
    assert failures(workshop) == {
        "https": {
            "count": 4,
            "first_at": "2027-01-16T08:00:00Z",
            "last_at": "2027-01-19T08:00:00Z",
            "outcome": "removed",
            "said": f"said {workshop.now - DAY}",
        }
    }


@pytest.mark.parametrize("outcome", ["installed", "reloaded", "unchanged"])
def test_a_good_outcome_puts_it_right_and_the_next_failure_is_the_first(workshop: Workshop, outcome: str) -> None:
    end(workshop, "rolled_back")
    end(workshop, "rolled_back")
    end(workshop, outcome)
    assert failures(workshop) == {}
    assert workshop.info()["open_failures"] == []
    end(workshop, "failed")
    told = failures(workshop)["https"]
    assert (told["count"], told["first_at"]) == (1, told["last_at"])


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_what_was_not_tried_says_nothing(workshop: Workshop, outcome: str) -> None:
    end(workshop, outcome)
    assert failures(workshop) == {}
    end(workshop, "failed")
    before = failures(workshop)
    end(workshop, outcome)
    assert failures(workshop) == before


def test_what_a_wider_proof_takes_back_goes_on_counting(workshop: Workshop) -> None:
    """Else a certificate that its clients refuse night by night would be tried every night."""
    for night in range(3):
        end(workshop, "installed")
        end(workshop, "rolled_back", revised=True)
        assert failures(workshop)["https"]["count"] == night + 1
    assert failures(workshop)["https"]["first_at"] == "2027-01-17T08:00:00Z"
    end(workshop, "installed")
    end(workshop, "installed")
    end(workshop, "rolled_back", revised=True)
    assert failures(workshop)["https"]["count"] == 1


def test_the_certificate_that_is_put_back_is_the_one_in_service(workshop: Workshop) -> None:
    old, new = workshop.issue_one(), workshop.issue_one(names=["DNS:new.example"])
    workshop.install(old)
    workshop.install(new)
    assert workshop.states() == ["superseded", "issued"]
    end(workshop, "rolled_back", revised=True, fingerprint=old["fingerprint"])
    assert workshop.states() == ["issued", "issued"]
    in_service = workshop.sql("SELECT serial FROM certificates WHERE installed_at IS NOT NULL AND identity != ''")
    assert in_service == [(old["serial"],)]


def test_a_revoked_certificate_that_is_put_back_stays_revoked(workshop: Workshop) -> None:
    old, new = workshop.issue_one(), workshop.issue_one(names=["DNS:new.example"])
    workshop.install(new)
    workshop.sql("UPDATE certificates SET state = 'revoked' WHERE serial = ?", old["serial"])
    end(workshop, "rolled_back", revised=True, fingerprint=old["fingerprint"])
    assert workshop.states() == ["revoked", "issued"]


def test_open_failures_are_those_of_all_within_the_window(workshop: Workshop) -> None:
    end(workshop, "failed", identity="robot-9")
    end(workshop, "rolled_back", identity="robot-2")
    end(workshop, "rolled_back", identity="robot-2")
    end(workshop, "failed", identity="robot-3")
    end(workshop, "installed", identity="robot-3")
    workshop.now += 5 * DAY  # robot-9 failed nine days ago
    assert workshop.info()["open_failures"] == [
        {"identity": "robot-2", "name": "https", "count": 2, "last_at": "2027-01-18T08:00:00Z"}
    ]
    assert set(workshop.info("robot-9")["identities"]["robot-9"]["failures"]) == {"https"}


def test_open_failures_read_nothing_but_their_index(workshop: Workshop) -> None:
    plan = str(workshop.sql(f"EXPLAIN QUERY PLAN {LATELY}", 1))
    assert "COVERING INDEX failures_by_time (put_right_at=? AND last_at>?)" in plan


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["installed", "unchanged", "rolled_back", "failed", "kept", "removed", *NEUTRAL]),
    ),
    max_size=25,
)


def by_definition(events: list[tuple[str, str]]) -> dict[str, tuple[int, int, int, str]]:
    """(count, first_at, last_at, outcome) of each open failure; the n-th event happens at second n."""
    found: dict[str, tuple[int, int, int, str]] = {}
    for at, (identity, outcome) in enumerate(events):
        if outcome in schema.GOOD_OUTCOMES:
            found.pop(identity, None)
        elif outcome in schema.BAD_OUTCOMES:
            count, first, _last, _outcome = found.get(identity, (0, at, at, ""))
            found[identity] = (count + 1, first, at, outcome)
    return found


def told_by(path: Path) -> dict[str, tuple[int, int, int, str]]:
    with Ledger.open(str(path)) as ledger:
        return {
            identity: (failure.count, failure.first_at, failure.last_at, failure.outcome)
            for identity, (failure,) in ledger.failures_of(["a", "b"]).items()
        }


def older_ledger(path: Path, events: list[tuple[str, str]]) -> None:
    """A ledger as the first version made it, with these outcomes in it."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in schema.STEPS[0]:
            connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = 1")
        connection.executemany(
            "INSERT INTO outcomes (at, identity, name, outcome, reasons, fingerprint, said) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(at, identity, "https", outcome, "", None, f"{at}") for at, (identity, outcome) in enumerate(events)],
        )
    connection.close()


@given(events=EVENTS)
def test_an_older_ledger_knows_as_much_as_one_that_has_counted(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("ledgers")
    older_ledger(folder / "old", events)
    Ledger.create(str(folder / "new"))
    with Ledger.open(str(folder / "new")) as ledger:
        for at, (identity, outcome) in enumerate(events):
            ledger.record([Outcome(identity, "https", outcome, (), None, f"{at}")], [], now=at)
    assert told_by(folder / "old") == told_by(folder / "new") == by_definition(events)


def test_an_older_ledger_keeps_all_it_had(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    older_ledger(path, [("a", "rolled_back"), ("a", "failed"), ("b", "failed"), ("b", "installed")])
    with Ledger.open(str(path)) as ledger:
        (failure,) = ledger.failures_of(["a"])["a"]
        assert (failure.count, failure.first_at, failure.last_at, failure.said) == (2, 0, 1, "1")
        assert [found.identity for found in ledger.open_failures(since=0)] == ["a"]
    with Ledger.open(str(path)) as ledger:  # and once only
        assert ledger.failures_of(["a"])["a"] == [failure]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (4,)
    assert connection.execute("SELECT version FROM schema_version").fetchone() == (len(schema.STEPS),)
    connection.close()
