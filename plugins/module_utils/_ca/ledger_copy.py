# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger as a whole: a copy of one moment while it is written on, and its replacement in one step."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

from .durable import PRIVATE_FILE, explained
from .errors import CAError
from .ledger import BUSY_TIMEOUT


class Moment:
    """The ledger as it is now, for as long as this is open: writers go on meanwhile and are not waited for."""

    def __init__(self, path: str) -> None:
        self._path = path
        with _explained(path):
            self._connection = _connect(path)
            # The first read fixes what all further ones see.
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT version FROM schema_version").fetchall()

    def __enter__(self) -> Moment:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.close()

    def copy(self, path: str) -> None:
        """Write it to a new private file, which is no ledger in use: it need not survive a crash."""
        with explained("write", path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE))
        with _explained(path), closing(_connect(path)) as target:
            target.execute("PRAGMA synchronous = OFF")
            self._connection.backup(target)


def overwrite(path: str, *, source: str) -> None:
    """Make the ledger O(path) what O(source) is, in one transaction: whoever reads it sees the one or the other."""
    with _explained(path), closing(_connect(source)) as reader, closing(_connect(path)) as target:
        target.execute("PRAGMA synchronous = FULL")
        reader.backup(target)


def settle(path: str) -> None:
    """Bring a ledger that nobody else has open into its one file, on disk, so that the file can be moved."""
    with _explained(path), closing(_connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    with explained("write", path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_integrity(path: str) -> None:
    """Raise CAError unless SQLite finds every page and index of the ledger in order."""
    faults = faults_in(path)
    if faults:
        raise CAError(
            f"The ledger {path} is damaged: {faults}. Nothing was changed. Take another backup.", code="ledger"
        )


def faults_in(path: str) -> str:
    """What SQLite finds wrong with the pages and indexes of a ledger; empty when all is in order."""
    with _explained(path), closing(_connect(path)) as connection:
        try:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as exc:
            # So bad that the check itself cannot go on.
            found = [str(exc)]
    return "" if found == ["ok"] else "; ".join(found)


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise CAError(
            f"The ledger {path} cannot be copied: {exc}. The ledger in use was not changed. Check the file and the free space of its "
            "disk, then run again.",
            code="ledger",
        ) from exc
