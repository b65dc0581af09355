# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine reads from the CA before it judges. Needs the standard library alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from .errors import CAError
from .ledger import Entry, Ledger
from .store import Store


def read_info(store: Store, identities: Iterable[str], *, now: int) -> dict[str, Any]:
    """All authorities, and pins and leaves of those identities that the ledger knows anything of. Takes no lock."""
    store.require()
    wanted = list(dict.fromkeys(str(identity) for identity in identities))
    authorities = {}
    with Ledger.open(store.ledger) as ledger:
        for name in store.names():
            published = store.read(name)
            check_known(ledger, name, published.fingerprints.values())
            authorities[name] = {"anchors": published.anchors, "chain": published.chain}
        pins, leaves = ledger.pins_of(wanted), ledger.leaves_of(wanted, now=now)
    known = {
        identity: {"pins": pins.get(identity, []), "leaves": [_leaf(entry) for entry in leaves.get(identity, [])]}
        for identity in wanted
        if identity in pins or identity in leaves
    }
    return {"authorities": authorities, "identities": known, "time": now}


def check_known(ledger: Ledger, authority: str, fingerprints: Iterable[str]) -> None:
    """Raise CAError when an authority's own certificates are not those that the ledger knows."""
    if any(ledger.find_fingerprint(fingerprint) is None for fingerprint in fingerprints):
        raise CAError(
            f"Foreign CA: the ledger does not know the certificates of authority '{authority}'. Its folder and the ledger do not "
            "come from the same CA (or not from the same backup). Nothing was changed. Restore both together.",
            code="foreign_ca",
        )


def _leaf(entry: Entry) -> dict[str, Any]:
    return {
        "fingerprint": entry.fingerprint,
        "serial": entry.serial,
        "spki": entry.spki,
        "authority": entry.authority,
        "name": entry.name,
        "state": entry.state,
        "not_after": datetime.fromtimestamp(entry.not_after, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
