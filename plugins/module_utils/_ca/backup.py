# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sealed file with all that makes up a CA, of one moment, written while the CA goes on issuing.

It holds a tar: manifest.json, the files of authorities/ and pending/ as they lie on the disk (keys are encrypted there already),
and ledger.sqlite. The passphrase is not in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import IO, Any, BinaryIO, cast

from .durable import ASIDE, PRIVATE_FILE, explained, make_folder, sync_folder
from .errors import CAError
from .freezing import standing_of, write_act
from .ledger import Ledger
from .ledger_copy import Moment, faults_in
from .lock import WAIT, locked
from .passphrase import Passphrase
from .sealed_archive import Opener, Sealer
from .store import LEDGER_FILE, Store
from .wholeness import check_whole

DEFAULT_FOLDER = "/var/backups/certfleet"
MANIFEST = "manifest.json"
# Folders of a CA whose files are backed up, as <folder>/<authority>/<file>.
FOLDERS = ("authorities", "pending")
_PLACE = re.compile(rf"(?:{'|'.join(FOLDERS)})/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}\Z")
LONGEST_FILE = 1 << 28
# Where a copy of the ledger lies while it is sealed, in the CA's folder.
WORK = ".backup"
_PREFIX = "certfleet-"
# A backup's id begins with so many digits of its CA's own; its file's name ends with the first eight of them.
_TAG = 4
_FILE = re.compile(r"certfleet-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\.backup\Z")
_STATES = ("issued", "superseded", "revoked", "expired", "reserved")


@dataclass(frozen=True)
class Manifest:
    """What a backup says about itself. C(created) in unix seconds; C(certificates): leaves by state."""

    id: str
    created: int
    certificates: Mapping[str, int]
    frozen: bool

    def to_json(self) -> bytes:
        """As it lies in the archive."""
        return json.dumps(asdict(self), sort_keys=True).encode()


@dataclass(frozen=True)
class Written:
    """A backup that is on disk. C(sha256) is the whole file's; C(removed): older ones that had to go."""

    file: str
    size: int
    sha256: str
    manifest: Manifest
    removed: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def write_backup(
    store: Store, *, folder: str, secret: Passphrase, passphrase: Passphrase, keep: int, now: int, wait: float = WAIT
) -> Written:
    """Write a backup into O(folder), whole or not at all, and remove all but the newest O(keep) (0: none are removed).

    Raises CAError, and removes nothing, when this CA is not whole, or when the new backup is not read back as it was written: in time
    such backups would take the place of the good ones.
    """
    store.require()
    opened = secret.get()
    try:
        check_whole(store, passphrase)
    except CAError as exc:
        raise CAError(f"No backup was written, and none was removed: {exc}", code=exc.code) from exc
    make_folder(folder)
    work = os.path.join(store.directory, WORK)
    make_folder(work)
    copy = os.path.join(work, LEDGER_FILE)
    # One backup of this CA at a time, and one into this folder: what is aside there then is nobody's. The CA's own lock is
    # held for as long as it takes to read a few small files, so that they and the ledger are of one moment.
    with locked(work, wait=wait), locked(folder, wait=wait):
        _clear(work, begin=LEDGER_FILE)
        _clear(folder, begin=f"{ASIDE}{_PREFIX}")
        try:
            with _moment(store, wait=wait) as (files, strays, moment):
                moment.copy(copy)
            _refuse_damaged(copy, store)
            manifest = _manifest(copy, now=now)
            written = _seal(manifest, files, copy, folder=folder, secret=opened)
        finally:
            _clear(work, begin=LEDGER_FILE)
        removed = _prune(folder, keep=keep, newest=written.file)
    said = f"{written.file}, sha256 {written.sha256}"
    warnings = tuple(
        f"{path} is not in the backup: it is no part of a CA. Move it elsewhere, or remove it if it is not needed."
        for path in strays
    )
    warnings += _remember(store, said, now=now, wait=wait)
    return Written(written.file, written.size, written.sha256, manifest, removed, warnings)


