# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup read again: to see whether it is good for anything, or to put it in its place.

In its place there may be no CA, or what an earlier restore of the same backup had got to, or a frozen CA of which the backup knows
every certificate (one that has moved and comes back). So nothing that is there can be lost.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from .._x509.parse import iso
from .backup import FOLDERS, LONGEST_FILE, MANIFEST, Manifest, backups_in, count_leaves, is_part, tag_in, tag_of
from .durable import PRIVATE_FILE, explained, make_folder, replace_file, sync_folder
from .errors import CAError
from .freezing import RESTORED, standing_of, write_act
from .ledger import Ledger
from .ledger_copy import check_integrity, overwrite, settle
from .lock import WAIT, locked
from .marker import lacks_marker, leave_marker
from .passphrase import Passphrase
from .sealed_archive import Opener, damaged
from .store import LEDGER_FILE, Store
from .wholeness import inspect_authority, inspect_pending, occupied, refuse_lost

ASIDE_FOLDER = ".restoring"


@dataclass(frozen=True)
class Content:
    """What a backup turned out to hold, checked. C(authorities): by name, the fingerprints of root and issuing CA, and which
    keys are in it; C(crl_numbers): the last one by authority and part."""

    manifest: Manifest
    authorities: Mapping[str, Mapping[str, Any]]
    crl_numbers: Mapping[str, int]


@dataclass(frozen=True)
class Restored:
    """C(changed) is False where this very backup had been restored before. C(before): what was there."""

    content: Content
    changed: bool
    before: str
    warnings: tuple[str, ...] = ()


def verify(path: str, *, folder: str, secret: Passphrase, passphrase: Passphrase) -> Content:
    """Read a backup wholly into the empty O(folder) and check everything: seal, ledger, certificates, keys."""
    make_folder(folder)
    manifest = _unpack(path, folder=folder, secret=secret)
    try:
        return _inspect(Store(folder), manifest, passphrase=passphrase, where=path)
    except CAError as exc:
        raise CAError(f"The backup {path} is of no use: {exc}", code=exc.code) from exc


def restore(
    path: str, *, store: Store, secret: Passphrase, passphrase: Passphrase, now: int, wait: float = WAIT
) -> Restored:
    """Check a backup as verify() does, then make it the CA of this host."""
    secret.get()
    with explained("read the backup", path), open(path, "rb"):
        pass
    make_folder(store.directory)
    with locked(store.directory, wait=wait):
        aside = Store(os.path.join(store.directory, ASIDE_FOLDER))
        _remove(aside.directory)
        try:
            content = verify(path, folder=aside.directory, secret=secret, passphrase=passphrase)
            before, changed = _judge(store, aside, content)
            warnings: tuple[str, ...] = ()
            if changed:
                _mark(aside, content, now=now)
                warnings = _put_in_place(store, aside)
            # All that may be missing where an earlier restore was cut short at its end.
            unmarked = lacks_marker(store, passphrase)
            leave_marker(store, passphrase, now=now)
        finally:
            _remove(aside.directory)
    return Restored(content, changed or unmarked, before, warnings)


def predict_restore(path: str, *, folder: str, store: Store, secret: Passphrase, passphrase: Passphrase) -> Restored:
    """What restore() would do, with the empty O(folder) to try it out in."""
    content = verify(path, folder=folder, secret=secret, passphrase=passphrase)
    before, changed = _judge(store, Store(folder), content)
    return Restored(content, changed or lacks_marker(store, passphrase), before)


def backup_in(folder: str, file: str | None, *, store: Store) -> str:
    """The backup that is meant: O(file), or the newest one in the folder of the CA that is there, or else of the only one that it has."""
    if file:
        return file
    found, tag = backups_in(folder), _tag_of(store)
    meant = [path for path in found if tag_in(path) == tag] if tag else found
    if not meant:
        others = f" of the CA in {store.directory}, only of another one" if found else ""
        raise CAError(
            f"There is no backup{others} in {folder}. Nothing was changed. Say where it is with 'file', or in which folder with 'folder'.",
            code="missing",
        )
    newest: dict[str, str] = {}
    for path in meant:
        newest.setdefault(tag_in(path), path)
    if len(newest) > 1:
        raise CAError(
            f"There are backups of {len(newest)} different CAs in {folder}, and none in {store.directory} that says which one is meant. "
            f"Nothing was changed. Name the file with 'file'; the newest of each: {', '.join(newest.values())}.",
            code="bad_request",
        )
    return meant[0]


