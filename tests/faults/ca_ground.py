# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with the ground that a CA stands on: its disk, its files, its ledger. Undone when the block ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from .ca_room import CA, KEPT, ROOM, shell

LEDGER = f"{CA}/ledger.sqlite"
FLEET = f"{CA}/authorities/fleet"
PAGE = 4096


@contextmanager
def own_disk(*, size: int = 64 << 20) -> Iterator[None]:
    """The CA on a disk of its own, which leave_room() fills."""
    _move_to(f"mount -t tmpfs -o mode=0700,size={size} tmpfs {CA}")
    try:
        yield
    finally:
        _move_to(f"umount {CA}")


def leave_room(pages: int | None) -> None:
    """So many pages of the CA's disk are free; None: as many as there may be."""
    used = int(shell(f"df -B{PAGE} --output=used {CA} | tail -1"))
    size = (used + pages) * PAGE if pages is not None else 64 << 20
    shell(f"mount -o remount,size={size} {CA}")


def leave_files(files: int | None) -> None:
    """The same, of files that can still be made."""
    used = int(shell(f"df --output=iused {CA} | tail -1"))
    shell(f"mount -o remount,nr_inodes={used + files if files is not None else 10000} {CA}")


@contextmanager
def read_only() -> Iterator[None]:
    """The CA cannot be written."""
    shell(f"mount --bind {CA} {CA}; mount -o remount,ro,bind {CA}")
    try:
        yield
    finally:
        shell(f"umount {CA}")


def pages_of_ledger() -> int:
    """How many there are."""
    return int(shell(f"stat -c %s {LEDGER}")) // PAGE


def damage_page(number: int, *, how: str = "/dev/zero") -> None:
    """Overwrite a page of the ledger (from 0)."""
    shell(f"dd if={how} of={LEDGER} bs={PAGE} seek={number} count=1 conv=notrunc status=none")


def sql(statement: str) -> list[list[object]]:
    """Look into the ledger, or spoil it."""
    script = (
        "import json, sqlite3, sys; base = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "print(json.dumps(base.execute(sys.stdin.read()).fetchall()))"
    )
    found: list[list[object]] = json.loads(shell(f"python3 -c '{script}' {LEDGER}", given=statement))
    return found


def other_ca(name: str) -> str:
    """The folder of a CA that was made here before and remembered under this name."""
    return f"{KEPT}-{name}/ca"


def _move_to(mounting: str) -> None:
    """Take the CA along to what is mounted, or what comes forth."""
    aside = f"{ROOM}/moved"
    shell(
        f"rm -rf {aside}; cp -a {CA} {aside}; {mounting}; find {CA} -mindepth 1 -delete; cp -a {aside}/. {CA}/; rm -rf {aside}"
    )