def is_part(place: str, *, size: int) -> bool:
    """Whether a regular file of this size that lies there, below a CA's folder, is of an authority: it is backed up and restored."""
    return bool(_PLACE.match(place)) and size <= LONGEST_FILE


def backups_in(folder: str) -> list[str]:
    """The backups in a folder, the newest first."""
    with explained("read", folder):
        try:
            names = sorted((name for name in os.listdir(folder) if _FILE.match(name)), reverse=True)
        except FileNotFoundError:
            names = []
    return [os.path.join(folder, name) for name in names]


def count_leaves(ledger: Ledger, *, now: int) -> dict[str, int]:
    """How many leaves there are in each state."""
    found = dict.fromkeys(_STATES, 0)
    counted = ledger.run(
        "SELECT CASE WHEN state IN ('issued', 'superseded') AND not_after < ? THEN 'expired' ELSE state END AS told, count(*)"
        " FROM certificates WHERE identity != '' GROUP BY told",
        (now,),
    )
    for state, number in counted:
        found[state] = number
    return found


@contextmanager
def _moment(store: Store, *, wait: float) -> Iterator[tuple[dict[str, bytes], list[str], Moment]]:
    with locked(store.directory, wait=wait):
        with Ledger.open(store.ledger):
            # Of this version from here on.
            files, strays = _read_files(store)
        moment = Moment(store.ledger)
    with moment:
        yield files, strays, moment


def _read_files(store: Store) -> tuple[dict[str, bytes], list[str]]:
    """(the files of all authorities by place, the paths of what somebody else has left among them)."""
    found, strays = {}, []
    for kind in FOLDERS:
        for entry in _visible(os.path.join(store.directory, kind)):
            inside = _visible(entry.path) if entry.is_dir() else []
            if not inside:
                strays.append(entry.path)
            for file in inside:
                place = f"{kind}/{entry.name}/{file.name}"
                with explained("read", file.path):
                    if not file.is_file() or not is_part(place, size=file.stat().st_size):
                        strays.append(file.path)
                        continue
                    with open(file.path, "rb") as stream:
                        found[place] = stream.read()
    return found, strays