def _tag_of(store: Store) -> str | None:
    """What backups of the CA that is there are told by; None where there is none that can be asked."""
    try:
        with Ledger.read(store.ledger) as ledger:
            return tag_of(ledger)
    except CAError:
        return None


def _unpack(path: str, *, folder: str, secret: Passphrase) -> Manifest:
    with explained("read the backup", path), open(path, "rb") as stream:
        opener = Opener(stream, secret.get(), where=path, source=secret.source)
        try:
            with tarfile.open(fileobj=cast(BinaryIO, opener), mode="r|gz") as archive:
                manifest = None
                for member in archive:
                    taken = _take(archive, member, folder=folder, where=path)
                    manifest = taken or manifest
            opener.finish()
        except (tarfile.TarError, zlib.error, EOFError) as exc:
            raise damaged(path, f"its content is no archive ({exc})") from exc
    if manifest is None:
        raise damaged(path, f"it holds no {MANIFEST}")
    return manifest


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, *, folder: str, where: str) -> Manifest | None:
    """Write one file of the archive into the folder; the manifest is returned instead."""
    stream = archive.extractfile(member) if member.isreg() else None
    known = member.name in (MANIFEST, LEDGER_FILE) or is_part(member.name, size=member.size)
    if stream is None or not known:
        raise damaged(where, f"it holds '{member.name}', which is no part of a CA")
    if member.name == MANIFEST:
        return _read_manifest(stream.read(LONGEST_FILE), where=where)
    path = os.path.join(folder, member.name)
    make_folder(os.path.dirname(path))
    with explained("write", path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(os.path.dirname(path))
    return None


def _read_manifest(data: bytes, *, where: str) -> Manifest:
    try:
        return Manifest(**json.loads(data))
    except (ValueError, TypeError) as exc:
        raise damaged(where, f"its {MANIFEST} is none ({exc})") from exc


def _inspect(store: Store, manifest: Manifest, *, passphrase: Passphrase, where: str) -> Content:
    if not store.has_ledger() or not store.names():
        raise damaged(where, f"it holds no {LEDGER_FILE} or no authority")
    check_integrity(store.ledger)
    inspect_pending(store, passphrase)
    with Ledger.open(store.ledger) as ledger:
        authorities = {name: inspect_authority(store, ledger, name, passphrase) for name in occupied(store)}
        refuse_lost(store, ledger)
        if _lasting(count_leaves(ledger, now=manifest.created)) != _lasting(manifest.certificates):
            raise damaged(where, f"its ledger has other certificates than its {MANIFEST} says")
        rows = ledger.run(
            "SELECT authority, part, max(number) FROM crls WHERE pem IS NOT NULL GROUP BY authority, part"
        )
        return Content(manifest, authorities, {f"{row[0]}/{row[1]}": int(row[2]) for row in rows})


def _lasting(counts: Mapping[str, int]) -> tuple[int, ...]:
    """Of the leaves by state what another release would count as well: older ones told in their own way what had ended."""
    return sum(counts.values()), counts.get("revoked", 0), counts.get("reserved", 0)


def _judge(store: Store, aside: Store, content: Content) -> tuple[str, bool]:
    """(what is there, whether it is to be replaced). Raises CAError when that would lose anything."""
    if not store.has_ledger():
        leftover = [path for path in (f"{store.ledger}-wal", f"{store.ledger}-journal") if os.path.lexists(path)]
        different = [*leftover, *_different_files(store, aside)]
        if different:
            raise _refusal(store, f"it has no ledger, and {different[0]} is not what the backup has")
        return "absent", True
    try:
        with Ledger.read(store.ledger) as ledger:
            acts = ledger.run("SELECT said FROM acts WHERE act = ? ORDER BY id DESC LIMIT 1", (RESTORED,))
            if (
                acts
                and content.manifest.id in str(acts[0]["said"]).split()
                and set(aside.names()) <= set(store.names())
            ):
                return "restored", False
            standing, lost = standing_of(ledger), _lost(ledger, aside)
    except CAError as exc:
        raise _refusal(store, f"its ledger cannot be read ({exc})") from exc
    if lost:
        raise _refusal(store, f"the backup lacks {lost} certificates or revocations that it knows")
    if standing.frozen is None:
        raise _refusal(store, "it is in use")
    return "frozen", True


def _refusal(store: Store, why: str) -> CAError:
    return CAError(
        f"There is a CA in {store.directory} already: {why}. Nothing was changed. Restore into another directory; or, if this one is of "
        "no use any more, move its folder away first, then run again.",
        code="exists",
    )


def _different_files(store: Store, aside: Store) -> list[str]:
    """Files in the CA's place that the backup does not have just so."""
    found = []
    for place in _places(store):
        path, other = os.path.join(store.directory, place), os.path.join(aside.directory, place)
        if not os.path.isfile(other) or _read(path) != _read(other):
            found.append(path)
    return found


def _lost(ledger: Ledger, aside: Store) -> int:
    """How many serials and revocations of the ledger the backup does not know."""
    facts = "SELECT serial, '' FROM certificates UNION ALL SELECT serial, 'revoked' FROM certificates WHERE state = 'revoked'"
    with Ledger.open(aside.ledger) as other:
        return len({tuple(row) for row in ledger.run(facts)} - {tuple(row) for row in other.run(facts)})


def _mark(aside: Store, content: Content, *, now: int) -> None:
    """The ledger shall say where it comes from, before it is anybody's."""
    said = f"From the backup {content.manifest.id} of {iso(content.manifest.created)}."
    with Ledger.open(aside.ledger) as ledger, ledger.transaction():
        write_act(ledger, RESTORED, said, now=now)
        if not content.manifest.frozen:
            # What has been issued or revoked since is not in it.
            ledger.run("DELETE FROM conditions WHERE name = ?", (RESTORED,))
            ledger.run("INSERT INTO conditions (name, said, at) VALUES (?, ?, ?)", (RESTORED, said, now))
    settle(aside.ledger)


def _put_in_place(store: Store, aside: Store) -> tuple[str, ...]:
    """The ledger comes last: until then every module refuses to work with what is there."""
    for place in _places(aside):
        path = os.path.join(store.directory, place)
        data = _read(os.path.join(aside.directory, place))
        if not os.path.lexists(path):
            make_folder(os.path.dirname(path))
        if not os.path.lexists(path) or _read(path) != data:
            replace_file(path, data)
    left = set(_places(store)) - set(_places(aside))
    if store.has_ledger():
        overwrite(store.ledger, source=aside.ledger)
    else:
        with explained("put the ledger in its place", store.ledger):
            os.link(aside.ledger, store.ledger)
            sync_folder(store.directory)
    return tuple(
        f"{os.path.join(store.directory, place)} is not in the backup and was left there. Remove it if it is not needed."
        for place in sorted(left)
    )


def _places(store: Store) -> list[str]:
    """The files of all authorities, as they are called in a backup."""
    found = []
    for kind in FOLDERS:
        for folder, _folders, files in os.walk(os.path.join(store.directory, kind)):
            for file in files:
                path = os.path.join(folder, file)
                place = os.path.relpath(path, store.directory)
                if os.path.isfile(path) and is_part(place, size=os.path.getsize(path)):
                    found.append(place)
    return sorted(found)


def _read(path: str) -> bytes:
    with explained("read", path), open(path, "rb") as stream:
        return stream.read()


def _remove(folder: str) -> None:
    """What an earlier restore has left, or this one no longer needs. Whoever calls holds the CA's lock."""
    with explained("clear", folder):
        if os.path.lexists(folder):
            shutil.rmtree(folder)
