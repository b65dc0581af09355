# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The authorities' files. Reading the public half needs the standard library alone; keys are opened in local.py.

C(<directory>/authorities/<name>/) holds C(root.pem), C(issuing.pem) (the issuing CA first, then what is between it and the
root), C(issuing.key) and, unless it is kept elsewhere, C(root.key), the keys encrypted; also C(policy.json) and the CRLs.
C(<directory>/pending/<name>/) holds what waits for a signature from elsewhere: C(issuing.csr), and C(issuing.key) as long as
there is no such authority.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from .durable import PRIVATE_FILE, PRIVATE_FOLDER, explained, make_folder, publish_folder
from .errors import CAError
from .lock import LOCK_FILE

DEFAULT_DIRECTORY = "/var/lib/certfleet"
LEDGER_FILE = "ledger.sqlite"
FILES = ("root.pem", "issuing.pem", "issuing.key")
ROOT_KEY = "root.key"
PENDING_KEY, PENDING_CSR = "issuing.key", "issuing.csr"
_END = "-----END CERTIFICATE-----"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class Published:
    """The public half of an authority. C(anchors) and C(chain) are PEM, fingerprints lower-case hex of the DER."""

    name: str
    anchors: str
    chain: str
    fingerprints: Mapping[str, str]


class Store:
    """The CA's folder on its host."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        self.authorities = os.path.join(self.directory, "authorities")
        self.pending = os.path.join(self.directory, "pending")
        self.ledger = os.path.join(self.directory, LEDGER_FILE)

    def path(self, authority: str, file: str = "") -> str:
        """Where an authority's folder, or one of its files, is. Raises CAError for a name that is none."""
        if not _NAME.match(authority):
            raise CAError(
                f"'{authority}' is no name of an authority: letters, digits, dot, dash and underscore, 64 at most, "
                "a letter or digit first. Correct it where the certificate or the authority is described.",
                code="unknown_authority",
            )
        return os.path.join(self.authorities, authority, file).rstrip(os.sep)

    def pending_path(self, authority: str, file: str = "") -> str:
        """Where the folder is that waits for a signature from elsewhere, or one of its files."""
        self.path(authority)
        return os.path.join(self.pending, authority, file).rstrip(os.sep)

    def names(self) -> list[str]:
        """All authorities, whole or not (one that is being built aside has a name that is none)."""
        return _folders_in(self.authorities)

    def pending_names(self) -> list[str]:
        """All authorities of which something waits for a signature from elsewhere."""
        return _folders_in(self.pending)

    def has_ledger(self) -> bool:
        """Whether there is a ledger, of whatever kind."""
        return _is_there(self.ledger)

    def exists(self, authority: str) -> bool:
        """Whether there is anything of this authority. Raises CAError when it is only a part of one."""
        folder = self.path(authority)
        if not _is_there(folder):
            return False
        missing = [file for file in FILES if not os.path.isfile(os.path.join(folder, file))]
        if missing:
            raise CAError(
                f"Half a CA: the authority '{authority}' in {folder} lacks {', '.join(missing)}. Nothing was made anew, since "
                "that would replace a CA that machines trust. Restore the folder from your backup, then run again.",
                code="half_ca",
            )
        return True

    def require(self) -> None:
        """Raise CAError when there is no CA here yet."""
        if self.names():
            return
        if self.has_ledger():
            raise CAError(
                f"There is no authority in {self.authorities}, only a ledger beside it. Nothing was made anew. If there was one, restore "
                "it from your backup. If its creation was cut short, apply the role certfleet.tls.tls_ca to this host.",
                code="missing",
            )
        raise CAError(
            f"There is no CA yet: {self.directory} holds no authority. Apply the role certfleet.tls.tls_ca to this host, "
            "or check the option 'directory'.",
            code="missing",
        )

    def read(self, authority: str) -> Published:
        """The public half of an authority. Raises CAError when there is none, or only a part of one."""
        if not self.exists(authority):
            if authority in self.pending_names():
                raise CAError(
                    f"The authority '{authority}' waits for its chain: it signs nothing until "
                    f"{self.pending_path(authority, PENDING_CSR)} has been signed by its root and the chain is handed in (see the guide "
                    "to authorities), then run again.",
                    code="unknown_authority",
                )
            known = ", ".join(self.names()) or "none"
            raise CAError(
                f"There is no authority '{authority}' in {self.authorities} (there are: {known}). Correct the name, or add it "
                "to tls_ca_authorities and apply the role certfleet.tls.tls_ca.",
                code="unknown_authority",
            )
        anchors, chain = self.read_text(authority, "root.pem"), self.read_text(authority, "issuing.pem")
        prints = {
            "root": self._fingerprint(authority, anchors, "root.pem"),
            "issuing": self._fingerprint(authority, chain, "issuing.pem"),
        }
        return Published(authority, anchors, chain, prints)

    def read_text(self, authority: str, file: str) -> str:
        """One file of an authority. Keys are encrypted ones: this opens nothing."""
        path = self.path(authority, file)
        with explained("read", path), open(path, encoding="ascii", errors="replace") as stream:
            return stream.read()

    def read_optional(self, authority: str, file: str) -> str | None:
        """One file of an authority that need not be there; None then."""
        return self.read_text(authority, file) if _is_there(self.path(authority, file)) else None

    def has_root_key(self, authority: str) -> bool:
        """Whether the root's key is kept here."""
        return _is_there(self.path(authority, ROOT_KEY))

    def read_pending(self, authority: str, file: str) -> str | None:
        """One file of what waits; None when it is not there."""
        path = self.pending_path(authority, file)
        if not _is_there(path):
            return None
        with explained("read", path), open(path, encoding="ascii", errors="replace") as stream:
            return stream.read()

    def make(self) -> None:
        """The CA's own folders."""
        make_folder(self.authorities)

    def publish(self, authority: str, files: Mapping[str, bytes]) -> None:
        """Put a new authority in its place, whole or not at all."""
        publish_folder(self.path(authority), files)

    def deviations(self, authority: str) -> dict[str, tuple[int, int]]:
        """Paths whose mode lets others in: (mode that is, mode that should be)."""
        folders = [self.directory, self.authorities, self.path(authority)]
        folders += [path for path in (self.pending, self.pending_path(authority)) if os.path.isdir(path)]
        wanted = dict.fromkeys(folders, PRIVATE_FOLDER)
        files = [self.ledger, os.path.join(self.directory, LOCK_FILE)]
        wanted.update((path, PRIVATE_FILE) for path in files + _files_in(folders[2:]) if os.path.isfile(path))
        found = {}
        for path, mode in wanted.items():
            with explained("look at", path):
                is_now = stat.S_IMODE(os.stat(path).st_mode)
            if is_now & ~mode:
                found[path] = (is_now, mode)
        return found

    def close_to_others(self, authority: str) -> None:
        """Repair what deviations() finds."""
        for path, (_is_now, mode) in self.deviations(authority).items():
            with explained("change the mode of", path):
                os.chmod(path, mode)

    def _fingerprint(self, authority: str, pem: str, file: str) -> str:
        try:
            first, end, _others = pem.strip().partition(_END)
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first + end)).hexdigest()
        except ValueError as exc:
            raise CAError(
                f"Half a CA: {self.path(authority, file)} is no PEM certificate. Nothing was made anew. Restore it from your "
                "backup, then run again.",
                code="half_ca",
            ) from exc


def _folders_in(path: str) -> list[str]:
    with explained("read", path):
        try:
            return sorted(entry.name for entry in os.scandir(path) if _NAME.match(entry.name) and entry.is_dir())
        except FileNotFoundError:
            return []


def _files_in(folders: list[str]) -> list[str]:
    found: list[str] = []
    for folder in folders:
        with explained("read", folder), suppress(FileNotFoundError):
            found.extend(os.path.join(folder, file) for file in sorted(os.listdir(folder)))
    return found


def _is_there(path: str) -> bool:
    """Unlike os.path.exists, a folder that must not be looked into is an error, not an absence."""
    with explained("look at", path):
        try:
            os.lstat(path)
        except FileNotFoundError:
            return False
    return True
