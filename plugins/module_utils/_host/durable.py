# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to files that survive a crash: written aside, flushed, renamed, and the folder flushed.

Every change that certfleet makes to a service's files goes through here, so that tests can stop it after any of them.
"""

from __future__ import annotations

import os
import shutil
import stat

TEMPORARY = ".certfleet-new"


def sync_folder(folder: str) -> None:
    """Make the names in a folder permanent."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str, data: bytes, *, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Put a file in place of what is there: 0600 before the first byte, owner and mode right before it is seen."""
    aside = clear_aside(path)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        if (uid, gid) != (-1, -1):
            os.fchown(stream.fileno(), uid, gid)
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())
    os.rename(aside, path)
    sync_folder(os.path.dirname(path))


def make_folder(path: str, *, mode: int) -> None:
    """A new folder with exactly this mode, whatever the umask."""
    os.mkdir(path, 0o700)
    os.chmod(path, mode)
    sync_folder(os.path.dirname(path))


def rename(old: str, new: str) -> None:
    """Rename within one folder."""
    os.rename(old, new)
    sync_folder(os.path.dirname(new))


def point(link: str, target: str) -> None:
    """Make a symbolic link, in place of whatever file or link has this name, in one step."""
    aside = clear_aside(link)
    os.symlink(target, aside)
    os.rename(aside, link)
    sync_folder(os.path.dirname(link))


def remove(path: str) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing there is fine."""
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if is_folder:
        shutil.rmtree(path)
    else:
        os.unlink(path)
    sync_folder(os.path.dirname(path))


def clear_aside(path: str) -> str:
    """Remove what a crash left beside a path, and answer the name under which something can be prepared there."""
    aside = os.path.join(os.path.dirname(path), f".{os.path.basename(path).lstrip('.')}{TEMPORARY}")
    if os.path.lexists(aside):
        os.unlink(aside)
    return aside
