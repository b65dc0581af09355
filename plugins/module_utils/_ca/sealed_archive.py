# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream that only a passphrase opens, and in which every change, loss and reordering is noticed.

Layout, numbers big-endian::

    magic     17  "certfleet backup\\n"
    version    1  1
    cost       1  base-2 logarithm of scrypt's N (r = 8, p = 1)
    salt      16  random
    check     32  HMAC-SHA-256 of all before it, keyed with the second half of scrypt's 64 bytes
    chunks        AES-256-GCM with the first half: 65,536 octets each (the last one fewer, or none) and a tag of 16;
                  nonce = number of the chunk (11 octets, from 0) and whether it is the last (1 octet); additional data = all before it

The salt is new for each archive, so no key is ever used twice.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from .._x509.crypto import InvalidTag, aead
from .errors import CAError

MAGIC = b"certfleet backup\n"
VERSION = 1
# 128 MiB of memory and about half a second; an archive that asks for more than a GiB is not read.
COST = 17
_COSTS = range(10, 21)
_BLOCK_SIZE = 8
CHUNK = 65536
_TAG = 16
_HEADER = struct.Struct(f">{len(MAGIC)}sBB16s")
_CHECK = 32


class Keys(NamedTuple):
    """What scrypt makes of a passphrase, for one archive: the cipher of the chunks, and the key of the header's check."""

    cipher: aead.AESGCM
    check: bytes


class Sealer:
    """Encrypts what is written to it into O(put), piece by piece; close() seals the end."""

    def __init__(self, put: Callable[[bytes], object], secret: bytes, *, cost: int | None = None) -> None:
        chosen = COST if cost is None else cost
        header = _HEADER.pack(MAGIC, VERSION, chosen, os.urandom(16))
        self.keys = _derive(secret, header)
        self._cipher = self.keys.cipher
        self._header = header + hmac.digest(self.keys.check, header, "sha256")
        self._put = put
        self._count = 0
        self._waiting = bytearray()
        put(self._header)

    def write(self, data: bytes) -> int:
        """Take more plain data."""
        self._waiting += data
        # The last chunk is known only when the end has come, so a full one waits for what follows.
        while len(self._waiting) > CHUNK:
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(data)

    def close(self) -> None:
        """Write the last chunk: without it nobody takes the archive for a whole one."""
        self._seal(bytes(self._waiting), last=True)

    def _seal(self, data: bytes, *, last: bool) -> None:
        self._put(self._cipher.encrypt(_nonce(self._count, last=last), data, self._header))
        self._count += 1


class Opener:
    """Reads what a Sealer has written. Raises CAError for another passphrase, and for whatever is not as it was written.

    O(keys): those of the Sealer that has just written it, instead of the passphrase.
    """

    def __init__(
        self, stream: BinaryIO, secret: bytes = b"", *, where: str, source: str = "", keys: Keys | None = None
    ) -> None:
        self._stream = stream
        self._where = where
        self._header = stream.read(_HEADER.size + _CHECK)
        header, check = self._header[: _HEADER.size], self._header[_HEADER.size :]
        _check_header(header, where=where)
        keys = keys or _derive(secret, header)
        self._cipher = keys.cipher
        if not hmac.compare_digest(hmac.digest(keys.check, header, "sha256"), check):
            raise CAError(
                f"The backup {where} cannot be opened: {source} gives another passphrase than it was sealed with, or its first "
                "octets are damaged. Nothing was changed. Put the right passphrase there, or take another backup.",
                code="wrong_passphrase",
            )
        self._count = 0
        self._plain = b""
        self._at = 0
        self._sealed = stream.read(CHUNK + _TAG)
        self._is_over = False

    def read(self, size: int) -> bytes:
        """The next octets, fewer than O(size) only at the end."""
        found = bytearray()
        while len(found) < size:
            if self._at == len(self._plain):
                if self._is_over:
                    break
                self._open()
            part = self._plain[self._at : self._at + size - len(found)]
            self._at += len(part)
            found += part
        return bytes(found)

    def finish(self) -> None:
        """Read to the end, so that an archive that was cut off is found out also where nobody wanted the rest."""
        while self.read(CHUNK):
            pass

    def _open(self) -> None:
        following = self._stream.read(CHUNK + _TAG)
        self._is_over = not following
        try:
            self._plain = self._cipher.decrypt(_nonce(self._count, last=self._is_over), self._sealed, self._header)
        except (InvalidTag, ValueError) as exc:
            raise damaged(self._where, f"it is not what was written from octet {self._count * CHUNK} on") from exc
        self._at = 0
        self._count += 1
        self._sealed = following


def damaged(where: str, said: str) -> CAError:
    """The error for an archive that is none, or not whole any more."""
    return CAError(
        f"The backup {where} is damaged: {said}. Nothing was changed. Copy it again from where it was kept, or take another one.",
        code="bad_backup",
    )


def _check_header(header: bytes, *, where: str) -> None:
    if len(header) < _HEADER.size or not header.startswith(MAGIC):
        raise CAError(
            f"{where} is no backup of certfleet: it begins with something else. Nothing was changed. Check the name of the file.",
            code="bad_backup",
        )
    _magic, version, cost, _salt = _HEADER.unpack(header)
    if version != VERSION:
        raise CAError(
            f"The backup {where} has the format {version}, this release reads {VERSION}. Nothing was changed. Use at least the "
            "release of the collection certfleet.tls that wrote it.",
            code="backup_newer",
        )
    if cost not in _COSTS:
        raise damaged(where, f"its header asks for 2^{cost} rounds of scrypt")


def _derive(secret: bytes, header: bytes) -> Keys:
    _magic, _version, cost, salt = _HEADER.unpack(header)
    rounds = 1 << cost
    memory = 128 * _BLOCK_SIZE * (rounds + 4) + (1 << 20)
    derived = hashlib.scrypt(secret, salt=salt, n=rounds, r=_BLOCK_SIZE, p=1, maxmem=memory, dklen=64)
    return Keys(aead.AESGCM(derived[:32]), derived[32:])


def _nonce(count: int, *, last: bool) -> bytes:
    return count.to_bytes(11, "big") + bytes([last])
