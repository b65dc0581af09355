# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds which name of an authority: C(DNS:...), C(IP:...), and C(CN:...) where clients are known by it. A common name that stands
for a host, since there is no DNS name, is held as C(DNS:...).

An identity holds a name as long as it has a certificate in force with it. A wildcard and a name that it covers are rivals as the
same name would be. The table only tells where to look, so what ends
such a certificate (a newer one in service, a revocation, its time) frees its names without any further step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .._x509.constraints import stands_for_host
from .._x509.profiles import Profile
from .ledger import Ledger

LISTED = (
    "SELECT holders.name, identity, shared FROM json_each(?) AS asked"
    " CROSS JOIN holders ON holders.authority = ? AND holders.name = asked.value"
)
COVERED = (
    # Without a word SQLite would look at all names of the authority for each wildcard.
    "SELECT holders.name, identity, shared FROM json_each(?) AS asked CROSS JOIN holders INDEXED BY holders_by_parent"
    " ON holders.authority = ? AND substr(name, instr(name, '.') + 1) = asked.value"
)
OF_HOLDER = (
    "SELECT name, names, common_name, profile FROM certificates INDEXED BY certificates_by_holder"
    " WHERE identity = ? AND state = 'issued' AND authority = ? AND not_after >= ?"
)
_WILDCARD = "DNS:*."
# shared, where several had the name before anybody held it: it counts as shared, by those that had it then, until they say so
# themselves. From then on what they say counts.
_INHERITED = 2


@dataclass(frozen=True)
class Claim:
    """The names that a certificate would hold for its identity, and those that it would share on purpose."""

    identity: str
    certificate: str
    authority: str
    names: tuple[str, ...]
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Conflict:
    """A claimed name that O(holder) has, or has by O(held), where one is a wildcard that covers the other. C(agreed): the claim would
    share it, but the holder does not."""

    name: str
    held: str
    holder: str
    agreed: bool


# (authority, identity, name): names that an identity shares on purpose, whether or not it asks for a certificate now.
Declared = frozenset[tuple[str, str, str]]


def held_names(names: Sequence[str], common_name: str | None, *, profile: Profile | None) -> tuple[str, ...]:
    """What a certificate of that profile holds; one that its authority does not have any more may have been for clients."""
    known_by = (f"CN:{common_name}",) if common_name and (profile is None or profile.is_for_clients) else ()
    return (*names, *_as_host(common_name, names), *known_by)


def shared_names(shared: Iterable[str], names: Sequence[str]) -> frozenset[str]:
    """What is shared on purpose, besides what is written: who shares a common name also shares the host that it stands for."""
    written = frozenset(shared)
    common_names = (name[3:] for name in written if name.startswith("CN:"))
    return written.union(*(_as_host(common_name, names) for common_name in common_names))


def _as_host(common_name: str | None, names: Sequence[str]) -> tuple[str, ...]:
    return (f"DNS:{common_name.lower()}",) if common_name and stands_for_host(common_name, names) else ()


