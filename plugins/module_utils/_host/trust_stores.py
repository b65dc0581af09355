# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where operating systems keep the anchors that an administrator adds: differences of distributions as data."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .command import is_there
from .errors import HostError


@dataclass(frozen=True)
class TrustStore:
    """C(folder): one anchor per file, named C(<name>.crt). C(update) makes C(bundle) from it, C(refresh) also after removals."""

    family: str
    folder: str
    bundle: str
    update: tuple[str, ...]
    refresh: tuple[str, ...]


STORES = (
    TrustStore(
        "redhat",
        "/etc/pki/ca-trust/source/anchors",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        ("update-ca-trust", "extract"),
        ("update-ca-trust", "extract"),
    ),
    TrustStore(
        "suse",
        "/etc/pki/trust/anchors",
        "/var/lib/ca-certificates/ca-bundle.pem",
        ("update-ca-certificates",),
        ("update-ca-certificates", "--fresh"),
    ),
    TrustStore(
        "arch",
        "/etc/ca-certificates/trust-source/anchors",
        "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
        ("trust", "extract-compat"),
        ("trust", "extract-compat"),
    ),
    # Debian, Ubuntu, Alpine
    TrustStore(
        "debian",
        "/usr/local/share/ca-certificates",
        "/etc/ssl/certs/ca-certificates.crt",
        ("update-ca-certificates",),
        ("update-ca-certificates", "--fresh"),
    ),
)


def this_store(stores: tuple[TrustStore, ...] = STORES) -> TrustStore:
    """The trust store of this host: the first whose folder and command are there. Raises HostError."""
    for store in stores:
        if os.path.isdir(store.folder) and is_there(store.update[0]):
            return store
    commands = ", ".join(sorted({store.update[0] for store in stores}))
    raise HostError(
        f"This host has no trust store that can be updated (none of {commands} with its folder). Install the package"
        " ca-certificates."
    )
