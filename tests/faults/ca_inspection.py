# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the CA host: looks at a CA's folder with nothing of the collection's own code, and prints one JSON object.

C(problems) is what may be at no moment, whatever was killed: a signature that the ledger does not know, a serial twice, a file that
is not whole, one that others can read. The ledger is looked at in a copy, so that the one in use stays as the killed process left it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

LEDGER = "ledger.sqlite"
# What a process leaves aside when it is killed; nobody looks for it.
ASIDE = (".new-", ".restoring")
NEEDED = ("root.pem", "issuing.pem", "issuing.key")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Inspection:
    """One look at a CA."""

    def __init__(self, directory: str, passphrase: str, answer: str) -> None:
        self.directory = directory
        self.passphrase = passphrase
        self.answer = answer
        self.problems: list[str] = []
        self.rows: list[sqlite3.Row] = []
        self.numbers: set[int] = set()
        self.crls: list[tuple[str, int, list[str]]] = []
        self.files: list[tuple[str, str, str]] = []

    def run(self) -> dict[str, Any]:
        """All of it."""
        self.look_at_files()
        if os.path.exists(os.path.join(self.directory, LEDGER)):
            with tempfile.TemporaryDirectory() as folder:
                self.look_at_ledger(folder)
        self.look_at_signatures()
        for name in self.names():
            self.look_at_authority(name)
        return {
            "problems": self.problems,
            "serials": [(row["serial"], row["identity"], _state(row)) for row in self.rows],
            "files": self.files,
            "crls": self.crls,
        }

    def names(self) -> list[str]:
        """The authorities."""
        folder = os.path.join(self.directory, "authorities")
        return sorted(name for name in _listed(folder) if not name.startswith(ASIDE))

    def look_at_files(self) -> None:
        """Every file, and whether it is its owner's alone."""
        for path in _walk(self.directory):
            status = os.lstat(path)
            name = os.path.relpath(path, self.directory)
            if stat.S_IMODE(status.st_mode) & 0o077:
                self.problems.append(f"{name} is open to others (mode {stat.S_IMODE(status.st_mode):04o})")
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
                self.files.append((name, f"{stat.S_IMODE(status.st_mode):04o}", digest))

    def look_at_ledger(self, folder: str) -> None:
        """Whether it is whole, and what it knows."""
        for end in ("", "-wal"):
            if os.path.exists(os.path.join(self.directory, LEDGER + end)):
                shutil.copy(os.path.join(self.directory, LEDGER + end), os.path.join(folder, LEDGER + end))
        connection = sqlite3.connect(os.path.join(folder, LEDGER))
        connection.row_factory = sqlite3.Row
        try:
            said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            self.problems += [f"integrity_check: {line}" for line in said if line != "ok"]
            self.rows = connection.execute("SELECT * FROM certificates ORDER BY id").fetchall()
            self.numbers = {row["number"] for row in connection.execute("SELECT number FROM crls")}
        except sqlite3.Error as exc:
            self.problems.append(f"the ledger cannot be read: {exc}")
        finally:
            connection.close()
        for serial, count in Counter(row["serial"] for row in self.rows).items():
            if count > 1:
                self.problems.append(f"the serial {serial} is there {count} times")
        for row in self.rows:
            if row["state"] != "reserved" and not row["pem"]:
                self.problems.append(f"{row['serial']} is {row['state']}, without its certificate")

    def look_at_signatures(self) -> None:
        """Whatever was signed and has left the process must be in the ledger under its serial."""
        known = {row["serial"] for row in self.rows}
        pems = {row["serial"]: row["pem"] for row in self.rows if row["pem"]}
        names = [name for name, _mode, _digest in self.files if name.endswith(".pem") and not name.startswith(ASIDE)]
        places = [os.path.join(self.directory, name) for name in names]
        for path in [*places, self.answer]:
            for certificate in _certificates(_read(path)):
                serial = f"{certificate.serial_number:x}"
                if serial not in known:
                    self.problems.append(f"a signature that the ledger does not know: {serial} in {path}")
        for serial, pem in pems.items():
            if f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:x}" != serial:
                self.problems.append(f"the ledger has another certificate under {serial}")

    def look_at_authority(self, name: str) -> None:
        """Whether it is whole: files, keys, signatures, CRL."""
        folder = os.path.join(self.directory, "authorities", name)
        missing = [file for file in NEEDED if not os.path.isfile(os.path.join(folder, file))]
        if missing:
            self.problems.append(f"authority {name} lacks {', '.join(missing)}")
            return
        try:
            root = _certificates(_read(os.path.join(folder, "root.pem")))[0]
            issuing = _certificates(_read(os.path.join(folder, "issuing.pem")))[0]
            _verify(root.public_key(), root)
            _verify(root.public_key(), issuing)
            for part, certificate in (("root", root), ("issuing", issuing)):
                self.look_at_key(os.path.join(folder, f"{part}.key"), certificate)
            for file, issuer in (("crl.pem", issuing), ("root-crl.pem", root)):
                self.look_at_crl(os.path.join(folder, file), issuer)
        except (ValueError, IndexError, InvalidSignature) as exc:
            self.problems.append(f"authority {name} is not whole: {type(exc).__name__} {exc}")

    def look_at_key(self, path: str, certificate: x509.Certificate) -> None:
        """Whether it can be opened, and is the certificate's."""
        if not os.path.exists(path) or not os.path.exists(self.passphrase):
            return
        secret = _read(self.passphrase).strip().encode()
        key = load_pem_private_key(_read(path).encode(), secret)
        if _spki(key.public_key()) != _spki(certificate.public_key()):
            self.problems.append(f"{path} is not the key of its certificate")

    def look_at_crl(self, path: str, issuer: x509.Certificate) -> None:
        """Whether its issuer has signed it, and the ledger knows its number."""
        if not os.path.exists(path):
            return
        crl = x509.load_pem_x509_crl(_read(path).encode())
        if not crl.is_signature_valid(issuer.public_key()):
            self.problems.append(f"{path} is not signed by its issuer")
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        serials = [f"{entry.serial_number:x}" for entry in crl]
        self.crls.append((os.path.relpath(path, self.directory), number, sorted(serials)))
        if number not in self.numbers:
            self.problems.append(f"the ledger does not know the CRL {number} in {path}")


def _state(row: sqlite3.Row) -> str:
    """As readers are told it: what has ended is not written down."""
    has_ended = row["state"] in ("issued", "superseded") and row["not_after"] < time.time()
    return "expired" if has_ended else str(row["state"])


def _verify(issuer: Any, certificate: x509.Certificate) -> None:
    issuer.verify(
        certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(certificate.signature_hash_algorithm)
    )


def _spki(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _certificates(text: str) -> list[x509.Certificate]:
    """All in a text; in the answer of a module line ends are written as two characters."""
    return [x509.load_pem_x509_certificate(found.encode()) for found in _CERTIFICATE.findall(text.replace("\\n", "\n"))]


def _read(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _walk(folder: str) -> Iterator[str]:
    if os.path.isdir(folder):
        yield folder
    for parent, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            yield os.path.join(parent, name)


if __name__ == "__main__":
    json.dump(Inspection(*sys.argv[1:4]).run(), sys.stdout)
