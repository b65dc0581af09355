# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch of certificates: each serial is in the ledger before anything is signed, and each signature before it leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from .._x509.build import new_serial
from .._x509.constraints import Constraints
from .._x509.errors import X509Error
from .._x509.lifespan import backdated, renewal_due_at
from .._x509.parse import iso
from .acts import decommissioned
from .clock import UNCOMPARED, Clock
from .errors import CAError, ItemError
from .holders import Claim, Conflict, Declared, Names, hold, holdings
from .known import check_known
from .ledger import Entry, Ledger, Signed
from .lock import WAIT, locked
from .orders import Order, admit, read_orders, request_id
from .policy import Policy
from .refusals import Refusal, clear_refusals, note_refusals, refused_before
from .revocation import compromised_keys, why_issuer_is_revoked
from .store import Store


class Issuer(Protocol):
    """Where signatures of one authority come from. The ledger is not its business: it only signs."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprints(self) -> tuple[str, ...]: ...

    @property
    def chain(self) -> str: ...

    @property
    def spki(self) -> str: ...

    @property
    def not_before(self) -> int: ...

    @property
    def not_after(self) -> int: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def constraints(self) -> Constraints | None: ...

    def unlock(self) -> None: ...

    def sign(self, order: Order, *, serial: str, not_before: int, not_after: int) -> Signed: ...


def issue(
    requests: Iterable[Mapping[str, Any]],
    *,
    store: Store,
    open_issuer: Callable[[str], Issuer],
    now: int,
    clock: Clock = UNCOMPARED,
    declared: Declared = frozenset(),
    wait: float = WAIT,
) -> dict[str, Any]:
    """Sign what is asked for, or return what is in force already.

    O(declared): names that identities share on purpose which ask for nothing now. Returns C(chains), PEM by authority, and
    C(certificates) by id: the certificate, or an C(error) with code and message where only this one is refused. Raises CAError
    when nothing at all could be done.
    """
    store.require()
    asked = list(requests)
    orders, refused = read_orders(asked)
    with locked(store.directory, wait=wait), Ledger.open(store.ledger) as ledger:
        ledger.refuse_frozen()
        batch = _Batch(ledger, open_issuer, now=now, clock=clock)
        for key, error in refused.items():
            batch.refuse(key, error)
        return batch.run(orders, asked, declared)


@dataclasses.dataclass(frozen=True)
class _Case:
    """An order that its authority's rules allow, with what is in force for it or reserved."""

    order: Order
    claim: Claim
    notes: tuple[str, ...]
    entry: Entry


