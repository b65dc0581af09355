# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch of certificates: each serial is in the ledger before anything is signed, and each signature before it leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from .._x509.build import new_serial
from .._x509.errors import X509Error
from .._x509.judge import renewal_due_at
from .._x509.parse import iso
from .errors import CAError, ItemError
from .known import check_known
from .ledger import Entry, Ledger, Signed
from .lock import WAIT, locked
from .orders import Order, read_orders
from .store import Store

# Clocks of devices are late more often than the CA's: a new leaf is good for them too.
BACKDATE = 3600


def backdated(now: int, lifetime: int) -> int:
    """When a certificate begins. A short life is not stretched by the full hour: it would be due at once."""
    return now - min(BACKDATE, lifetime // 10)


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
    def not_after(self) -> int: ...

    def unlock(self) -> None: ...

    def sign(self, order: Order, *, serial: str, not_before: int, not_after: int) -> Signed: ...


def issue(
    requests: Iterable[Mapping[str, Any]],
    *,
    store: Store,
    open_issuer: Callable[[str], Issuer],
    now: int,
    wait: float = WAIT,
) -> dict[str, Any]:
    """Sign what is asked for, or return what is in force already.

    Returns C(chains), PEM by authority, and C(certificates) by id: the certificate, or an C(error) with code and message
    where only this one is refused. Raises CAError when nothing at all could be done.
    """
    store.require()
    orders, refused = read_orders(requests)
    with locked(store.directory, wait=wait), Ledger.open(store.ledger) as ledger:
        ledger.refuse_frozen()
        return _Batch(ledger, open_issuer, refused, now=now).run(orders)


class _Batch:
    def __init__(
        self, ledger: Ledger, open_issuer: Callable[[str], Issuer], refused: dict[str, ItemError], *, now: int
    ) -> None:
        self._ledger = ledger
        self._open_issuer = open_issuer
        self._now = now
        self._opened: dict[str, Issuer | CAError] = {}
        self._chains: dict[str, str] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        for key, error in refused.items():
            self._refuse(key, error)

    def run(self, orders: Sequence[Order]) -> dict[str, Any]:
        due = [order for order in orders if not self._answered_from_ledger(order)]
        reserved = self._reserve(due)
        signed = self._sign(reserved)
        if signed:
            self._ledger.store([item for _order, _entry, item in signed], now=self._now)
        for order, entry, item in signed:
            self._answer(order, dataclasses.replace(entry, fingerprint=item.fingerprint, pem=item.pem), issued=True)
        return {"chains": self._chains, "certificates": self._answers}

    def _answered_from_ledger(self, order: Order) -> bool:
        """Whether the order needs no signature: there is a leaf in force, or it cannot be served at all."""
        try:
            issuer = self._issuer(order.authority)
        except CAError as exc:
            self._refuse(order.id, exc)
            return True
        wanted = (order.authority, issuer.spki, order.profile, order.common_name, order.names)
        for entry in self._ledger.find_issued(identity=order.identity, name=order.name, spki=order.spki):
            same = (entry.authority, entry.issuer, entry.profile, entry.common_name, entry.names) == wanted
            if same and self._now < renewal_due_at(entry, order.renew_before):
                self._answer(order, entry, issued=False)
                return True
        return False

    def _reserve(self, orders: Iterable[Order]) -> list[tuple[Order, Entry]]:
        """Serials for those orders whose authority can sign now, written to the ledger."""
        reserved = []
        for order in orders:
            try:
                reserved.append((order, self._entry(order)))
            except CAError as exc:
                self._refuse(order.id, exc)
        if reserved:
            self._ledger.reserve([entry for _order, entry in reserved], now=self._now)
        return reserved

    def _entry(self, order: Order) -> Entry:
        issuer = self._issuer(order.authority)
        if issuer.not_after <= self._now:
            raise ItemError(
                f"{order.id}: the issuing CA of authority '{order.authority}' has expired ({iso(issuer.not_after)}), it signs nothing "
                "any more. Renew it on the CA host, then run again.",
                code="issuer_expired",
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

    def _sign(self, reserved: Iterable[tuple[Order, Entry]]) -> list[tuple[Order, Entry, Signed]]:
        signed = []
        for order, entry in reserved:
            issuer = self._issuer(order.authority)
            try:
                item = issuer.sign(order, serial=entry.serial, not_before=entry.not_before, not_after=entry.not_after)
            except (X509Error, ValueError) as exc:
                # Its serial stays reserved in the ledger and is never used.
                self._refuse(order.id, ItemError(f"{order.id}: could not be signed: {exc}", code="not_signed"))
                continue
            signed.append((order, entry, item))
        return signed

    def _issuer(self, authority: str) -> Issuer:
        if authority not in self._opened:
            try:
                self._opened[authority] = self._known(self._open_issuer(authority))
            except CAError as exc:
                self._opened[authority] = exc
        issuer = self._opened[authority]
        if isinstance(issuer, CAError):
            raise CAError(str(issuer), code=issuer.code) from issuer
        return issuer

    def _unlock(self, issuer: Issuer) -> None:
        try:
            issuer.unlock()
        except CAError as exc:
            # For the authority's further orders as well: they need not ask again.
            self._opened[issuer.name] = exc
            raise

    def _known(self, issuer: Issuer) -> Issuer:
        check_known(self._ledger, issuer.name, issuer.fingerprints)
        return issuer

    def _answer(self, order: Order, entry: Entry, *, issued: bool) -> None:
        issuer = self._issuer(order.authority)
        self._chains[order.authority] = issuer.chain
        notes = []
        if issued and entry.not_after < self._now + order.lifetime:
            notes.append(
                f"ends {iso(entry.not_after)} with its issuing CA, not {iso(self._now + order.lifetime)} as asked: "
                f"the issuing CA of '{order.authority}' needs to be renewed"
            )
        self._answers[order.id] = {
            "certificate": entry.pem,
            "authority": order.authority,
            "serial": entry.serial,
            "fingerprint": entry.fingerprint,
            "not_before": iso(entry.not_before),
            "not_after": iso(entry.not_after),
            "issued": issued,
            "notes": notes,
        }

    def _refuse(self, key: str, error: CAError) -> None:
        self._answers[key] = {"error": {"code": error.code, "message": str(error)}}
