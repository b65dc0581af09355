# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people ask the ledger: what is in force, what ends soon, what a machine has, what was refused. Needs the standard library alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .._x509.duration import parse_duration
from .._x509.names import parse_names
from .ledger import Ledger
from .store import Store

KINDS = ("issued", "expiring", "refused", "all")
WITHIN = "30d"

# What "expiring" leaves out: the certificate that a holder lives by is the one that went into service last, or else the newest. An older
# one that has ended, and all those of a decommissioned machine, need nobody's care.
_CERTIFICATES = """
    WITH asked (kind, now, until, identities, names) AS (VALUES (?, ?, ?, ?, ?))
    SELECT held.identity, held.name, authority, profile, common_name, held.names, serial, fingerprint, spki, state, not_before, not_after,
        why, issued_at, installed_at, revoked_at, revocation_reason, (
            SELECT json_object('outcome', outcome, 'at', at, 'said', said) FROM outcomes
            WHERE outcomes.identity = held.identity AND outcomes.name = held.name AND outcomes.fingerprint = held.fingerprint
            ORDER BY outcomes.id DESC LIMIT 1
        ) AS last_outcome
    FROM certificates AS held, asked
    WHERE held.identity != '' AND CASE asked.kind
        WHEN 'issued' THEN held.state = 'issued' AND held.not_after >= asked.now
        WHEN 'expiring' THEN held.state = 'issued' AND held.not_after <= asked.until AND NOT EXISTS (
            SELECT 1 FROM certificates AS later
            WHERE later.identity = held.identity AND later.name = held.name AND later.state != 'reserved'
            AND (coalesce(later.installed_at, -1), later.id) > (coalesce(held.installed_at, -1), held.id)
        ) AND NOT EXISTS (
            SELECT 1 FROM acts WHERE act = 'decommissioned' AND acts.identity = held.identity AND acts.at >= held.reserved_at
        )
        ELSE 1 END
    AND (asked.identities = '[]' OR held.identity IN (SELECT value FROM json_each(asked.identities)))
    AND (
        asked.names = '[]' OR 'CN:' || held.common_name IN (SELECT value FROM json_each(asked.names))
        OR EXISTS (SELECT 1 FROM json_each(held.names) AS has, json_each(asked.names) AS wanted WHERE has.value = wanted.value)
    )
    ORDER BY CASE asked.kind WHEN 'expiring' THEN held.not_after END, held.identity, held.name, held.id DESC
"""
_REFUSALS = """
    WITH asked (identities) AS (VALUES (?))
    SELECT identity, name, code, message, count, first_at, last_at FROM refusals, asked
    WHERE asked.identities = '[]' OR identity IN (SELECT value FROM json_each(asked.identities))
    ORDER BY last_at DESC, identity, name
"""
_TIMES = ("not_before", "not_after", "issued_at", "installed_at", "revoked_at")


@dataclass(frozen=True)
class Inquiry:
    """What is asked: one of KINDS; C(within) in seconds; no identities or no names: all of them."""

    kind: str
    within: int
    identities: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, kind: str, *, within: str, identities: Iterable[str], names: Iterable[str]) -> Inquiry:
        """Check and normalise a module's options. Raises X509Error."""
        return cls(
            kind,
            parse_duration(within, where="within"),
            tuple(dict.fromkeys(str(identity) for identity in identities)),
            _names(names),
        )


def answer(inquiry: Inquiry, *, store: Store, now: int) -> dict[str, Any]:
    """C(certificates) and C(refusals) that were asked for. Takes no lock."""
    store.require()
    with Ledger.read(store.ledger) as ledger:
        asks_certificates, asks_refusals = inquiry.kind != "refused", inquiry.kind in ("refused", "all")
        return {
            "certificates": certificates(ledger, inquiry, now=now) if asks_certificates else [],
            "refusals": refusals(ledger, inquiry) if asks_refusals else [],
        }


def certificates(ledger: Ledger, inquiry: Inquiry, *, now: int) -> list[dict[str, Any]]:
    """Leaves, by holder with the newest first; those that end within a time in the order of their ends."""
    identities, names = json.dumps(inquiry.identities), json.dumps(inquiry.names)
    rows = ledger.run(_CERTIFICATES, (inquiry.kind, now, now + inquiry.within, identities, names))
    return [to_values(row, now=now) for row in rows]


def refusals(ledger: Ledger, inquiry: Inquiry) -> list[dict[str, Any]]:
    """What the CA refused to sign and has not signed since; the latest first. Names of certificates are not known of these."""
    rows = ledger.run(_REFUSALS, (json.dumps(inquiry.identities),))
    return [{**dict(row), "first_at": iso(row["first_at"]), "last_at": iso(row["last_at"])} for row in rows]


def to_values(row: sqlite3.Row, *, now: int) -> dict[str, Any]:
    """A certificate as people and other programs read it. Without what is not known of it."""
    told = {column: value for column, value in dict(row).items() if value is not None and column != "last_outcome"}
    told["names"] = json.loads(row["names"])
    told["why"] = row["why"].split()
    if row["state"] in ("issued", "superseded") and row["not_after"] < now:
        told["state"] = "expired"
    told.update({column: iso(row[column]) for column in _TIMES if row[column] is not None})
    if row["last_outcome"] is not None:
        last = json.loads(row["last_outcome"])
        told["outcome"] = {**last, "at": iso(last["at"])}
    return told


def iso(seconds: int) -> str:
    """Unix seconds as C(2026-11-22T04:00:00Z)."""
    # strftime() would take half of the time of an export.
    return f"{datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat(timespec='seconds')[:-6]}Z"


def _names(values: Iterable[str]) -> tuple[str, ...]:
    """Normalised; a common name is written C(CN:robot-1)."""
    given = [str(value).strip() for value in values]
    common = [value for value in given if value.startswith("CN:")]
    return (*common, *parse_names((value for value in given if not value.startswith("CN:")), where="names"))
