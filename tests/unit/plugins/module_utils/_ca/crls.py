# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs of the authority fleet, signed as the module would, and the same CA without its root's key."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import Found, refresh
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger import Ledger
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revocation import revoke_entries
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import Crl, parse_crl

from .workshop import DAY, Workshop

LIFETIME = 30 * DAY


def revoke(workshop: Workshop, serial: str, reason: str = "superseded") -> tuple[int, ...]:
    with Ledger.open(workshop.store.ledger) as ledger, ledger.transaction():
        entry = ledger.find_serial(serial)
        assert entry is not None
        return revoke_entries(ledger, [entry.id], reason=reason, now=workshop.now)


def publish(workshop: Workshop, **options: Any) -> tuple[Found, list[str]]:
    return refresh(workshop.store, "fleet", passphrase=workshop.passphrase(), now=workshop.now, **options)


def in_place(workshop: Workshop, file: str = "crl.pem") -> Crl:
    return parse_crl(workshop.store.read_text("fleet", file))


def without_root_key(workshop: Workshop, tmp_path: Path) -> Workshop:
    """The same CA in another place, where the root's key is not."""
    other = Workshop(tmp_path / "online")
    shutil.copytree(workshop.folder, other.folder, dirs_exist_ok=True)
    os.unlink(other.store.path("fleet", "root.key"))
    return other
