# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that are taken back before their end: what the ledger knows of it. The CRL that tells others is crl.py's."""

from __future__ import annotations

from collections.abc import Iterable

from .._x509.revocation_reasons import COMPROMISING, REASONS
from .errors import CAError
from .ledger import Ledger


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
