# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that are taken back before their end: what the ledger knows of it. The CRL that tells others is crl.py's."""

from __future__ import annotations

import json
from collections.abc import Iterable

from .._x509.crl import Revoked
from .._x509.revocation_reasons import COMPROMISING, REASONS
from .errors import CAError
from .ledger import Entry, Ledger, to_entry

# Word for word what its index has.
COMPROMISED = "SELECT spki FROM certificates WHERE revocation_reason IN ('key_compromise', 'ca_compromise')"
_WITH_KEYS = (
    "SELECT * FROM certificates WHERE spki IN (SELECT value FROM json_each(?))"
    " AND identity != '' AND state != 'reserved' ORDER BY id"
)


def revoke_entries(ledger: Ledger, ids: Iterable[int], *, reason: str, now: int) -> tuple[int, ...]:
    """Revoke certificates by their id in the ledger, within a transaction of it; returns the ids that this has changed.

    What is revoked already stays as it is, except that a compromised key is worse than any other reason. A serial that was only
    reserved is left alone: nothing was signed with it.
    """
    check_reason(reason)
    changed = []
    for number in ids:
        rows = ledger.run("SELECT state, revocation_reason FROM certificates WHERE id = ?", (number,))
        if not rows or rows[0]["state"] == "reserved":
            continue
        is_worse = reason in COMPROMISING and rows[0]["revocation_reason"] not in COMPROMISING
        if rows[0]["state"] == "revoked" and not is_worse:
            continue
        ledger.run(
            "UPDATE certificates SET state = 'revoked', revoked_at = coalesce(revoked_at, ?), revocation_reason = ? WHERE id = ?",
            (now, reason, number),
        )
        changed.append(number)
    return tuple(changed)


def check_reason(reason: str) -> str:
    """The reason itself, or CAError with those there are."""
    if reason not in REASONS:
        raise CAError(
            f"'{reason}' is no reason for a revocation. Choose one of {', '.join(REASONS)}. Nothing was changed.",
            code="bad_request",
        )
    return reason


def revoked_by(
    ledger: Ledger, issuer: str, *, listed: Iterable[Revoked], until: int
) -> tuple[tuple[Revoked, ...], tuple[Revoked, ...]]:
    """(what belongs on a CRL, what of it the ledger has to learn) for the key with the SPKI O(issuer).

    Certificates that ended before O(until) have left. O(listed) is on CRLs already: none of it is forgotten because the ledger was
    restored from an older backup, and what the ledger does not know at all stays on for good.
    """
    wanted = {
        row[0]: Revoked(row[0], row[1], row[2])
        for row in ledger.run(
            "SELECT serial, revoked_at, revocation_reason FROM certificates"
            " WHERE state = 'revoked' AND issuer = ? AND not_after >= ? ORDER BY revoked_at, id",
            (issuer, until),
        )
    }
    missed: dict[str, Revoked] = {}
    for item in listed:
        if item.serial not in wanted:
            entry = ledger.find_serial(item.serial)
            if entry is None:
                wanted[item.serial] = item
            elif entry.state != "revoked" and entry.not_after >= until:
                wanted[item.serial] = missed[item.serial] = item
                for other in leaves_with_keys(ledger, _compromised_by(item, entry)):
                    if other.state != "revoked":
                        missed.setdefault(other.serial, Revoked(other.serial, item.at, item.reason))
                        if other.issuer == issuer and other.not_after >= until:
                            wanted.setdefault(other.serial, missed[other.serial])
    return tuple(wanted.values()), tuple(missed.values())


def restore_revocations(ledger: Ledger, missed: Iterable[Revoked]) -> None:
    """Revoke again what CRLs say was revoked, within a transaction."""
    for item in missed:
        ledger.run(
            "UPDATE certificates SET state = 'revoked', revoked_at = ?, revocation_reason = ? WHERE serial = ? AND state != 'revoked'",
            (item.at, item.reason, item.serial),
        )


def why_issuer_is_revoked(ledger: Ledger, *, spki: str, fingerprint: str) -> str | None:
    """The reason for which an issuing CA signs nothing any more: its certificate was taken back, or its key is compromised,
    whatever other certificate there is for that. None: it may sign."""
    rows = ledger.run(
        "SELECT fingerprint, revocation_reason FROM certificates"
        " WHERE identity = '' AND name = 'issuing' AND state = 'revoked' AND spki = ?",
        (spki,),
    )
    reasons = [str(row[1]) for row in rows if row[1] in COMPROMISING or row[0] == fingerprint]
    return next((reason for reason in reasons if reason in COMPROMISING), reasons[0] if reasons else None)


def compromised_keys(ledger: Ledger) -> frozenset[str]:
    """SPKIs for which nothing is signed any more, whoever asks."""
    return frozenset(str(row[0]) for row in ledger.run(COMPROMISED))


def leaves_with_keys(ledger: Ledger, spkis: Iterable[str]) -> list[Entry]:
    """All leaves of these keys, whoever has them and whatever became of them: who has a key can use all of its certificates."""
    asked = list(dict.fromkeys(spkis))
    # No index has the keys. This reads all of the ledger, once, when a key is compromised.
    rows = ledger.run(_WITH_KEYS, (json.dumps(asked),)) if asked else []
    return [to_entry(row) for row in rows]


def _compromised_by(item: Revoked, entry: Entry) -> tuple[str, ...]:
    return (entry.spki,) if item.reason in COMPROMISING and entry.identity else ()
