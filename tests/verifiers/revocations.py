# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs: each on its own, leaves that are not on them, and leaves that are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ansible_collections.certfleet.tls.plugins.module_utils._ca import crl, revoke
from ansible_collections.certfleet.tls.plugins.module_utils._x509.revocation_reasons import COMPROMISING
from ansible_collections.certfleet.tls.plugins.module_utils._x509.revocation_reasons import REASONS as WHY

from .case import CRL, SERVER, Case
from .issued import BOTH, KEYS
from .plant import Issued, Order, Plant
from .reasons import REASONS

LIMITED = "limited-all"


@dataclass(frozen=True)
class Revocations:
    """What stays good, what was taken back, and the CRLs (PEM) by their title."""

    kept: list[Case]
    revoked: list[Case]
    crls: dict[str, str]


def make(plant: Plant) -> Revocations:
    """In each authority two leaves, one of them revoked; in the first one a leaf for each reason that there is."""
    found = Revocations([], [], {})
    for number, authority in enumerate((*KEYS, LIMITED), start=80):
        pairs = [("kept", ""), ("taken", "superseded")]
        if authority == "fleet":
            pairs += [(f"taken-{why.replace('_', '-')}", why) for why in WHY]
        orders = [
            Order(
                f"{identity}-{authority}",
                (f"DNS:{identity}{number}.plant.example",),
                authority,
                "server_client",
                # A compromised key loses all its certificates.
                keyring=why if why in COMPROMISING else "",
            )
            for identity, why in pairs
        ]
        leaves = plant.produce(*orders)
        for order, (_identity, why) in zip(orders, pairs, strict=True):
            if why:
                target = revoke.Target.from_options({"identity": order.identity, "reason": why})
                revoke.revoke(target, store=plant.store, now=plant.now)
        _collect(found, plant, authority, leaves)
    return found


def _collect(found: Revocations, plant: Plant, authority: str, leaves: list[Issued]) -> None:
    lists, _done = crl.refresh(plant.store, authority, passphrase=plant.passphrase(), now=plant.now)
    pems = tuple(item.pem for item in lists.crls)
    issuers = (*plant.chain(authority), plant.anchors(authority))
    for part, pem, issuer in zip(("issuing", "root"), pems, issuers, strict=True):
        title = f"{authority}: CRL of its {part} CA"
        found.crls[title] = pem
        found.kept.append(Case(title, (issuer,), plant.anchors(authority), purpose=CRL, crls=(pem,)))
    kept, *taken = leaves
    found.kept.extend(_with_crls(kept, pems))
    for leaf in taken:
        found.revoked.extend(replace(case, because=REASONS["revoked"]) for case in _with_crls(leaf, pems, "revoked"))


def _with_crls(leaf: Issued, pems: tuple[str, ...], kind: str = "issued") -> Iterator[Case]:
    for purpose in BOTH:
        name = leaf.order.names[0] if purpose == SERVER else ""
        yield leaf.case(purpose=purpose, name=name, kind=kind, crls=pems, title=f"{leaf.title}, CRLs")