class _Batch:
    def __init__(self, ledger: Ledger, open_issuer: Callable[[str], Issuer], *, now: int, clock: Clock) -> None:
        self._ledger = ledger
        self._open_issuer = open_issuer
        self._now = now
        self._clock = clock
        self._opened: dict[str, Issuer | CAError] = {}
        self._in_force: dict[tuple[str, str, str], list[Entry]] = {}
        self._locked: dict[str, CAError] = {}
        self._keys_to_avoid: frozenset[str] | None = None
        self._out: frozenset[str] = frozenset()
        self._chains: dict[str, str] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    def run(self, orders: Iterable[Order], asked: Iterable[Mapping[str, Any]], declared: Declared) -> dict[str, Any]:
        """Answer the orders; O(asked) are all requests, also those that were refused already."""
        cases = self._cases(list(orders))
        found = [case for case in cases if case.entry.id]
        names = Names(self._ledger, [case.claim for case in cases], declared)
        due = [case for case in cases if not case.entry.id and self._may_hold(case.claim, names, key=case.order.id)]
        if due:
            self._clock.refuse_wrong(now=self._now)
            self._ledger.reserve([case.entry for case in due], now=self._now)
        signed = self._sign(due)
        self._write(signed, found, asked, names)
        for case in found:
            self._answer(case, case.entry.fingerprint, case.entry.pem, issued=False)
        for case, item in signed:
            self._answer(case, item.fingerprint, item.pem, issued=True)
        return {"chains": self._chains, "certificates": self._answers}

    def _cases(self, orders: Sequence[Order]) -> list[_Case]:
        self._in_force = self._ledger.find_in_force(
            ((order.identity, order.name, order.spki) for order in orders), now=self._now
        )
        self._out = decommissioned(self._ledger, {order.identity for order in orders})
        cases = []
        for order in orders:
            try:
                cases.append(self._case(order))
            except CAError as exc:
                self.refuse(order.id, exc)
        return cases

    def _case(self, asked: Order) -> _Case:
        if asked.identity in self._out:
            raise ItemError(
                f"{asked.id}: '{asked.identity}' was decommissioned, so nothing was issued for it. Take it out of the inventory; if it "
                "is in use again, run playbooks/readmit.yml for it, or playbooks/replace.yml if another machine has its name now.",
                code="decommissioned",
            )
        if asked.spki in self._compromised():
            # Also where something is in force for it: an older release may have left that.
            raise ItemError(
                f"{asked.id}: the key {asked.spki} was revoked, since somebody else may have it. Nothing was issued for it. Remove the "
                "key where it is used, so that the next run makes another one.",
                code="compromised_key",
            )
        issuer = self._issuer(asked.authority)
        order, profile, notes = admit(asked, policy=issuer.policy, constraints=issuer.constraints)
        return _Case(order, order.claim(profile), notes, self._found(order, issuer) or self._new(order, issuer))

    def _found(self, order: Order, issuer: Issuer) -> Entry | None:
        """The leaf that is what the order asks for, if there is one that is not due."""
        wanted = (order.authority, issuer.spki, order.profile, order.common_name, order.names)
        for entry in self._in_force.get((order.identity, order.name, order.spki), ()):
            same = (entry.authority, entry.issuer, entry.profile, entry.common_name, entry.names) == wanted
            if same and self._now < renewal_due_at(entry, order.renew_before):
                return entry
        return None

    def _new(self, order: Order, issuer: Issuer) -> Entry:
        """What is to be reserved, if the authority can sign now."""
        if issuer.not_after <= self._now:
            raise ItemError(
                f"{order.id}: the issuing CA of authority '{order.authority}' has expired ({iso(issuer.not_after)}), it signs nothing "
                "any more. Nothing was issued. Run playbooks/ca.yml, which renews it or says what is in the way, then run again.",
                code="issuer_expired",
            )
        if issuer.not_before > self._now:
            raise ItemError(
                f"{order.id}: the issuing CA of authority '{order.authority}' (or its root) begins only {iso(issuer.not_before)}: a clock "
                "was wrong when it was made. Nothing was issued. Run playbooks/ca.yml, which reissues it or says what is in the way, then "
                "run again.",
                code="issuer_not_begun",
            )
        self._unlock(issuer)
        return Entry(
            serial=f"{new_serial():x}",
            authority=order.authority,
            issuer=issuer.spki,
            identity=order.identity,
            name=order.name,
            profile=order.profile,
            common_name=order.common_name,
            names=order.names,
            spki=order.spki,
            not_before=backdated(self._now, order.lifetime),
            not_after=min(self._now + order.lifetime, issuer.not_after),
            why=order.reasons,
            lifetime=order.lifetime,
        )

    def _compromised(self) -> frozenset[str]:
        """Keys that somebody else may have; asked for once, where something is asked for."""
        if self._keys_to_avoid is None:
            self._keys_to_avoid = compromised_keys(self._ledger)
        return self._keys_to_avoid

    def _may_hold(self, claim: Claim, names: Names, *, key: str) -> bool:
        conflict = names.admit(claim, profiles=self._issuer(claim.authority).policy.profiles, now=self._now)
        if conflict:
            self.refuse(key, ItemError(f"{key}: {_why_held(conflict, claim)}", code="name_held"))
        return conflict is None

    def _sign(self, due: Iterable[_Case]) -> list[tuple[_Case, Signed]]:
        signed = []
        for case in due:
            order, entry = case.order, case.entry
            try:
                item = self._issuer(order.authority).sign(
                    order, serial=entry.serial, not_before=entry.not_before, not_after=entry.not_after
                )
            except (X509Error, ValueError) as exc:
                # Its serial stays reserved in the ledger and is never used.
                self.refuse(order.id, ItemError(f"{order.id}: could not be signed: {exc}", code="not_signed"))
                continue
            signed.append((case, item))
        return signed

    def _write(
        self,
        signed: Sequence[tuple[_Case, Signed]],
        found: Sequence[_Case],
        asked: Iterable[Mapping[str, Any]],
        names: Names,
    ) -> None:
        """What was signed, who holds its names, and what was refused: all of it, or nothing."""
        refusals = self._refusals(asked)
        given_out = [*found, *(case for case, _item in signed)]
        forgiven = refused_before(self._ledger, [(case.order.identity, case.order.name) for case in given_out])
        held = holdings(case.claim for case in given_out)
        if not (signed or refusals or forgiven) and names.are_listed(held):
            return
        with self._ledger.transaction():
            self._ledger.store((item for _case, item in signed), now=self._now)
            hold(self._ledger, held)
            clear_refusals(self._ledger, forgiven)
            note_refusals(self._ledger, refusals, now=self._now)

    def _refusals(self, asked: Iterable[Mapping[str, Any]]) -> list[Refusal]:
        """Of all requests that say whose certificate they are about."""
        found = {}
        for request in asked if any("error" in answer for answer in self._answers.values()) else ():
            error = self._answers.get(request_id(request), {}).get("error")
            if error and request.get("identity") and request.get("name"):
                holder = str(request["identity"]), str(request["name"])
                found[holder] = Refusal(*holder, error["code"], error["message"])
        return list(found.values())

    def _issuer(self, authority: str) -> Issuer:
        if authority not in self._opened:
            try:
                issuer = self._open_issuer(authority)
                check_known(self._ledger, issuer.name, issuer.fingerprints)
                self._refuse_revoked(issuer)
                self._opened[authority] = issuer
            except CAError as exc:
                self._opened[authority] = exc
        found = self._opened[authority]
        if isinstance(found, CAError):
            raise CAError(str(found), code=found.code) from found
        return found

    def _refuse_revoked(self, issuer: Issuer) -> None:
        found = (
            why_issuer_is_revoked(self._ledger, spki=issuer.spki, fingerprint=mark) for mark in issuer.fingerprints
        )
        reason = next((reason for reason in found if reason), None)
        if reason:
            raise CAError(
                f"The issuing CA of authority '{issuer.name}' was revoked ({reason}), it signs nothing any more. Nothing was issued. "
                "Run playbooks/ca.yml, which has it signed again where its key is still good; if that is compromised, create another "
                "authority and move the certificates to it.",
                code="issuer_revoked",
            )

    def _unlock(self, issuer: Issuer) -> None:
        if issuer.name not in self._locked:
            try:
                issuer.unlock()
                return
            except CAError as exc:
                # The authority's further orders need not ask again: each time takes as long as opening the key.
                self._locked[issuer.name] = exc
        said = self._locked[issuer.name]
        raise CAError(str(said), code=said.code) from said

    def _answer(self, case: _Case, fingerprint: str | None, pem: str | None, *, issued: bool) -> None:
        order, entry = case.order, case.entry
        self._chains.setdefault(order.authority, self._issuer(order.authority).chain)
        notes = list(case.notes) if issued else []
        if issued and entry.not_after < self._now + order.lifetime:
            notes.append(
                f"ends {iso(entry.not_after)} with its issuing CA, not {iso(self._now + order.lifetime)} as asked: "
                f"the issuing CA of '{order.authority}' needs to be renewed"
            )
        self._answers[order.id] = {
            "certificate": pem,
            "authority": order.authority,
            "serial": entry.serial,
            "fingerprint": fingerprint,
            "not_before": iso(entry.not_before),
            "not_after": iso(entry.not_after),
            "issued": issued,
            "notes": notes,
        }

    def refuse(self, key: str, error: CAError) -> None:
        """The answer to a request that gets no certificate."""
        self._answers[key] = {"error": {"code": error.code, "message": str(error)}}


def _why_held(conflict: Conflict, claim: Claim) -> str:
    """The sentence for people, with the next step."""
    is_same = conflict.held == conflict.name
    both = "" if is_same else f" ({conflict.name} was asked for: one of the two stands for the other as well)"
    if conflict.agreed:
        return (
            f"'{conflict.holder}' has not said that it shares {conflict.held}{both}. Nothing was issued. Put the name into shared_names of "
            f"'{conflict.holder}' as well, and run for both of them at once."
        )
    return (
        f"'{conflict.holder}' holds the name {conflict.held} in authority '{claim.authority}'{both}. Nothing was issued, since clients "
        f"could not tell the two apart. Correct the names of one of them; if '{claim.identity}' has taken its place, rename or "
        f"decommission '{conflict.holder}' first; if both serve that name on purpose, each puts its own into its shared_names."
    )
