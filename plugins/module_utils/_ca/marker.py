# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A note outside of the CA's folder that there is a CA in it: a disk that is not mounted must not look like a host that has none.

It lies beside the passphrase's file, one for each folder of a CA. Where a command gives the passphrase, or the file is where nothing
can be written, there is no note.
"""

from __future__ import annotations

import hashlib
import json
import os

from .._x509.parse import iso
from .durable import replace_file
from .errors import CAError
from .passphrase import Passphrase
from .store import Store

# So much of the folder's SHA-256 tells the notes of several CAs with one passphrase apart.
_TAG = 8


def marker_path(store: Store, passphrase: Passphrase) -> str | None:
    """Where the note about this folder lies; None where it has no place."""
    if passphrase.file is None:
        return None
    tag = hashlib.sha256(os.fsencode(store.directory)).hexdigest()[:_TAG]
    return f"{os.path.abspath(passphrase.file)}-{tag}.ca"


def lacks_marker(store: Store, passphrase: Passphrase) -> bool:
    """Whether there is a CA, no note of it, and a place for one."""
    path = marker_path(store, passphrase)
    if path is None or os.path.lexists(path) or not store.names():
        return False
    return os.access(os.path.dirname(path), os.W_OK)


def leave_marker(store: Store, passphrase: Passphrase, *, now: int) -> None:
    """Write the note where it is missing."""
    if lacks_marker(store, passphrase):
        said = {"directory": store.directory, "made_at": iso(now)}
        replace_file(str(marker_path(store, passphrase)), json.dumps(said).encode() + b"\n")


def refuse_vanished(store: Store, passphrase: Passphrase) -> None:
    """Raise CAError where there has been a CA, and nothing of it is there."""
    path = marker_path(store, passphrase)
    if path is None or not os.path.lexists(path) or store.names() or store.has_ledger():
        return
    raise CAError(
        f"There has been a CA in {store.directory}, as {path} says, and now there is none. Nothing was made anew, since machines trust "
        "the one that was there. See whether the disk is mounted. If the CA is lost, restore its backup (playbooks/restore.yml). Only if "
        f"another one is really to be made, remove {path}, then run again.",
        code="lost_ca",
    )
