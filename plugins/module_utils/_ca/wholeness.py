# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a CA is whole: all that its ledger knows is there and belongs together, and the passphrase opens it."""

from __future__ import annotations

import os
from typing import Any

from .._x509.parse import iso, load_certificate, to_leaf
from .errors import CAError
from .known import check_known
from .ledger import Ledger
from .local import decrypt_key, open_key, read_chain
from .passphrase import Passphrase
from .store import FILES, ROOT_KEY, Store


def check_whole(store: Store, passphrase: Passphrase) -> None:
    """Raise CAError when it is not."""
    inspect_pending(store, passphrase)
    with Ledger.read(store.ledger) as ledger:
        for name in occupied(store):
            inspect_authority(store, ledger, name, passphrase)
        refuse_lost(store, ledger)


def inspect_authority(store: Store, ledger: Ledger, name: str, passphrase: Passphrase) -> dict[str, Any]:
    """The fingerprints of an authority's certificates, which keys there are, and when it ends. Each key is opened."""
    if store.read_optional(name, "issuing.pem") is None and store.read_optional(name, "issuing.key") is None:
        # That of a root which signs issuing CAs of other machines (ca_root).
        parts = {
            "root": to_leaf(load_certificate(store.read_text(name, "root.pem"), where=store.path(name, "root.pem")))
        }
    else:
        chain = read_chain(store, name)
        parts = {"root": chain.root, "issuing": chain.issuing}
    check_known(ledger, name, [leaf.fingerprint for leaf in parts.values()])
    keys = [part for part in parts if len(parts) == 1 or store.read_optional(name, f"{part}.key") is not None]
    for part in keys:
        open_key(store, name, part, passphrase, spki=parts[part].spki)
    end = min(leaf.not_after for leaf in parts.values())
    return {**{part: leaf.fingerprint for part, leaf in parts.items()}, "keys": keys, "not_after": iso(end)}


def inspect_pending(store: Store, passphrase: Passphrase) -> None:
    """Keys that wait for a certificate from elsewhere: they are lost with the backup as well."""
    for name in store.pending_names():
        key = store.read_pending(name, "issuing.key")
        if key is not None:
            decrypt_key(key, path=store.pending_path(name, "issuing.key"), authority=name, passphrase=passphrase)


def refuse_lost(store: Store, ledger: Ledger) -> None:
    """Raise CAError where the ledger knows an authority that has no folder."""
    rows = ledger.run(
        "SELECT DISTINCT authority FROM certificates WHERE identity = '' AND name IN ('root', 'issuing') AND state != 'reserved'"
    )
    lost = sorted({str(row[0]) for row in rows} - set(occupied(store)))
    if lost:
        raise CAError(
            f"Half a CA: the ledger knows {', '.join(lost)}, but its files are gone. Nothing was changed. Take another backup.",
            code="half_ca",
        )


def occupied(store: Store) -> list[str]:
    """The authorities of which there is anything: a folder with neither a certificate nor a key is none."""
    return [
        name for name in store.names() if any(os.path.lexists(store.path(name, file)) for file in (*FILES, ROOT_KEY))
    ]
