# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the CA refused to sign, remembered until it signs it after all. The functions that write work within a transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .ledger import Ledger

# A request may hold anything: what is kept of one that is refused stays small.
_LONGEST = {"identity": 253, "name": 64, "message": 2000}


class Refusal(NamedTuple):
    """Why a certificate was not signed: a code and a sentence."""

    identity: str
    name: str
    code: str
    message: str


def note_refusals(ledger: Ledger, refusals: Iterable[Refusal], *, now: int) -> None:
    """Write them down. The same code again is counted, another one begins anew."""
    ledger.run_many(
        "INSERT INTO refusals (identity, name, code, message, count, first_at, last_at) VALUES (?, ?, ?, ?, 1, ?, ?)"
        " ON CONFLICT (identity, name) DO UPDATE SET"
        " count = CASE WHEN code = excluded.code THEN count + 1 ELSE 1 END,"
        " first_at = CASE WHEN code = excluded.code THEN first_at ELSE excluded.first_at END,"
        " code = excluded.code, message = excluded.message, last_at = excluded.last_at",
        (
            (
                item.identity[: _LONGEST["identity"]],
                item.name[: _LONGEST["name"]],
                item.code,
                item.message[: _LONGEST["message"]],
                now,
                now,
            )
            for item in refusals
        ),
    )


def refused_before(ledger: Ledger, certificates: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the certificates (identity, name) that a refusal is remembered of."""
    if not ledger.run("SELECT 1 FROM refusals LIMIT 1"):
        return []
    statement = "SELECT 1 FROM refusals WHERE identity = ? AND name = ?"
    return [certificate for certificate in certificates if ledger.run(statement, certificate)]


def clear_refusals(ledger: Ledger, certificates: Iterable[tuple[str, str]]) -> None:
    """Forget them: these certificates were given out."""
    ledger.run_many("DELETE FROM refusals WHERE identity = ? AND name = ?", certificates)