def _visible(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, without that which is being built aside."""
    with explained("read", folder):
        try:
            return sorted(
                (entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda entry: entry.name
            )
        except FileNotFoundError:
            return []


def _refuse_damaged(copy: str, store: Store) -> None:
    faults = faults_in(copy)
    if faults:
        raise CAError(
            f"The ledger {store.ledger} is damaged: {faults}. No backup was written, and none was removed. Restore the last one from "
            "before that (playbooks/restore.yml).",
            code="ledger",
        )


def _manifest(copy: str, *, now: int) -> Manifest:
    with Ledger.open(copy) as ledger:
        frozen = standing_of(ledger).frozen is not None
        tag = tag_of(ledger) or "0" * _TAG
        return Manifest(tag + secrets.token_hex(8 - _TAG // 2), now, count_leaves(ledger, now=now), frozen)


def _seal(manifest: Manifest, files: Mapping[str, bytes], ledger: str, *, folder: str, secret: bytes) -> Written:
    moment = datetime.fromtimestamp(manifest.created, tz=timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    path = os.path.join(folder, f"{_PREFIX}{moment}-{manifest.id[:8]}.backup")
    aside = os.path.join(folder, f"{ASIDE}{os.path.basename(path)}")
    with explained("write the backup", path):
        try:
            with _NewFile(aside) as file:
                sealer = Sealer(file.write, secret)
                with tarfile.open(fileobj=cast(BinaryIO, sealer), mode="w|gz") as archive:
                    for name, data in {MANIFEST: manifest.to_json(), **files}.items():
                        archive.addfile(_member(name, len(data), manifest), io.BytesIO(data))
                    with open(ledger, "rb") as stream:
                        archive.addfile(_member(LEDGER_FILE, os.fstat(stream.fileno()).st_size, manifest), stream)
                sealer.close()
            _read_back(aside, sealer, {MANIFEST: manifest.to_json(), **files}, ledger=ledger)
            os.rename(aside, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
        sync_folder(folder)
    return Written(path, file.size, file.digest.hexdigest(), manifest, ())


def _read_back(path: str, sealer: Sealer, files: Mapping[str, bytes], *, ledger: str) -> None:
    """Raise CAError unless the archive opens again and holds just these files and the ledger."""
    wanted = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with open(ledger, "rb") as stream:
        wanted[LEDGER_FILE] = _digest(stream)
    why: Exception | None = None
    try:
        is_same = _digests_in(path, sealer) == wanted
    except (tarfile.TarError, zlib.error, EOFError, CAError) as exc:
        is_same, why = False, exc
    if not is_same:
        raise CAError(
            f"The new backup {path} was not read back as it was written. It was removed, and no older one was. Check the disk that it "
            "lies on, then run again.",
            code="bad_backup",
        ) from why


def _digests_in(path: str, sealer: Sealer) -> dict[str, str]:
    found = {}
    with open(path, "rb") as stream:
        # Another half second for the same key would prove nothing more.
        opener = Opener(stream, keys=sealer.keys, where=path)
        with tarfile.open(fileobj=cast(BinaryIO, opener), mode="r|gz") as archive:
            for member in archive:
                content = archive.extractfile(member)
                found[member.name] = _digest(content) if content else ""
        opener.finish()
    return found


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := stream.read(1 << 20):
        digest.update(data)
    return digest.hexdigest()


def _member(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, PRIVATE_FILE, manifest.created
    return member


class _NewFile:
    """A new private file, on disk when it is left without an error."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE)
        self.digest = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> _NewFile:
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        try:
            if kind is None:
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def tag_of(ledger: Ledger) -> str | None:
    """What tells this CA's backups from another's in the same folder: the first serial that its ledger has ever known."""
    rows = ledger.run("SELECT serial FROM certificates ORDER BY id LIMIT 1")
    return hashlib.sha256(str(rows[0][0]).encode()).hexdigest()[:_TAG] if rows else None


def tag_in(path: str) -> str:
    """The same of a backup, as its file's name has it."""
    return path.rpartition("-")[2][:_TAG]


def _prune(folder: str, *, keep: int, newest: str) -> tuple[str, ...]:
    if not keep:
        return ()
    # By the clock of the machine: should it have run ahead once, the one just written is kept all the same.
    # Those of another CA, such as a root of its own or another plant on the same share, are not ours to remove.
    others = [path for path in backups_in(folder) if path != newest and tag_in(path) == tag_in(newest)]
    removed = tuple(others[keep - 1 :])
    for path in removed:
        with explained("remove the old backup", path):
            os.unlink(path)
    if removed:
        with explained("remove old backups from", folder):
            sync_folder(folder)
    return removed


def _remember(store: Store, said: str, *, now: int, wait: float) -> tuple[str, ...]:
    """Note the backup in the ledger, unless that is frozen: it stays what was backed up. The backup is good all the same."""
    try:
        with locked(store.directory, wait=wait), Ledger.open(store.ledger) as ledger:
            if standing_of(ledger).frozen is None:
                with ledger.transaction():
                    write_act(ledger, "backed_up", said, now=now)
    except CAError as exc:
        return (f"The backup is written, but the ledger does not know of it: {exc}",)
    return ()


def _clear(folder: str, *, begin: str) -> None:
    """Remove what a backup that was killed has left. Whoever calls holds the folder's lock."""
    with explained("clear", folder):
        for name in os.listdir(folder):
            if name.startswith(begin):
                os.unlink(os.path.join(folder, name))


def to_facts(manifest: Manifest) -> dict[str, Any]:
    """The manifest as a module tells it."""
    created = datetime.fromtimestamp(manifest.created, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "id": manifest.id,
        "created": created,
        "frozen": manifest.frozen,
        "certificates": dict(manifest.certificates),
    }
