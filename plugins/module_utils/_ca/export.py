# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole ledger as JSON lines, for other programs: one object each, its C(kind) first. Needs the standard library alone."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from .durable import ASIDE, PRIVATE_FILE, explained, sync_folder
from .errors import CAError
from .inquiries import iso
from .ledger import Ledger
from .store import Store

# How much of the ledger is in memory at once.
_PAGE = 1000
# What a killed export left is of no use to anybody a day later.
_STALE = 86400
# A page of each kind, after the last row of the page before it; the columns that order it come first.
_PAGES: dict[str, tuple[int, str]] = {
    "certificate": (
        1,
        """
        SELECT certificates.*, (
            SELECT outcome FROM outcomes WHERE outcomes.identity = certificates.identity AND outcomes.name = certificates.name
            AND outcomes.fingerprint = certificates.fingerprint ORDER BY outcomes.id DESC LIMIT 1
        ) AS outcome
        FROM certificates WHERE id > ? ORDER BY id LIMIT ?
        """,
    ),
    "pin": (
        2,
        "SELECT identity, spki, pinned_at, why FROM pins WHERE (identity, spki) > (?, ?) ORDER BY identity, spki LIMIT ?",
    ),
    "outcome": (
        1,
        "SELECT id, at, identity, name, outcome, reasons, fingerprint, said FROM outcomes WHERE id > ? ORDER BY id LIMIT ?",
    ),
    "failure": (
        2,
        """
        SELECT identity, name, count, first_at, last_at, outcome, said, put_right_at FROM failures
        WHERE (identity, name) > (?, ?) ORDER BY identity, name LIMIT ?
        """,
    ),
    "refusal": (
        2,
        """
        SELECT identity, name, code, message, count, first_at, last_at FROM refusals
        WHERE (identity, name) > (?, ?) ORDER BY identity, name LIMIT ?
        """,
    ),
    "holder": (
        3,
        """
        SELECT authority, name, identity, shared FROM holders WHERE (authority, name, identity) > (?, ?, ?)
        ORDER BY authority, name, identity LIMIT ?
        """,
    ),
    "crl": (
        2,
        """
        SELECT issuer, number, authority, part, this_update, next_update, reserved_at FROM crls
        WHERE (issuer, number) > (?, ?) ORDER BY issuer, number LIMIT ?
        """,
    ),
    "act": (1, "SELECT id, at, act, identity, said FROM acts WHERE id > ? ORDER BY id LIMIT ?"),
    "condition": (1, "SELECT name, said, at FROM conditions WHERE name > ? ORDER BY name LIMIT ?"),
}
_NUMBERED = ("certificate", "outcome", "act")
_TIMES = frozenset(("at", "not_before", "not_after", "this_update", "next_update"))


def export(path: str, *, store: Store, now: int, check: bool = False) -> dict[str, Any]:
    """Write the ledger to a private file, whole or not at all: what there is of each kind, and whether the file changes.

    With O(check) nothing is written. Issuing goes on meanwhile; what is told is the ledger of one moment.
    """
    store.require()
    if not os.path.isabs(path) or os.path.isdir(path):
        raise CAError(
            f"export: {path} is no file of the CA host with its full path. Nothing was written. Name one, such as "
            "/root/certificates.jsonl.",
            code="bad_option",
        )
    with Ledger.read(store.ledger) as ledger, explained("write", path):
        # A reader's transaction: it sees one moment, and no writer waits for it. It ends with the ledger.
        ledger.run("BEGIN")
        counted: Counter[str] = Counter()
        changed = not _says(path, _lines(ledger, counted, now=now))
        if changed and not check:
            counted.clear()
            _replace(path, _lines(ledger, counted, now=now))
    return {"path": path, "changed": changed, "lines": {kind: counted[kind] for kind in _PAGES}}


def _lines(ledger: Ledger, counted: Counter[str], *, now: int) -> Iterator[bytes]:
    for kind, (width, sql) in _PAGES.items():
        last: list[Any] = [0] if kind in _NUMBERED else [""] * width
        rows = None
        while rows is None or len(rows) == _PAGE:
            rows = ledger.run(sql, [*last, _PAGE])
            for row in rows:
                counted[kind] += 1
                yield json.dumps({"kind": kind, **_values(dict(row), now=now)}, ensure_ascii=False).encode() + b"\n"
            last = list(rows[-1])[:width] if rows else last


def _values(row: dict[str, Any], *, now: int) -> dict[str, Any]:
    told = {
        column: iso(value) if column in _TIMES or column.endswith("_at") else value
        for column, value in row.items()
        if value is not None and column != "pem"
    }
    if "serial" in row:
        told.update(names=json.loads(row["names"]), why=row["why"].split())
        if row["state"] in ("issued", "superseded") and row["not_after"] < now:
            told["state"] = "expired"
    if "reasons" in row:
        told["reasons"] = row["reasons"].split()
    return told


def _says(path: str, lines: Iterable[bytes]) -> bool:
    """Whether the file is there, private, and holds exactly these lines. All of them are read, so that they are counted."""
    is_same = os.path.isfile(path) and not os.path.islink(path) and os.stat(path).st_mode & 0o7777 == PRIVATE_FILE
    with open(path if is_same else os.devnull, "rb") as file:
        for line in lines:
            is_same = is_same and file.read(len(line)) == line
        return is_same and not file.read(1)


def _replace(path: str, lines: Iterable[bytes]) -> None:
    folder, name = os.path.split(path)
    _remove_stale(folder, f"{ASIDE}{name}-")
    aside = os.path.join(folder, f"{ASIDE}{name}-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(aside)


def _remove_stale(folder: str, prefix: str) -> None:
    for entry in os.scandir(folder):
        if entry.name.startswith(prefix) and entry.stat().st_mtime < time.time() - _STALE:
            os.unlink(entry.path)
