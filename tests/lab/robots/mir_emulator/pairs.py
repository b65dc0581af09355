# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of certificate and key in files, and the TLS contexts made of them."""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


class PairError(ValueError):
    """Not a certificate and key that a server can use."""


@dataclass(frozen=True)
class PairFiles:
    """Where a certificate (with its chain) and its key lie, both PEM."""

    certificate: Path
    key: Path

    def exist(self) -> bool:
        """Whether both are there."""
        return self.certificate.is_file() and self.key.is_file()

    def forget(self) -> None:
        """Delete both."""
        self.certificate.unlink(missing_ok=True)
        self.key.unlink(missing_ok=True)

    def store(self, certificate: str, key: str) -> None:
        """Write both; the key is never readable by others."""
        self.certificate.parent.mkdir(parents=True, exist_ok=True)
        for path, text in ((self.certificate, certificate), (self.key, key)):
            descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(f"{path}.new").replace(path)


def make_self_signed(files: PairFiles, *, common_name: str) -> None:
    """A certificate as such products bring along: no names, valid for twenty years."""
    files.certificate.parent.mkdir(parents=True, exist_ok=True)
    files.key.parent.mkdir(parents=True, exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7300", "-subj"]
    command += [
        f"/O=Mobile Industrial Robots/CN={common_name}",
        "-keyout",
        str(files.key),
        "-out",
        str(files.certificate),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, umask=0o077)
    if done.returncode:
        raise PairError(f"openssl cannot make {files.certificate}: {done.stderr.decode(errors='replace')[-300:]}")


def server_context(files: PairFiles) -> ssl.SSLContext:
    """A context that serves the pair. Raises PairError, also when the key does not belong to the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The callback keeps OpenSSL from asking a terminal about encrypted keys.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as exc:
        raise PairError(f"the pair cannot be loaded ({getattr(exc, 'reason', None) or exc})") from exc
    return context


def check_pair(certificate: str, key: str) -> None:
    """Raise PairError unless a server could use the pair."""
    with tempfile.TemporaryDirectory() as folder:
        files = PairFiles(Path(folder, "certificate.pem"), Path(folder, "key.pem"))
        files.store(certificate, key)
        server_context(files)
