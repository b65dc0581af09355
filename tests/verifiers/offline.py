# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root that is kept on another machine: it signs an issuing CA, and takes it back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._ca import crl
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ceremony import Ceremony, Held, read_request
from ansible_collections.certfleet.tls.plugins.module_utils._ca.passphrase import Passphrase
from ansible_collections.certfleet.tls.plugins.module_utils._ca.root_signing import hold
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_bundle

from .case import CRL, Case
from .issued import BOTH, LIMITS, names_within
from .plant import Issued, Order, Plant
from .reasons import REASONS

NAME = "offline"


@dataclass(frozen=True)
class OfflineRoot:
    """The other machine, in a folder."""

    folder: Path

    def hold(self, **options: Any) -> Held:
        """One act of it, as the module ca_root does it."""
        asked = {
            "name": NAME,
            "root": {"lifetime": "20y", "key_type": "ec-p384"},
            "issuing": {"lifetime": "5y"},
            "crl_lifetime": "1y",
            "reason": "unspecified",
            **options,
        }
        return hold(
            Ceremony.from_options(asked),
            store=Store(str(self.folder / "ca")),
            passphrase=Passphrase(file=str(self.folder / "secret" / "passphrase")),
            generate=True,
            now=int(time.time()),
        )


@dataclass(frozen=True)
class Offline:
    """Leaves below it and CRLs that let them pass, leaves whose issuing CA was taken back, and the CRLs of the root."""

    kept: list[Case]
    revoked: list[Case]
    crls: dict[str, str]


def make(plant: Plant, folder: Path) -> Offline:
    """CSR out, chain in, leaves, CRLs; then the issuing CA is revoked."""
    root = OfflineRoot(folder / "offline")
    wish: dict[str, Any] = {"root": {"location": "elsewhere", "key_type": "ec-p384"}, **LIMITS["all"]}
    found = plant.create(NAME, **wish)
    spki = read_request(found.request_path).spki
    root.hold(state="present")
    held = root.hold(state="signed", request=found.request_path, spki=spki)
    plant.now = int(time.time())
    wish["root"]["fingerprint"] = parse_bundle(str(held.chain))[-1].fingerprint
    plant.create(NAME, chain=held.chain, **wish)
    (leaf,) = plant.produce(Order("below", names_within({}, 90), NAME, profile="server_client"))
    before = _crls(plant, str(held.crl))
    revoked = root.hold(state="revoked", serial="", spki=spki, reason="ca_compromise")
    after = _crls(plant, str(revoked.crl))
    titles = {
        f"{NAME}: CRL of its root": str(held.crl),
        f"{NAME}: CRL of its root, an issuing CA on it": str(revoked.crl),
    }
    lists = [Case(title, (leaf.anchors,), leaf.anchors, purpose=CRL, crls=(pem,)) for title, pem in titles.items()]
    return Offline(
        [*leaf.cases(purposes=BOTH), *_checked(leaf, before), *lists],
        [replace(case, because=REASONS["revoked"]) for case in _checked(leaf, after, kind="revoked")],
        titles,
    )


def _checked(leaf: Issued, crls: tuple[str, ...], kind: str = "issued") -> Iterator[Case]:
    title = f"{leaf.title}, CRLs of the whole chain"
    yield from leaf.cases(purposes=BOTH, crls=crls, kind=kind, title=title)


def _crls(plant: Plant, root_crl: str) -> tuple[str, ...]:
    """What a server gets that checks the whole chain."""
    found, _done = crl.refresh(plant.store, NAME, passphrase=plant.passphrase(), published=root_crl, now=plant.now)
    return tuple(item.pem for item in found.crls)
