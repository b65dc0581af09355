# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read a service's files: what differs from the wish, and whether the service's user gets at them."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping

from .errors import HostError
from .where import Where


def deviations(where: Where) -> list[str]:
    """A sentence for each mode, owner or group of an existing file that is not as wanted."""
    uid, gid = where.uid(), where.gid()
    found = []
    for role, path in where.paths().items():
        try:
            is_now = os.stat(path)
        except OSError:
            continue  # that it is missing or unreadable is told elsewhere
        mode, wanted = stat.S_IMODE(is_now.st_mode), where.mode_of(role)
        if mode != wanted:
            found.append(f"{path} has mode {mode:04o}, should be {wanted:04o}")
        if uid not in (-1, is_now.st_uid):
            found.append(f"{path} belongs to user {is_now.st_uid}, should belong to {where.owner}")
        if gid not in (-1, is_now.st_gid):
            found.append(f"{path} belongs to group {is_now.st_gid}, should belong to {where.group}")
    return found


def obstacle(where: Where) -> str | None:
    """Why files cannot be put where they are wanted, with the next step, or None."""
    for role, path in where.paths().items():
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            return (
                f"the folder {folder} for the {role} does not exist on this host. It is never created silently: "
                "install the product first, or correct the path."
            )
        if os.path.isdir(path):
            return f"{path} is a folder, but the {role} has to be a file. Correct the path."
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            return (
                f"the folder {folder} cannot be written to by user {os.geteuid()}: it is mounted read-only, protected,"
                " or the task lacks become."
            )
    try:
        where.uid(), where.gid()
    except HostError as exc:
        return str(exc)
    return None


def unreadable_for(user: str, files: Mapping[str, str]) -> str | None:
    """The first file that a user cannot read by its modes, as a sentence; None when all can be read.

    O(files): the path that the service uses -> the file that will stand behind it. A user that this host does not know
    (a container's, a dynamic one) is not judged.
    """
    account = _account(user)
    if account is None or account.pw_uid == 0:
        return None
    groups = set(os.getgrouplist(account.pw_name, account.pw_gid))
    for path, file in files.items():
        real = os.path.realpath(file)
        if not _may(os.stat(real), account.pw_uid, groups, stat.S_IROTH):
            return f"{path} cannot be read by user {user}, under whom the service runs. Set owner, group or key_mode."
        for folder in (real[: end or 1] for end, character in enumerate(real) if character == "/"):
            if not _may(os.stat(folder), account.pw_uid, groups, stat.S_IXOTH):
                return f"user {user}, under whom the service runs, cannot enter {folder} on the way to {path}. Open it."
    return None


def _account(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        return None


def _may(found: os.stat_result, uid: int, groups: set[int], right: int) -> bool:
    """O(right) is given for others; owner and group have theirs three and six bits higher."""
    if found.st_uid == uid:
        return bool(found.st_mode & (right << 6))
    if found.st_gid in groups:
        return bool(found.st_mode & (right << 3))
    return bool(found.st_mode & right)
