# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: one SQLite file that knows every certificate before it is signed.

Times are unix seconds and always given by the caller. Each method that writes is one transaction, on disk when it returns.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from .._x509.revocation_reasons import COMPROMISING
from .durable import ASIDE, PRIVATE_FILE, explained, sync_folder
from .errors import CAError
from .failures import Failure, OpenFailure, failures_of, note, open_failures
from .schema import GOOD_OUTCOMES, STEPS

BUSY_TIMEOUT = 30.0
IN_FORCE = (
    # Without a word SQLite would look at all certificates in force for each of them.
    "SELECT certificates.* FROM json_each(?) AS asked CROSS JOIN certificates INDEXED BY certificates_by_holder"
    " ON identity = json_extract(asked.value, '$[0]') AND name = json_extract(asked.value, '$[1]') AND state = 'issued' AND not_after >= ?"
    " AND spki = json_extract(asked.value, '$[2]') ORDER BY certificates.id DESC"
)
CHOICE = (
    "SELECT name, id, state, installed_at, not_after, revocation_reason, gone_at FROM certificates"
    " WHERE identity = ? AND state != 'reserved'"
)
# How many of the newest leaves of a certificate ca_info tells of, besides the one in service and those that identify nobody.
NEWEST = 3


@dataclass(frozen=True)
class Entry:
    """One certificate of the ledger; until it is signed C(fingerprint) and C(pem) are None. C(id) 0: not in it yet.

    C(state): C(reserved) (a serial), C(issued) (in force), C(superseded) (a newer one is in service), C(revoked), C(expired).
    The last is never in the ledger: whoever reads tells it from C(not_after), so that a clock that is fast once leaves nothing behind.
    C(lifetime): the seconds that were asked for, which the issuer's end may have cut short; None where it is not known.
    C(gone_at): when the machine that had it was replaced or decommissioned. C(installed_at): when it was brought into service.
    """

    serial: str
    authority: str
    issuer: str
    identity: str
    name: str
    profile: str
    common_name: str | None
    names: tuple[str, ...]
    spki: str
    not_before: int
    not_after: int
    fingerprint: str | None = None
    pem: str | None = None
    state: str = "reserved"
    why: tuple[str, ...] = ()
    lifetime: int | None = None
    revoked_at: int | None = None
    revocation_reason: str | None = None
    gone_at: int | None = None
    installed_at: int | None = None
    id: int = field(default=0, compare=False)


class Signed(NamedTuple):
    """What a signature adds to a reserved entry."""

    serial: str
    fingerprint: str
    pem: str


class Outcome(NamedTuple):
    """How a deploy ended. C(revised): after all, since an earlier outcome of it is taken back by this one."""

    identity: str
    name: str
    outcome: str
    reasons: tuple[str, ...]
    fingerprint: str | None
    said: str
    revised: bool = False


class Pin(NamedTuple):
    """A key that an identity may be recognised by."""

    identity: str
    spki: str
    why: str


