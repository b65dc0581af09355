# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a workshop's CA, and the places they are restored to."""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, cast

from ansible_collections.certfleet.tls.plugins.module_utils._ca.backup import Written, write_backup
from ansible_collections.certfleet.tls.plugins.module_utils._ca.passphrase import Passphrase
from ansible_collections.certfleet.tls.plugins.module_utils._ca.restore import Content, Restored, restore, verify
from ansible_collections.certfleet.tls.plugins.module_utils._ca.sealed_archive import Opener, Sealer
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store

from .workshop import Workshop

# The default takes half a second each time; that it is the default is a test of its own.
CHEAP = 10
# What a restore adds to the ledger by itself.
REMARKS = ('INSERT INTO "acts"', 'INSERT INTO "conditions"', 'INSERT INTO "sqlite_sequence"')


def back_up(workshop: Workshop, **options: Any) -> Written:
    """A backup as the module writes it."""
    wanted = {"folder": str(workshop.folder / "backups"), "secret": workshop.passphrase(), "keep": 0, **options}
    return write_backup(workshop.store, passphrase=workshop.passphrase(), now=workshop.now, **wanted)


def drill(workshop: Workshop, file: str, *, secret: Passphrase | None = None) -> Content:
    """A backup tried out in a folder of its own."""
    folder = workshop.folder / f"drill-{os.urandom(4).hex()}"
    return verify(file, folder=str(folder), secret=secret or workshop.passphrase(), passphrase=workshop.passphrase())


def other_place(workshop: Workshop, name: str = "elsewhere") -> Workshop:
    """Another folder for a CA, with the same passphrase and the same clock."""
    place = Workshop(workshop.folder)
    place.store, place.now = Store(str(workshop.folder / name)), workshop.now
    return place


def restore_to(place: Workshop, file: str) -> Restored:
    """A backup put in its place there."""
    return restore(
        file, store=place.store, secret=place.passphrase(), passphrase=place.passphrase(), now=place.now, wait=1
    )


def files(store: Store) -> dict[str, bytes]:
    """All that a CA consists of, but its ledger."""
    top = Path(store.directory)
    return {
        str(path.relative_to(top)): path.read_bytes()
        for kind in ("authorities", "pending")
        for path in sorted((top / kind).glob("**/*"))
        if path.is_file()
    }


def ledger(workshop: Workshop) -> list[str]:
    """The whole ledger as SQL, but what is remarked about the ledger itself."""
    connection = sqlite3.connect(workshop.store.ledger)
    try:
        return sorted(line for line in connection.iterdump() if not line.startswith(REMARKS))
    finally:
        connection.close()


def members(file: str, secret: bytes) -> dict[str, bytes]:
    """What lies in a backup."""
    with open(file, "rb") as stream:
        opener = Opener(stream, secret, where=file, source="the test")
        with tarfile.open(fileobj=cast(BinaryIO, opener), mode="r|gz") as archive:
            found = {}
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
    return found


def seal_members(path: Path, content: dict[str, bytes | str], secret: bytes) -> str:
    """A backup with whatever content; a str is what a symbolic link points to."""
    out = io.BytesIO()
    sealer = Sealer(out.write, secret)
    with tarfile.open(fileobj=cast(BinaryIO, sealer), mode="w|gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            if isinstance(data, str):
                member.type, member.linkname = tarfile.SYMTYPE, data
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    sealer.close()
    path.write_bytes(out.getvalue())
    return str(path)
