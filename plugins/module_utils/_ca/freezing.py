# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA that moves: frozen where it was, until it is thawed there or elsewhere. At no time two of them write.

A frozen CA can be read and backed up. Once it has C(moved) it is not thawed any more, unless its successor is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import CAError
from .ledger import Ledger
from .lock import WAIT, locked
from .store import Store

FROZEN = "frozen"
MOVED = "moved"
RESTORED = "restored"
_BY_HAND = "It was frozen by hand."


@dataclass(frozen=True)
class Standing:
    """Whether a CA is in use. C(frozen): why it is not, as a sentence. C(moved_to): where its successor is."""

    frozen: str | None = None
    moved_to: str | None = None


def standing_of(ledger: Ledger) -> Standing:
    """How it is now."""
    found = {row["name"]: str(row["said"]) for row in ledger.run("SELECT name, said FROM conditions")}
    return Standing(frozen=found.get(FROZEN), moved_to=found.get(MOVED))


def read_standing(store: Store) -> Standing:
    """How the CA in this folder stands. Raises CAError when there is none."""
    store.require()
    with Ledger.read(store.ledger) as ledger:
        return standing_of(ledger)


def plan(before: Standing, *, state: str, to: str | None, although_moved: bool = False) -> Standing:
    """What O(state) (frozen, moved, thawed) makes of it. Raises CAError when that must not be."""
    if state == "thawed":
        if before.moved_to and not although_moved:
            raise CAError(
                f"This CA has moved to '{before.moved_to}', so it was not thawed: two CAs that both write would no longer know each "
                "other's certificates. Nothing was changed. Use the one it moved to (tls_ca_host). If that one is lost for ever and "
                "has no newer backup, thaw this one with although_moved.",
                code="moved",
            )
        return Standing()
    if before.moved_to and to and before.moved_to != to:
        raise CAError(
            f"This CA has moved to '{before.moved_to}' already, not to '{to}'. Nothing was changed. Move it on from there: set "
            "tls_ca_host to where it is.",
            code="moved",
        )
    if before.moved_to:
        return before
    if state == "moved":
        if not before.frozen or not to:
            raise CAError(
                "Only a frozen CA can have moved, and it must be said where to. Nothing was changed. Use the playbook move_ca.yml.",
                code="bad_request",
            )
        return Standing(frozen=f"It has moved to '{to}'.", moved_to=to)
    if to and before.frozen == _BY_HAND:
        raise CAError(
            "This CA was frozen by hand, for a reason that a move does not know. Nothing was changed. Thaw it first (ca_backup with state "
            "thawed) if that reason is gone.",
            code="frozen",
        )
    return Standing(frozen=f"It is being moved to '{to}'." if to else before.frozen or _BY_HAND)


def bring_to(
    store: Store, *, state: str, to: str | None, although_moved: bool, now: int, wait: float = WAIT
) -> tuple[Standing, Standing]:
    """Freeze the CA, note that it has moved, or thaw it; returns how it stood before and how it stands now."""
    store.require()
    with locked(store.directory, wait=wait), Ledger.open(store.ledger) as ledger:
        before = standing_of(ledger)
        after = plan(before, state=state, to=to, although_moved=although_moved)
        if after != before:
            with ledger.transaction():
                for name, said in ((FROZEN, after.frozen), (MOVED, after.moved_to)):
                    ledger.run("DELETE FROM conditions WHERE name = ?", (name,))
                    if said is not None:
                        ledger.run("INSERT INTO conditions (name, said, at) VALUES (?, ?, ?)", (name, said, now))
                write_act(ledger, state, after.frozen or "It is in use again.", now=now)
    return before, after


def write_act(ledger: Ledger, act: str, said: str, *, now: int) -> None:
    """Remember what somebody has done to the CA as a whole, within a transaction."""
    ledger.run("INSERT INTO acts (at, act, identity, said) VALUES (?, ?, '', ?)", (now, act, said))