class Ledger:
    """An open ledger. Use it in a C(with) statement. Writers open() it and hold the lock of lock.py, all others read() it."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def create(cls, path: str) -> None:
        """Make an empty ledger, whole or not at all. One that is there already is an error."""
        aside = os.path.join(os.path.dirname(path), f"{ASIDE}{os.path.basename(path)}")
        with explained("make", path):
            with suppress(FileNotFoundError):
                os.unlink(aside)
            os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE))
        with cls(_connect(aside, busy_timeout=0), aside) as ledger:
            ledger._migrate()
        with explained("make", path):
            # Whoever makes one holds the CA's lock. A link would refuse to replace one too, but leave two names when it is killed.
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            os.rename(aside, path)
            sync_folder(os.path.dirname(path))

    @classmethod
    def open(cls, path: str, *, busy_timeout: float = BUSY_TIMEOUT) -> Ledger:
        """Open the ledger to write, and bring an older one to this version. Raises CAError when it is missing, newer or damaged."""
        return cls._opened(path, busy_timeout, cls._prepare)

    @classmethod
    def read(cls, path: str) -> Ledger:
        """Open the ledger to look at it. An older one stays as it is for those who use it: a copy in memory is brought up to date."""
        return cls._opened(path, BUSY_TIMEOUT, cls._prepare_copy)

    @classmethod
    def _opened(cls, path: str, busy_timeout: float, prepare: Callable[[Ledger], None]) -> Ledger:
        if not os.path.isfile(path):
            raise CAError(
                f"The ledger is not there: {path} does not exist, but there are authorities that it must know. Nothing was made anew: "
                "without it revocations and serials would be forgotten. Restore it from your backup, then run again.",
                code="ledger_missing",
            )
        ledger = cls(_connect(path, busy_timeout=busy_timeout), path)
        with ExitStack() as unless_ready:
            unless_ready.callback(ledger._connection.close)
            prepare(ledger)
            unless_ready.pop_all()
        return ledger

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.close()

    def find_in_force(
        self, keys: Iterable[tuple[str, str, str]], *, now: int
    ) -> dict[tuple[str, str, str], list[Entry]]:
        """The certificates in force for these keys, (identity, name, SPKI), newest first; keys without any are left out."""
        found: dict[tuple[str, str, str], list[Entry]] = {}
        # One statement for all of them: a batch may ask for ten thousand.
        for row in self.run(IN_FORCE, (json.dumps(list(keys)), now)):
            found.setdefault((row["identity"], row["name"], row["spki"]), []).append(to_entry(row))
        return found

    def find_fingerprint(self, fingerprint: str) -> Entry | None:
        """The certificate with this fingerprint, whatever its state."""
        return self._one("SELECT * FROM certificates WHERE fingerprint = ?", fingerprint)

    def find_serial(self, serial: str) -> Entry | None:
        """The certificate with this serial (lower-case hex without leading zeros), whatever its state."""
        return self._one("SELECT * FROM certificates WHERE serial = ?", serial)

    def refuse_frozen(self) -> None:
        """Raise CAError when this CA is frozen: writers ask it once they hold the lock, before they change anything."""
        rows = self.run("SELECT said FROM conditions WHERE name = 'frozen'")
        if rows:
            raise CAError(
                f"This CA is frozen: {rows[0][0]} Nothing was changed, since two CAs that both write would no longer know each "
                f"other's certificates. Use the CA that it moved to (tls_ca_host), or thaw this one: {self._path}.",
                code="frozen",
            )

    def knows_authority(self, authority: str) -> bool:
        """Whether this authority has been in force (a creation that was cut short does not count)."""
        return bool(
            self.run(
                "SELECT 1 FROM certificates WHERE identity = '' AND name IN ('root', 'issuing')"
                " AND authority = ? AND state != 'reserved' LIMIT 1",
                (authority,),
            )
        )

    def reserve(self, entries: Sequence[Entry], *, now: int) -> None:
        """Write the serials down before anything is signed."""
        with self.transaction():
            self.run_many(
                "INSERT INTO certificates (serial, authority, issuer, identity, name, profile, common_name, names, spki, not_before,"
                " not_after, fingerprint, pem, lifetime, state, reserved_at, why)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'reserved', ?, ?)",
                (_to_row(entry) + (now, " ".join(entry.why)) for entry in entries),
            )

    def store(self, signed: Iterable[Signed], *, now: int) -> None:
        """What was signed under the reserved serials; from here on it may leave the CA host."""
        with self.transaction():
            self.run_many(
                "UPDATE certificates SET fingerprint = ?, pem = ?, state = 'issued', issued_at = ? WHERE serial = ? AND state = 'reserved'",
                ((item.fingerprint, item.pem, now, item.serial) for item in signed),
            )

    def pins_of(self, identities: Iterable[str]) -> dict[str, list[str]]:
        """The pinned keys (SPKI) of those identities that have any."""
        found = {}
        for identity in identities:
            rows = self.run("SELECT spki FROM pins WHERE identity = ? ORDER BY pinned_at, spki", (identity,))
            if rows:
                found[identity] = [row[0] for row in rows]
        return found

    def leaves_of(self, identities: Iterable[str], *, now: int, newest: int = NEWEST) -> dict[str, list[Entry]]:
        """What a verdict needs to know of these identities' leaves, newest first; identities without any are left out.

        That is for each certificate the newest few, the one brought into service last, and what identifies nobody although it was
        signed: revoked ones until their end, those of a compromised key or a machine that is gone also after it.
        """
        found = {}
        for identity in identities:
            ids = choose(self.run(CHOICE, (identity,)), newest=newest, now=now)
            if ids:
                found[identity] = [self._entry(number, now=now) for number in ids]
        return found

    def failures_of(self, identities: Iterable[str]) -> dict[str, list[Failure]]:
        """What went wrong with certificates of these identities and was not put right; others are left out."""
        return failures_of(self.run, identities)

    def open_failures(self, *, since: int) -> list[OpenFailure]:
        """All certificates whose last deploy went wrong, not before O(since); the latest first."""
        return open_failures(self.run, since=since)

    def record(self, outcomes: Iterable[Outcome], pins: Iterable[Pin], *, now: int) -> int:
        """Write down how deploys ended and which keys are pinned; returns how many pins are new.

        What was brought into service supersedes the older leaves of the same certificate, also where that is learned only now: what
        is found unchanged in its place was put there by a run whose outcome was lost. What went wrong is counted, until it is put
        right.
        """
        with self.transaction():
            for item in outcomes:
                self.run(
                    "INSERT INTO outcomes (at, identity, name, outcome, reasons, fingerprint, said) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (now, item.identity, item.name, item.outcome, " ".join(item.reasons), item.fingerprint, item.said),
                )
                note(
                    self.run,
                    identity=item.identity,
                    name=item.name,
                    outcome=item.outcome,
                    said=item.said,
                    revised=item.revised,
                    now=now,
                )
                if item.outcome in GOOD_OUTCOMES:
                    self._put_into_service(item, now=now)
                elif item.outcome == "rolled_back" and item.revised:
                    self._put_back_into_service(item, now=now)
            before = self._connection.total_changes
            self.run_many(
                "INSERT OR IGNORE INTO pins (identity, spki, pinned_at, why) VALUES (?, ?, ?, ?)",
                ((pin.identity, pin.spki, now, pin.why) for pin in pins),
            )
            return self._connection.total_changes - before

    def _one(self, sql: str, value: str) -> Entry | None:
        rows = self.run(sql, (value,))
        return to_entry(rows[0]) if rows else None

    def _entry(self, number: int, *, now: int) -> Entry:
        return to_entry(self.run("SELECT * FROM certificates WHERE id = ?", (number,))[0], now=now)

    def _served(self, item: Outcome) -> Entry | None:
        """The certificate that is served after this outcome, if it is one of the holder's."""
        entry = self.find_fingerprint(item.fingerprint) if item.fingerprint else None
        is_own = entry is not None and (entry.identity, entry.name) == (item.identity, item.name)
        return entry if is_own else None

    def _put_into_service(self, item: Outcome, *, now: int) -> None:
        entry = self._served(item)
        if entry is None:
            return
        # A leaf of before that somebody has put back by hand (superseded), or a revoked one, takes no other's place.
        if item.outcome == "unchanged" and (entry.state != "issued" or entry.installed_at is not None):
            return
        self.run("UPDATE certificates SET installed_at = ? WHERE id = ?", (now, entry.id))
        self.run(
            "UPDATE certificates SET state = 'superseded' WHERE identity = ? AND name = ? AND state = 'issued' AND id < ?",
            (item.identity, item.name, entry.id),
        )

    def _put_back_into_service(self, item: Outcome, *, now: int) -> None:
        """Undo what _put_into_service() did for a newer one, which stays issued: it is staged for another attempt."""
        entry = self._served(item)
        if entry is None:
            return
        self.run(
            "UPDATE certificates SET installed_at = NULL WHERE identity = ? AND name = ? AND id > ?",
            (item.identity, item.name, entry.id),
        )
        self.run(
            "UPDATE certificates SET installed_at = ?, state = CASE state WHEN 'superseded' THEN 'issued' ELSE state END WHERE id = ?",
            (now, entry.id),
        )

    def _prepare(self) -> None:
        version = self._known_version()
        # Readers never wait for writers; a commit is on disk when it returns.
        self.run("PRAGMA journal_mode = WAL")
        self.run("PRAGMA synchronous = FULL")
        if version != len(STEPS):
            self._migrate()

    def _prepare_copy(self) -> None:
        if self._known_version() == len(STEPS):
            return
        with _explained_sql(self._path), closing(self._connection) as original:
            self._connection = sqlite3.connect(":memory:", isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            original.backup(self._connection)
        self._migrate()

    def _known_version(self) -> int:
        version = self._version()
        if version is None:
            raise CAError(
                f"{self._path} is no ledger of certfleet: it holds no version. Nothing was changed. Restore the ledger from your "
                "backup, or check the option 'directory'.",
                code="ledger",
            )
        if version > len(STEPS):
            raise CAError(
                f"The ledger {self._path} was written by a newer certfleet (its version is {version}, this one reads up to "
                f"{len(STEPS)}). Nothing was changed. Use at least that release of the collection certfleet.tls.",
                code="ledger_newer",
            )
        return version

    def _migrate(self) -> None:
        with self.transaction():
            # Looked at again: another process may have been faster.
            for step in range(self._version() or 0, len(STEPS)):
                for statement in STEPS[step]:
                    self.run(statement)
                self.run("UPDATE schema_version SET version = ?", (step + 1,))

    def _version(self) -> int | None:
        if not self.run("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'"):
            return None
        return int(self.run("SELECT version FROM schema_version")[0][0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is run within it is in the ledger, on disk, when it ends; or none of it. One within another is a part of that."""
        if self._is_writing():
            yield
            return
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        finally:
            if self._is_writing():
                self.run("ROLLBACK")

    def _is_writing(self) -> bool:
        return self._connection.in_transaction

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """One statement, for the files beside this one that know a part of the tables. Writers run it within transaction()."""
        with _explained_sql(self._path):
            return self._connection.execute(sql, values).fetchall()

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """One statement for each of the rows."""
        with _explained_sql(self._path):
            self._connection.executemany(sql, rows)


def _connect(path: str, *, busy_timeout: float) -> sqlite3.Connection:
    with _explained_sql(path):
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode=rw", uri=True, timeout=busy_timeout, isolation_level=None
        )
    connection.row_factory = sqlite3.Row
    return connection


def choose(rows: Iterable[Iterable[Any]], *, newest: int, now: int) -> list[int]:
    """Ids, newest first, of what leaves_of() tells; rows are those of CHOICE."""
    by_name: dict[str, list[tuple[int, int | None]]] = {}
    chosen: set[int] = set()
    for name, number, state, installed_at, not_after, reason, gone_at in rows:
        by_name.setdefault(name, []).append((number, installed_at))
        if state == "revoked" and (not_after >= now or reason in COMPROMISING or gone_at is not None):
            chosen.add(number)
    for certificates in by_name.values():
        chosen.update(sorted((number for number, _at in certificates), reverse=True)[:newest])
        in_service = max(((at, number) for number, at in certificates if at is not None), default=None)
        if in_service:
            chosen.add(in_service[1])
    return sorted(chosen, reverse=True)


_PLAIN_COLUMNS = (
    "id",
    "serial",
    "authority",
    "issuer",
    "identity",
    "name",
    "profile",
    "common_name",
    "spki",
    "not_before",
    "not_after",
    "fingerprint",
    "pem",
    "lifetime",
    "revoked_at",
    "revocation_reason",
    "gone_at",
    "installed_at",
)


def _to_row(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.serial,
        entry.authority,
        entry.issuer,
        entry.identity,
        entry.name,
        entry.profile,
        entry.common_name,
        json.dumps(entry.names),
        entry.spki,
        entry.not_before,
        entry.not_after,
        entry.fingerprint,
        entry.pem,
        entry.lifetime,
    )


def to_entry(row: sqlite3.Row, *, now: int | None = None) -> Entry:
    """A whole row of the table as an entry; with O(now) its state is told as it is then."""
    state = row["state"]
    if now is not None and row["not_after"] < now and state in ("issued", "superseded"):
        state = "expired"
    plain = {column: row[column] for column in _PLAIN_COLUMNS}
    return Entry(**plain, names=tuple(json.loads(row["names"])), why=tuple(row["why"].split()), state=state)


@contextmanager
def _explained_sql(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        said = str(exc)
        step = next(
            (step for sign, step in _NEXT_STEPS if sign in said), "Look at the file on the CA host, then run again."
        )
        raise CAError(
            f"The ledger {path} cannot be used: {said}. The step that failed was undone. {step}", code="ledger"
        ) from exc


_NEXT_STEPS = (
    ("malformed", "The file is damaged: restore it from your backup; nothing is made anew in its place."),
    (
        "not a database",
        "The file is damaged or another one: restore it from your backup; nothing is made anew in its place.",
    ),
    # What SQLite also says where its files beside the ledger find no room.
    (
        "disk I/O",
        "The disk is full or reports errors: free some space, or check it and restore the file from your backup. Then run again.",
    ),
    ("full", "Free some space on that disk, then run again."),
    ("readonly", "Make the disk and the file writable for root, then run again."),
    (
        "unable to open",
        "Check that the task runs as root (become), and that the disk is writable and has space for more files, then run again.",
    ),
    ("locked", "Another process holds it: see what that does on the CA host, then run again."),
)
