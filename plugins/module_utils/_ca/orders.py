# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as they come in, and the orders that they become once they have been checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from .._x509.constraints import Constraints
from .._x509.duration import LONGEST
from .._x509.errors import X509Error
from .._x509.keys import KEY_TYPES
from .._x509.names import is_dn_text, parse_names, parse_shared_names
from .._x509.parse import parse_csr_key
from .._x509.profiles import Profile, check_profile, choose_profile
from .errors import CAError, ItemError
from .holders import Claim, Declared, held_names, shared_names
from .policy import Policy

_IDENTITY = re.compile(r"[^/\s\x00-\x1f\x7f]{1,253}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_REASON = re.compile(r"[a-z0-9_]{1,64}\Z")


@dataclass(frozen=True)
class Order:
    """A request that was found right by itself. Spans in seconds; names are normalised.

    C(shared): names that other identities may have too. Whether its authority signs it is for admit() to say.
    """

    id: str
    identity: str
    name: str
    authority: str
    profile: str
    common_name: str | None
    names: tuple[str, ...]
    spki: str
    public_key: Any
    lifetime: int
    renew_before: int | None
    reasons: tuple[str, ...]
    shared: tuple[str, ...] = ()

    def claim(self, profile: Profile) -> Claim:
        """The names that its certificate will hold."""
        names = held_names(self.names, self.common_name, profile=profile)
        return Claim(self.identity, self.name, self.authority, names, shared_names(self.shared, self.names))


def admit(order: Order, *, policy: Policy, constraints: Constraints | None) -> tuple[Order, Profile, tuple[str, ...]]:
    """What the authority's rules make of an order: it as it will be signed, its profile, and remarks. Raises ItemError."""
    with _refused_as("bad_profile", where=order.id):
        profile = choose_profile(order.profile, policy.profiles, where=f"{order.id}, authority '{order.authority}'")
    if not order.names and ("serverAuth" in profile.usages or order.common_name is None):
        raise ItemError(
            f"{order.id}: there is no name to certify. Give names (or, for a client, a common_name).", code="bad_names"
        )
    # Who signed the issuing CA elsewhere may have left out some of the limits that were wished for: those hold all the same.
    limits = [item for item in (constraints, policy.constraints) if item]
    outside = tuple(dict.fromkeys(name for item in limits for name in item.outside(order.names, order.common_name)))
    if outside:
        raise ItemError(
            f"{order.id}: the authority '{order.authority}' does not certify {', '.join(outside)}: it is limited to other domains "
            "and networks, and clients would reject the certificate. Nothing was issued. Correct the names, or add to "
            "tls_ca_domains or tls_ca_networks and run playbooks/ca.yml, then run again.",
            code="outside_constraints",
        )
    if profile.max_lifetime is None or order.lifetime <= profile.max_lifetime:
        return order, profile, ()
    note = (
        f"lives {profile.max_lifetime} s, not {order.lifetime} s as asked: profile '{profile.name}' of authority "
        f"'{order.authority}' allows no more"
    )
    return replace(order, lifetime=profile.max_lifetime), profile, (note,)


def read_orders(requests: Iterable[Mapping[str, Any]]) -> tuple[list[Order], dict[str, ItemError]]:
    """Check each request by itself: the orders, and for each bad one what is wrong with it, by id."""
    orders: dict[str, Order] = {}
    refused: dict[str, ItemError] = {}
    for request in requests:
        key = request_id(request)
        try:
            if key in orders or key in refused:
                # Which of the two is meant? Neither is issued.
                orders.pop(key, None)
                raise ItemError(
                    f"{key}: this certificate is asked for twice in one batch. Give each its own name.",
                    code="duplicate_id",
                )
            orders[key] = read_order(request)
        except ItemError as exc:
            refused[key] = exc
    return list(orders.values()), refused


def read_declared(items: Iterable[Mapping[str, Any]]) -> Declared:
    """Names that identities share on purpose which ask for nothing now. Raises CAError."""
    declared = set()
    for item in items:
        try:
            names = parse_shared_names(item.get("names") or (), where=f"shared_names of '{item.get('identity')}'")
        except (X509Error, TypeError) as exc:
            raise CAError(f"{exc} Nothing was issued.", code="bad_request") from exc
        shared = shared_names(names, names)
        declared |= {(str(item.get("authority")), str(item.get("identity")), name) for name in shared}
    return frozenset(declared)


def request_id(request: Mapping[str, Any]) -> str:
    """What a request is called in the answer."""
    return str(request.get("id") or f"{request.get('identity') or '?'}/{request.get('name') or '?'}")


def read_order(request: Mapping[str, Any]) -> Order:
    """Check one request. Raises ItemError."""
    where = request_id(request)
    identity, name = str(request.get("identity") or ""), str(request.get("name") or "")
    if not _IDENTITY.match(identity) or not _NAME.match(name) or where != f"{identity}/{name}":
        raise ItemError(
            f"{where}: the request must be called <identity>/<name> after its identity ('{identity}') and name ('{name}').",
            code="bad_request",
        )
    with _refused_as("bad_csr", where=where):
        csr = parse_csr_key(str(request.get("csr") or ""), where=f"{where}, CSR")
    if csr.key not in KEY_TYPES:
        raise ItemError(
            f"{where}: a key of type {csr.key} is not signed. Use one of {', '.join(KEY_TYPES)}.", code="bad_key"
        )
    spki = str(request.get("spki") or csr.spki)
    if spki != csr.spki:
        raise ItemError(
            f"{where}: the CSR is for another key ({csr.spki}) than the request ({spki}). Run again: a new CSR is made.",
            code="spki_mismatch",
        )
    with _refused_as("bad_profile", where=where):
        profile = check_profile(str(request.get("profile") or ""), where=where)
    with _refused_as("bad_names", where=where):
        names = parse_names(request.get("names") or (), where=where)
        shared = parse_shared_names(request.get("shared_names") or (), where=f"{where}, shared_names")
    common_name = str(request["common_name"]) if request.get("common_name") else None
    _check_subject(common_name, where=where)
    lifetime, renew_before = _spans(request, where=where)
    return Order(
        id=where,
        identity=identity,
        name=name,
        authority=str(request.get("authority") or ""),
        profile=profile,
        common_name=common_name,
        names=names,
        spki=spki,
        public_key=csr.public_key,
        lifetime=lifetime,
        renew_before=renew_before,
        reasons=tuple(str(reason) for reason in request.get("reasons") or () if _REASON.match(str(reason))),
        shared=shared,
    )


@contextmanager
def _refused_as(code: str, *, where: str) -> Iterator[None]:
    try:
        yield
    except X509Error as exc:
        raise ItemError(str(exc), code=code) from exc
    except TypeError as exc:
        raise ItemError(f"{where}: a field has a type that it must not have ({exc}).", code="bad_request") from exc


def _check_subject(common_name: str | None, *, where: str) -> None:
    if common_name is not None and not is_dn_text(common_name):
        raise ItemError(
            f"{where}: the common_name is longer than 64 bytes or has a comma, quote or control character. Shorten it.",
            code="bad_names",
        )


def _spans(request: Mapping[str, Any], *, where: str) -> tuple[int, int | None]:
    try:
        lifetime, renew_before = int(request.get("lifetime") or 0), int(request.get("renew_before") or 0)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ItemError(f"{where}: lifetime and renew_before are whole seconds.", code="bad_lifetime") from exc
    if lifetime > LONGEST:
        raise ItemError(
            f"{where}: the lifetime is more than 100 years, the longest span that there can be. Nothing was issued. Shorten it.",
            code="bad_lifetime",
        )
    if not 0 <= renew_before < lifetime:
        raise ItemError(
            f"{where}: a lifetime of {lifetime} s with renewal {renew_before} s before its end makes no sense. "
            "The lifetime must be positive, and renew_before shorter.",
            code="bad_lifetime",
        )
    return lifetime, renew_before or None
