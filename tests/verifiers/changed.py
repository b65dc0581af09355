# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities in the course of their life: signed by the company, renewed, with a new network. Cases to be accepted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_bundle

from .case import Case
from .company import Company
from .issued import BOTH, DOMAINS, KEY_TYPES, LIMITS, names_within
from .plant import DAY, Issued, Order, Plant

ELSEWHERE = {"location": "elsewhere"}


def company_roots(plant: Plant, folder: Path) -> Iterator[Case]:
    """Issuing CAs that the company signed: under an intermediate CA with limits, and under its root."""
    forms: tuple[tuple[str, dict[str, Any], bool], ...] = (
        ("company-deep", LIMITS["all"], True),
        ("company-flat", {}, False),
    )
    for name, limits, intermediate in forms:
        company = Company(folder / name, intermediate=intermediate)
        request = plant.create(name, root=ELSEWHERE, **limits).request
        signed = company.sign(str(request))
        # The company does not backdate.
        plant.now = int(time.time())
        compared = {**ELSEWHERE, "fingerprint": parse_bundle(signed)[-1].fingerprint}
        plant.create(name, root=compared, chain=signed, **limits)
        orders = [
            Order(f"{name}-{key_type}", names_within({}, number), name, profile="server_client", key_type=key_type)
            for number, key_type in enumerate(KEY_TYPES, start=60)
        ]
        for issued in plant.produce(*orders):
            yield from issued.cases(purposes=BOTH)


def renewed(folder: Path) -> list[tuple[list[Case], Plant]]:
    """An issuing CA that was renewed in time: leaves from before and after it, each with the chain from before and after."""
    found = []
    for root, issuing in (("ec-p256", "ec-p256"), ("rsa-2048", "rsa-2048")):
        plant = Plant(folder / f"renewed-{issuing}")
        today = plant.now
        keys: dict[str, Any] = {"root": {"key_type": root}, "issuing": {"key_type": issuing, "lifetime": "200d"}}
        plant.now = today - 150 * DAY
        plant.create(**keys)
        plant.now = today - 30 * DAY
        (before,) = plant.produce(_order("before", 1, lifetime=60 * DAY))
        plant.now = int(time.time())
        plant.create(**keys)
        (after,) = plant.produce(_order("after", 2))
        found.append((list(_crosswise(before, after)), plant))
    return found


def widened(plant: Plant) -> Iterator[Case]:
    """An issuing CA that was reissued for a new network: leaves that it had before stay good under either chain."""
    plant.create("widened", domains=[DOMAINS])
    (before,) = plant.produce(Order("before", ("DNS:m70.plant.example",), "widened", profile="server_client"))
    plant.create("widened", **LIMITS["all"])
    (after,) = plant.produce(Order("after", names_within({}, 71), "widened", profile="server_client"))
    if before.chain[1] == after.chain[1]:
        raise AssertionError("a new network did not reissue the issuing CA")
    yield from before.cases(purposes=BOTH)
    yield from after.cases(purposes=BOTH)
    yield from before.cases(purposes=BOTH, chain=(before.chain[0], *after.chain[1:]), title=f"{before.title} new chain")


def _order(identity: str, number: int, *, lifetime: int = 90 * DAY) -> Order:
    return Order(identity, names_within({}, number), profile="server_client", lifetime=lifetime)


def _crosswise(before: Issued, after: Issued) -> Iterator[Case]:
    if before.chain[1] == after.chain[1]:
        raise AssertionError("the issuing CA was not renewed")
    for leaf in (before, after):
        for sender in (before, after):
            title = f"{leaf.title}, chain from {sender.order.identity} the renewal"
            yield from leaf.cases(purposes=BOTH, chain=(leaf.chain[0], *sender.chain[1:]), title=title)
