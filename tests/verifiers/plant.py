# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA host in a folder, with the machine's clock: what is issued here is issued by the collection's own ensure() and issue()."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._ca.local import open_key
from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_csr
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import key_to_pem, new_key, spki_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_certificate
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.workshop import Workshop, request

from .case import CLIENT, ISSUED, SERVER, Case

DAY = 86400
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)


@cache
def key_of(key_type: str, keyring: str = "") -> Any:
    """A private key of that type, one for all leaves of a keyring: to make an RSA key takes longer than to issue a hundred certificates."""
    return new_key(key_type)


@dataclass(frozen=True)
class Order:
    """A leaf that is wanted."""

    identity: str
    names: tuple[str, ...]
    authority: str = "fleet"
    profile: str = "server"
    key_type: str = "ec-p256"
    common_name: str | None = None
    lifetime: int = 90 * DAY
    keyring: str = ""  # another one where all certificates of its keys are taken back

    @property
    def key(self) -> Any:
        """The private key that its holder has."""
        return key_of(self.key_type, self.keyring)

    def request(self) -> dict[str, Any]:
        """As host_request would ask for it."""
        key = self.key
        return request(
            self.identity,
            authority=self.authority,
            profile=self.profile,
            common_name=self.common_name,
            names=list(self.names),
            csr=build_csr(key, common_name=self.common_name, names=self.names),
            spki=spki_of(key.public_key()),
            lifetime=self.lifetime,
        )


@dataclass(frozen=True)
class Issued:
    """A leaf as its holder has it. C(chain) begins with the leaf; all is PEM."""

    order: Order
    chain: tuple[str, ...]
    anchors: str
    serial: str

    @property
    def title(self) -> str:
        order = self.order
        return f"{order.authority}: {order.profile}, {order.key_type}, {order.identity}"

    def case(self, *, purpose: str = SERVER, name: str = "", kind: str = ISSUED, **changes: Any) -> Case:
        """What a peer asks its verifier about this leaf."""
        shown = {
            "title": " ".join(filter(None, (self.title, name))),
            "chain": self.chain,
            "anchors": self.anchors,
            "key": key_to_pem(self.order.key).decode(),
        }
        return Case(purpose=purpose, name=name, kind=kind, **{**shown, **changes})

    def cases(self, *, purposes: tuple[str, ...] = (SERVER,), **changes: Any) -> list[Case]:
        """A server's under each of its names, a client's once."""
        cases = []
        if SERVER in purposes:
            cases += [self.case(name=name, **changes) for name in self.order.names]
        if CLIENT in purposes:
            cases.append(self.case(purpose=CLIENT, **changes))
        return cases


class Plant(Workshop):
    """All that it issues is remembered, for the lints."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now = int(time.time())
        self.issued: list[Issued] = []

    def produce(self, *orders: Order) -> list[Issued]:
        """Issue all of it in one batch, as one wave of a playbook would. One that is refused is an error."""
        requests = [order.request() for order in orders]
        answer = self.issue(*requests)
        issued = []
        for order, asked in zip(orders, requests, strict=True):
            item = answer["certificates"][asked["id"]]
            if "error" in item:
                raise AssertionError(f"not issued: {item['error']['message']}")
            chain = (item["certificate"], *split(answer["chains"][order.authority]))
            issued.append(Issued(order, chain, self.anchors(order.authority), item["serial"]))
        self.issued += issued
        return issued

    def anchors(self, authority: str) -> str:
        """The root that clients trust."""
        return self.store.read(authority).anchors

    def chain(self, authority: str) -> tuple[str, ...]:
        """The issuing CA and what is between it and the root."""
        return split(self.store.read(authority).chain)

    def issuing_key(self, authority: str) -> Any:
        """For what the collection refuses to sign."""
        spki = parse_certificate(self.chain(authority)[0]).spki
        return open_key(self.store, authority, "issuing", self.passphrase(), spki=spki)


def split(pem: str) -> tuple[str, ...]:
    """Each certificate of PEM text."""
    return tuple(_CERTIFICATE.findall(pem))
