# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the history of acts says of a machine as it is now. Needs the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Iterable

from .ledger import Ledger

# Of an identity's acts the last one of these counts. A name that was given up by renaming is free for another machine.
DECOMMISSIONED = (
    "SELECT value FROM json_each(?) AS asked WHERE 'decommissioned' = ("
    " SELECT act FROM acts WHERE acts.identity = asked.value"
    " AND act IN ('renamed', 'replaced', 'decommissioned', 'readmitted') ORDER BY id DESC LIMIT 1)"
)


def decommissioned(ledger: Ledger, identities: Iterable[str]) -> frozenset[str]:
    """Those of the identities that are not coming back, unless somebody readmits them."""
    return frozenset(str(row[0]) for row in ledger.run(DECOMMISSIONED, (json.dumps(list(identities)),)))


def write_act(ledger: Ledger, act: str, identity: str, said: str, *, now: int) -> None:
    """Remember what somebody has done to a machine, within a transaction."""
    ledger.run("INSERT INTO acts (at, act, identity, said) VALUES (?, ?, ?, ?)", (now, act, identity, said))
