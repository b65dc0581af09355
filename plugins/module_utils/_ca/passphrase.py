# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The passphrase of the CA's keys: read on the CA host when it is needed, and never shown."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
from collections.abc import Sequence

from .durable import explained, make_folder, write_file
from .errors import CAError

COMMAND_TIMEOUT = 30.0
# What every supported cryptography takes.
_LONGEST = 1023


class Passphrase:
    """Where the passphrase comes from: a private file, or the output of a command. Read once, when first asked for."""

    def __init__(
        self,
        *,
        file: str | None,
        command: Sequence[str] | None = None,
        timeout: float = COMMAND_TIMEOUT,
        of: str = "the CA's keys",
    ) -> None:
        self._file = None if command else file
        self._command = [str(word) for word in command or ()]
        self._timeout = timeout
        self._of = of
        self._secret: bytes | None = None

    @property
    def source(self) -> str:
        """Where it comes from, for messages."""
        return f"the command '{self._command[0]}'" if self._command else str(self._file)

    @property
    def file(self) -> str | None:
        """The file that it comes from; None where a command gives it."""
        return self._file

    @property
    def missing(self) -> bool:
        """Whether it comes from a file that does not exist."""
        return self._file is not None and not os.path.lexists(self._file)

    def get(self) -> bytes:
        """The passphrase itself. Raises CAError (never with a part of it)."""
        if self._secret is None:
            self._secret = self._checked(self._from_command() if self._command else self._from_file())
        return self._secret

    def generate(self) -> None:
        """Make a random one in the file, which must not exist."""
        path = str(self._file)
        make_folder(os.path.dirname(os.path.abspath(path)))
        write_file(path, secrets.token_urlsafe(32).encode() + b"\n")

    def _from_file(self) -> bytes:
        path = str(self._file)
        if self.missing:
            raise CAError(
                f"The passphrase of {self._of} is not there: {path} does not exist. Put it back from your backup "
                "(or say in the options where it is); nothing is made anew in its place.",
                code="passphrase",
            )
        with explained("read the passphrase file", path):
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077:
                    raise CAError(
                        f"The passphrase file {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}) or no regular "
                        "file. Make it its owner's alone (chmod 0600). If others could read it, encrypt the keys with another one, as "
                        "docs/docsite/rst/backup.rst says (Another passphrase).",
                        code="passphrase",
                    )
                return file.read(_LONGEST + 1)

    def _from_command(self) -> bytes:
        try:
            done = subprocess.run(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # Not chained: the cause holds what the command has printed so far.
            raise CAError(
                f"{self.source}, which is to print the passphrase of {self._of}, had not ended after {self._timeout:.0f} s. "
                "Run it by hand on the CA host; it must need no input.",
                code="passphrase",
            ) from None
        except OSError as exc:
            raise CAError(
                f"{self.source}, which is to print the passphrase of {self._of}, could not be started: {exc.strerror}. "
                "Give passphrase_command as a list of a program (full path) and its arguments.",
                code="passphrase",
            ) from exc
        if done.returncode != 0:
            raise CAError(
                f"{self.source}, which is to print the passphrase of {self._of}, ended with {done.returncode}. "
                "Run it by hand on the CA host to see why.",
                code="passphrase",
            )
        return done.stdout

    def _checked(self, output: bytes) -> bytes:
        secret = output.rstrip(b"\r\n")
        if not secret or len(secret) > _LONGEST or b"\n" in secret:
            raise CAError(
                f"{self.source} gives no passphrase: it must be one line that is not empty. Nothing was changed.",
                code="passphrase",
            )
        return secret
