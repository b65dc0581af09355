# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the ledger that knows the authorities' own certificates: each is there before the file that holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from .._x509.constraints import Constraints
from .._x509.parse import Leaf
from .errors import CAError
from .ledger import Entry, Ledger, to_entry
from .local import Chain
from .policy import USUAL_LIFETIME
from .store import Store

# How many certificates a message names.
_SHOWN = 5


def enter(ledger: Ledger, authority: str, chain: Chain, *, why: str, now: int) -> None:
    """Reserve the entries of those of the authority's own certificates that the ledger does not know yet."""
    signer = chain.above[0] if chain.above else chain.root
    entries = []
    for part, leaf, issuer in (("root", chain.root, chain.root), ("issuing", chain.issuing, signer)):
        known = ledger.find_fingerprint(leaf.fingerprint)
        if known is None:
            entries.append(_entry(ledger, authority, part, leaf, issuer=issuer, why=why))
        elif known.authority != authority:
            raise CAError(
                f"The {part} certificate of authority '{authority}' is that of authority '{known.authority}' already. Nothing was "
                "changed: who trusts one authority must not trust the other. Have a root of its own signed for it, or use "
                f"'{known.authority}'.",
                code="shared_root",
            )
    if entries:
        ledger.reserve(entries, now=now)


def settle(ledger: Ledger, authority: str, chain: Chain, *, now: int, act: tuple[str, str] | None = None) -> None:
    """The files are in their place: these are in force from now on, the issuing CA instead of the one before.

    O(act): what is remembered as an act of its own, and the sentence to it.
    """
    with ledger.transaction():
        for leaf in (chain.root, chain.issuing):
            ledger.run(
                "UPDATE certificates SET state = 'issued', issued_at = ? WHERE fingerprint = ? AND state = 'reserved'",
                (now, leaf.fingerprint),
            )
        ledger.run(
            "UPDATE certificates SET state = 'superseded' WHERE authority = ? AND identity = '' AND name = 'issuing'"
            " AND state = 'issued' AND fingerprint != ?",
            (authority, chain.issuing.fingerprint),
        )
        if act:
            ledger.run("INSERT INTO acts (at, act, identity, said) VALUES (?, ?, '', ?)", (now, *act))


def is_settled(ledger: Ledger, chain: Chain) -> bool:
    """Whether the last change of these certificates was brought to its end."""
    entries = [ledger.find_fingerprint(leaf.fingerprint) for leaf in (chain.root, chain.issuing)]
    return all(entry is not None and entry.state != "reserved" for entry in entries)


def longest_life(ledger: Ledger, authority: str, *, now: int) -> int:
    """Seconds of the longest life that was asked of this authority for a leaf that still lives."""
    rows = ledger.run(
        "SELECT max(coalesce(lifetime, not_after - not_before)) FROM certificates"
        " WHERE authority = ? AND identity != '' AND not_after > ? AND state != 'reserved'",
        (authority, now),
    )
    return max(int(rows[0][0] or 0), USUAL_LIFETIME)


def refuse_narrowing(ledger: Ledger, authority: str, limits: Constraints, *, now: int) -> None:
    """Raise CAError when leaves in force would lie outside of new limits: they would fail at once, everywhere."""
    outside = list(_outside(ledger, authority, limits, now=now))
    if not outside:
        return
    shown = "; ".join(outside[:_SHOWN]) + (f"; and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else "")
    raise CAError(
        f"The issuing CA of authority '{authority}' cannot be limited to {describe_limits(limits)}: certificates in force lie "
        f"outside ({shown}). Nothing was changed. Give these their new names first, or revoke them "
        "(playbooks/decommission.yml, playbooks/revoke.yml), or add what is missing to tls_ca_domains and tls_ca_networks.",
        code="narrowing",
    )


def describe_limits(limits: Constraints | None) -> str:
    """Limits as a message says them."""
    if not limits:
        return "no limits"
    parts = [*limits.domains, *limits.networks, *(f"not {item}" for item in limits.excluded)]
    return ", ".join([*parts, *(f"any {kind} name" for kind in limits.unlimited)])


def _outside(ledger: Ledger, authority: str, limits: Constraints, *, now: int) -> Iterable[str]:
    rows: Sequence = ledger.run(
        "SELECT * FROM certificates WHERE authority = ? AND identity != '' AND state = 'issued' AND not_after > ? ORDER BY id",
        (authority, now),
    )
    for entry in map(to_entry, rows):
        names = limits.outside(entry.names, entry.common_name)
        if names:
            yield f"{entry.identity}/{entry.name} has {', '.join(names)}"


def _entry(ledger: Ledger, authority: str, part: str, leaf: Leaf, *, issuer: Leaf, why: str) -> Entry:
    entry = entry_of(leaf, authority=authority, issuer=issuer.spki, name=part, why=why)
    if ledger.find_serial(leaf.serial) is None:
        return entry
    # Only ours are unique everywhere; others may count from one.
    return dataclasses.replace(entry, serial=f"{leaf.serial}@{issuer.spki}")


def entry_of(
    leaf: Leaf, *, authority: str, issuer: str, name: str, why: str, identity: str = "", profile: str | None = None
) -> Entry:
    """A certificate that is there already, as the ledger enters it. Without an identity it is an authority's own, O(name) its part.

    O(issuer): the SPKI of the key that signed it.
    """
    return Entry(
        serial=leaf.serial,
        authority=authority,
        issuer=issuer,
        identity=identity,
        name=name,
        profile=profile or name,
        common_name=leaf.common_name,
        names=leaf.names if identity else (),
        spki=leaf.spki,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        fingerprint=leaf.fingerprint,
        pem=leaf.pem,
        why=(why,),
    )


def refuse_lost(store: Store, authority: str, *, what: str) -> None:
    """What the ledger knows and the disk does not has been lost: a second one of its name is none. O(what): C(a CA), C(a root)."""
    if not store.names() and not store.has_ledger():
        return
    with Ledger.read(store.ledger) as ledger:
        if ledger.knows_authority(authority):
            raise CAError(
                f"Half {what}: the ledger {store.ledger} knows the authority '{authority}', but {store.path(authority)} is gone. "
                "Nothing was made anew, since machines trust the one that was there. Restore the folder from your backup.",
                code="half_ca",
            )
