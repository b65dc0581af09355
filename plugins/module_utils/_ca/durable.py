# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders that are wholly there or not at all, also after a crash, and never readable by others for a moment."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from .errors import CAError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
ASIDE = ".new-"


@contextmanager
def explained(doing: str, path: str) -> Iterator[None]:
    """Turn the system's refusals into an error that names what was being done and where."""
    try:
        yield
    except OSError as exc:
        raise CAError(
            f"Could not {doing} {path}: {exc.strerror or exc}. Nothing that was there before has been changed. "
            "Check that the disk has space and is writable, the owner, and that the task runs as root (become), then run again.",
            code="files",
        ) from exc


def make_folder(path: str) -> None:
    """A private folder and what is missing above it; each new entry is on disk when this returns."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path) or os.curdir
    for folder in reversed(missing):
        with explained("make the folder", folder):
            # Another process may have been faster: that is as good.
            with suppress(FileExistsError):
                os.mkdir(folder, PRIVATE_FOLDER)
            sync_folder(os.path.dirname(folder) or os.curdir)


def write_file(path: str, data: bytes) -> None:
    """A new private file; one that is already there is an error, never replaced."""
    with _written_aside(path, data) as aside:
        # A link, not a rename: it refuses to take the place of a file that appeared meanwhile.
        os.link(aside, path)


def replace_file(path: str, data: bytes) -> None:
    """A private file with this content, in the place of the one that may be there: either of them is there, whole."""
    with _written_aside(path, data) as aside:
        os.rename(aside, path)
        _clear_aside(path)


@contextmanager
def _written_aside(path: str, data: bytes) -> Iterator[str]:
    """The path of a file with this content beside its place, for the one step that brings it there."""
    folder, name = os.path.split(path)
    aside = os.path.join(folder, f"{ASIDE}{name}-{secrets.token_hex(8)}")
    with explained("write", path):
        try:
            _write_new(aside, data)
            yield aside
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
        sync_folder(folder)


def _clear_aside(path: str) -> None:
    """Remove what writers that were killed have left; there is never more than one at work."""
    folder, name = os.path.split(path)
    for entry in os.listdir(folder):
        if entry.startswith(f"{ASIDE}{name}-"):
            os.unlink(os.path.join(folder, entry))


def publish_folder(path: str, files: Mapping[str, bytes]) -> None:
    """A new private folder with these files: built beside its place, then moved there in one step."""
    parent, name = os.path.split(path)
    with explained("make", path):
        for entry in os.listdir(parent):
            # Left by a creation that was killed: it was never published, so nobody can have used its keys.
            if entry.startswith(f"{ASIDE}{name}-"):
                shutil.rmtree(os.path.join(parent, entry))
        aside = os.path.join(parent, f"{ASIDE}{name}-{secrets.token_hex(8)}")
        os.mkdir(aside, PRIVATE_FOLDER)
        for file, data in files.items():
            _write_new(os.path.join(aside, file), data)
        sync_folder(aside)
        # Renaming onto a folder that holds something fails: what is there stays.
        os.rename(aside, path)
        sync_folder(parent)


def remove_folder(path: str) -> None:
    """Remove a folder and its files. One whose removal was cut short lacks some of them, or is empty."""
    with explained("remove", path):
        for file in sorted(os.listdir(path)):
            os.unlink(os.path.join(path, file))
        os.rmdir(path)
        sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_new(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