class Names:
    """The names of one batch: claims are let in one after the other, in the order of the requests."""

    def __init__(self, ledger: Ledger, claims: Sequence[Claim], declared: Declared = frozenset()) -> None:
        self._ledger = ledger
        self._asked = {(claim.authority, claim.identity, claim.certificate): frozenset(claim.names) for claim in claims}
        # What an identity says now counts for more than what it said when its certificate was issued.
        self._says = {**dict.fromkeys(declared, True), **holdings(claims)}
        self._listed = _listed(ledger, claims)
        self._inherited = {
            (authority, identity, name)
            for (authority, name), identities in self._listed.items()
            for identity, shares in identities.items()
            if shares == _INHERITED
        }
        # What the wildcards that anybody has or claims cover, of the ledger and of this batch, by (authority, domain).
        known = {*self._listed, *((claim.authority, name) for claim in claims for name in claim.names)}
        self._covered: dict[tuple[str, str], set[str]] = {
            (authority, _covers(name)): set() for authority, name in known if _covers(name)
        }
        # Who shares a name and who keeps it to itself: a name may be shared by a whole fleet, and each of them asks.
        self._sharing: dict[tuple[str, str], set[str]] = {}
        self._keeping: dict[tuple[str, str], set[str]] = {}
        for (authority, name), identities in self._listed.items():
            for identity, shares in identities.items():
                self._sort(authority, name, identity, shares=bool(shares))
        self._admitted: set[tuple[str, str, str]] = set()

    def admit(self, claim: Claim, *, profiles: Mapping[str, Profile], now: int) -> Conflict | None:
        """Take the names, or tell which one somebody else has."""
        for name in claim.names:
            agreed = name in claim.shared or (claim.authority, claim.identity, name) in self._inherited
            for held in self._rivals(claim.authority, name):
                key = (claim.authority, held)
                others = self._keeping.get(key, set()) | (set() if agreed else self._sharing.get(key, set()))
                for holder in sorted(others - {claim.identity}):
                    if (*key, holder) in self._admitted or self._holds(
                        holder, held, authority=claim.authority, profiles=profiles, now=now
                    ):
                        return Conflict(name, held, holder, agreed)
        for name in claim.names:
            self._admitted.add((claim.authority, name, claim.identity))
            self._sort(claim.authority, name, claim.identity, shares=name in claim.shared)
        return None

    def _rivals(self, authority: str, name: str) -> tuple[str, ...]:
        """The names that others must not have beside this one, as far as anybody is known to have them."""
        if not self._covered or not name.startswith("DNS:"):
            return (name,)
        if _covers(name):
            return (name, *sorted(self._covered[authority, _covers(name)]))
        return (name, _WILDCARD + _domain(name))

    def _sort(self, authority: str, name: str, identity: str, *, shares: bool) -> None:
        key = (authority, identity, name)
        shares = self._says.get(key, shares) or key in self._inherited
        (self._sharing if shares else self._keeping).setdefault((authority, name), set()).add(identity)
        if self._covered and name.startswith("DNS:") and not _covers(name):
            self._covered.get((authority, _domain(name)), set()).add(name)

    def are_listed(self, held: Mapping[tuple[str, str, str], bool]) -> bool:
        """Whether the ledger says already all that holdings() found."""
        return all(
            self._listed.get((authority, name), {}).get(identity) in ((1,) if shared else (0, _INHERITED))
            for (authority, identity, name), shared in held.items()
        )

    def _holds(self, identity: str, name: str, *, authority: str, profiles: Mapping[str, Profile], now: int) -> bool:
        """Whether a certificate in force has it, other than one that this very batch replaces by one without it."""
        rows = self._ledger.run(OF_HOLDER, (identity, authority, now))
        for row in rows:
            if name not in self._asked.get((authority, identity, str(row["name"])), {name}):
                continue
            if name in held_names(json.loads(row["names"]), row["common_name"], profile=profiles.get(row["profile"])):
                return True
        return False


def holdings(claims: Iterable[Claim]) -> dict[tuple[str, str, str], bool]:
    """(authority, identity, name) of all that is claimed, and whether it is shared: one of an identity's claims is enough for that."""
    found: dict[tuple[str, str, str], bool] = {}
    for claim in claims:
        for name in claim.names:
            key = (claim.authority, claim.identity, name)
            found[key] = found.get(key, False) or name in claim.shared
    return found


def hold(ledger: Ledger, held: Mapping[tuple[str, str, str], bool]) -> None:
    """Write down what holdings() found, within a transaction of the ledger."""
    ledger.run_many(
        "INSERT INTO holders (authority, identity, name, shared) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (authority, name, identity) DO UPDATE SET shared = excluded.shared"
        " WHERE shared != excluded.shared AND (excluded.shared OR shared != ?)",
        ((*key, shared, _INHERITED) for key, shared in held.items()),
    )


def _covers(name: str) -> str:
    """The domain below which a wildcard covers all names with one label more; empty for other names."""
    return name[len(_WILDCARD) :] if name.startswith(_WILDCARD) else ""


def _domain(name: str) -> str:
    return name.partition(".")[2]


def _listed(ledger: Ledger, claims: Iterable[Claim]) -> dict[tuple[str, str], dict[str, int]]:
    """For (authority, name) of all that is claimed, covers it or is covered, who may hold it, and whether it is shared."""
    asked: dict[str, set[str]] = {}
    for claim in claims:
        asked.setdefault(claim.authority, set()).update(claim.names)
    found: dict[tuple[str, str], dict[str, int]] = {}
    for authority, names in asked.items():
        wildcards = {_WILDCARD + _domain(name) for name in names if name.startswith("DNS:")}
        domains = {domain for name in names if (domain := _covers(name))}
        # One statement for all of them: a batch may ask for ten thousand certificates.
        for statement, wanted in ((LISTED, names | wildcards), (COVERED, domains)):
            for row in ledger.run(statement, (json.dumps(sorted(wanted)), authority)) if wanted else ():
                found.setdefault((authority, row["name"]), {})[row["identity"]] = row["shared"]
    return found
