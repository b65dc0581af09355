# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a service reads, and who may read them."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import HostError

ROLES = ("certificate", "key", "chain")
_FIELDS = frozenset({*ROLES, "owner", "group", "mode", "key_mode"})
_OCTAL = re.compile(r"0?[0-7]{3}\Z")


@dataclass(frozen=True)
class Where:
    """The files of one certificate. Without C(chain) the intermediates stand behind the leaf in C(certificate)."""

    certificate: str
    key: str
    chain: str | None = None
    owner: str | None = None
    group: str | None = None
    mode: int = 0o644
    key_mode: int = 0o600

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> Where:
        """Check a user's description; O(where) names host and item in errors. Raises HostError."""
        given = {str(field): value for field, value in data.items() if value not in (None, "")}
        unknown = sorted(set(given) - _FIELDS)
        if unknown:
            raise HostError(
                f"{where}: 'where' has no field {', '.join(unknown)}. There are {', '.join(sorted(_FIELDS))}."
            )
        paths = {role: _path(given.get(role), role, where=where) for role in ROLES if role != "chain" or role in given}
        if len(set(paths.values())) < len(paths):
            raise HostError(
                f"{where}: certificate, key and chain must be different files. Give each a path of its own."
            )
        wanted = cls(
            **paths,
            owner=_account(given.get("owner")),
            group=_account(given.get("group")),
            mode=_mode(given.get("mode", "0644"), "mode", where=where),
            key_mode=_mode(given.get("key_mode", "0600"), "key_mode", where=where),
        )
        if wanted.key_mode & (stat.S_IRWXO | stat.S_IXGRP | stat.S_IWGRP | stat.S_IXUSR):
            raise HostError(
                f"{where}: key_mode {wanted.key_mode:04o} opens the private key to more than reading by its owner and"
                " group. Use 0600, 0640, 0400 or 0440, and owner or group for who reads it."
            )
        return wanted

    def paths(self) -> dict[str, str]:
        """Role -> path, of the files that are wanted."""
        found = {"certificate": self.certificate, "key": self.key}
        return {**found, "chain": self.chain} if self.chain else found

    def mode_of(self, role: str) -> int:
        """The mode that the file of this role should have."""
        return self.key_mode if role == "key" else self.mode

    def uid(self) -> int:
        """The owner's number, or -1 for none wanted. Raises HostError when this host does not know the name."""
        if self.owner is None or self.owner.isdigit():
            return int(self.owner or -1)
        try:
            return pwd.getpwnam(self.owner).pw_uid
        except KeyError as exc:
            raise HostError(
                f"The owner '{self.owner}' of {self.key} is not known on this host. Create the user, or correct"
                " where.owner."
            ) from exc

    def gid(self) -> int:
        """The group's number, or -1 for none wanted. Raises HostError when this host does not know the name."""
        if self.group is None or self.group.isdigit():
            return int(self.group or -1)
        try:
            return grp.getgrnam(self.group).gr_gid
        except KeyError as exc:
            raise HostError(
                f"The group '{self.group}' of {self.key} is not known on this host. Create the group, or correct"
                " where.group."
            ) from exc


def folder_of(path: str) -> str:
    """The real folder that a path's last part stands in (relative links are made from there)."""
    return os.path.realpath(os.path.dirname(path))


def _path(value: Any, role: str, *, where: str) -> str:
    text = str(value or "")
    if not text:
        raise HostError(
            f"{where}: 'where' lacks the path of the {role}. Write where: {{certificate: /path, key: /path}}."
        )
    if not os.path.isabs(text) or os.path.normpath(text) != text or any(ord(character) < 32 for character in text):
        raise HostError(
            f"{where}: '{text}' is no plain absolute path for the {role}. Write it from / on, without '..' or '//'."
        )
    return text


def _account(value: Any) -> str | None:
    return None if value is None else str(value)


def _mode(value: Any, field: str, *, where: str) -> int:
    text = str(value)
    if isinstance(value, (bool, int)) or not _OCTAL.match(text):
        raise HostError(
            f"{where}: {field} '{text}' is no file mode. Write it as a quoted octal number, such as \"0640\"."
        )
    return int(text, 8)
