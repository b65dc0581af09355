# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the ledger that remembers which deploys went wrong, how often, and since when.

A certificate has a failure from its first bad outcome until a good one. The functions work within a transaction of the ledger.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .schema import BAD_OUTCOMES, GOOD_OUTCOMES

Run = Callable[[str, tuple[Any, ...]], list[sqlite3.Row]]

# Read from an index alone, however many failures and certificates there are.
LATELY = (
    "SELECT identity, name, count, last_at FROM failures"
    " WHERE put_right_at IS NULL AND last_at >= ? ORDER BY last_at DESC, identity, name"
)


@dataclass(frozen=True)
class Failure:
    """What is wrong with a certificate: its last bad outcome, and how many there were in a row. Times are unix seconds."""

    identity: str
    name: str
    count: int
    first_at: int
    last_at: int
    outcome: str
    said: str


@dataclass(frozen=True)
class OpenFailure:
    """Enough of a failure to count it."""

    identity: str
    name: str
    count: int
    last_at: int


def note(run: Run, *, identity: str, name: str, outcome: str, said: str, revised: bool, now: int) -> None:
    """Count a bad outcome, or close the failure after a good one.

    O(revised): this outcome takes back the good one before it, which was found out to be none; the count goes on then.
    """
    if outcome in BAD_OUTCOMES:
        run(
            "INSERT INTO failures (identity, name, count, first_at, last_at, outcome, said) VALUES (?, ?, 1, ?, ?, ?, ?)"
            " ON CONFLICT (identity, name) DO UPDATE SET"
            " count = CASE WHEN put_right_at IS NULL OR ? THEN count + 1 ELSE 1 END,"
            " first_at = CASE WHEN put_right_at IS NULL OR ? THEN first_at ELSE excluded.first_at END,"
            " last_at = excluded.last_at, outcome = excluded.outcome, said = excluded.said, put_right_at = NULL",
            (identity, name, now, now, outcome, said, revised, revised),
        )
    elif outcome in GOOD_OUTCOMES:
        # What an earlier good outcome has closed can no longer be reopened: only the last one can be taken back.
        run("DELETE FROM failures WHERE identity = ? AND name = ? AND put_right_at IS NOT NULL", (identity, name))
        run("UPDATE failures SET put_right_at = ? WHERE identity = ? AND name = ?", (now, identity, name))


def failures_of(run: Run, identities: Iterable[str]) -> dict[str, list[Failure]]:
    """The open failures of those identities that have any."""
    found = {}
    for identity in identities:
        rows = run(
            "SELECT identity, name, count, first_at, last_at, outcome, said FROM failures"
            " WHERE identity = ? AND put_right_at IS NULL ORDER BY name",
            (identity,),
        )
        if rows:
            found[identity] = [Failure(*row) for row in rows]
    return found


def open_failures(run: Run, *, since: int) -> list[OpenFailure]:
    """All failures that are open and whose last attempt was not before O(since), the latest first."""
    return [OpenFailure(*row) for row in run(LATELY, (since,))]
