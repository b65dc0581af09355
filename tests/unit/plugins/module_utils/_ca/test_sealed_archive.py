# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sealed format: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.sealed_archive import CHUNK, COST, MAGIC, Opener, Sealer

SECRET = b"correct horse"
HEADER = len(MAGIC) + 1 + 1 + 16 + 32
SEALED = CHUNK + 16
PLAIN = os.urandom(2 * CHUNK + 7)


def seal(*parts: bytes, secret: bytes = SECRET) -> bytes:
    out = io.BytesIO()
    sealer = Sealer(out.write, secret, cost=10)
    for part in parts:
        sealer.write(part)
    sealer.close()
    return out.getvalue()


def unseal(sealed: bytes, *, secret: bytes = SECRET, size: int = CHUNK) -> bytes:
    opener = Opener(io.BytesIO(sealed), secret, where="/b", source="/p")
    found = b""
    while part := opener.read(size):
        found += part
    return found


ARCHIVE = seal(PLAIN)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5])
def test_what_goes_in_comes_out(size: int) -> None:
    plain = os.urandom(size)
    sealed = seal(plain)
    assert unseal(sealed) == plain
    assert len(sealed) == HEADER + size + 16 * max(1, -(-size // CHUNK))
    assert size < 16 or plain[:16] not in sealed


@given(parts=st.lists(st.binary(max_size=3000), max_size=8), size=st.integers(1, 5000), repeat=st.integers(1, 40))
def test_pieces_of_any_size(parts: list[bytes], size: int, repeat: int) -> None:
    assert unseal(seal(*parts * repeat), size=size) == b"".join(parts * repeat)


def test_as_it_is_documented() -> None:
    """Opened by hand, from the description of the layout alone."""
    header, check, chunks = ARCHIVE[: HEADER - 32], ARCHIVE[HEADER - 32 : HEADER], ARCHIVE[HEADER:]
    assert header[:19] == b"certfleet backup\n\x01\x0a"
    keys = hashlib.scrypt(SECRET, salt=header[19:35], n=2**10, r=8, p=1, dklen=64)
    assert hmac.new(keys[32:], header, "sha256").digest() == check
    found = b""
    for number, at in enumerate(range(0, len(chunks), SEALED)):
        last = at + SEALED >= len(chunks)
        nonce = number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
        found += AESGCM(keys[:32]).decrypt(nonce, chunks[at : at + SEALED], header + check)
    assert found == PLAIN


def test_no_two_archives_are_alike_and_scrypt_costs_something() -> None:
    assert seal(PLAIN)[HEADER:] != seal(PLAIN)[HEADER:]
    assert COST >= 17


@given(at=st.integers(0, len(ARCHIVE) - 1), bit=st.integers(0, 7))
def test_every_changed_bit_is_noticed(at: int, bit: int) -> None:
    changed = bytearray(ARCHIVE)
    changed[at] ^= 1 << bit
    with pytest.raises(CAError) as caught:
        unseal(bytes(changed))
    assert caught.value.code in ("bad_backup", "wrong_passphrase", "backup_newer")
    assert "Nothing was changed" in str(caught.value)


FIRST, SECOND, LAST = (ARCHIVE[HEADER + SEALED * number :][:SEALED] for number in range(3))
START = ARCHIVE[:HEADER]


@pytest.mark.parametrize(
    "spoilt",
    [
        START + FIRST + SECOND,
        START + FIRST,
        START,
        START + SECOND + FIRST + LAST,
        START + FIRST + LAST,
        START + LAST,
        START + FIRST + FIRST + SECOND + LAST,
        ARCHIVE + LAST,
        ARCHIVE + b"x",
        ARCHIVE[:-1],
        seal(PLAIN)[:HEADER] + ARCHIVE[HEADER:],
        ARCHIVE[: HEADER - 1],
        MAGIC,
        b"",
        b"PK\x03\x04" + bytes(200),
    ],
)
def test_lost_added_and_swapped_pieces_are_noticed(spoilt: bytes) -> None:
    with pytest.raises(CAError):
        unseal(spoilt)


@pytest.mark.parametrize("cut", [HEADER, HEADER + SEALED, HEADER + 2 * SEALED])
def test_an_archive_that_was_cut_off_is_noticed_by_whoever_does_not_need_the_rest(cut: int) -> None:
    opener = Opener(io.BytesIO(ARCHIVE[:cut] + b"" * 3), SECRET, where="/b", source="/p")
    with pytest.raises(CAError, match="is damaged"):
        opener.finish()


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda data: b"another thing" + data[13:], "bad_backup", "/b is no backup of certfleet"),
        (lambda data: data[:17] + b"\x02" + data[18:], "backup_newer", "has the format 2, this release reads 1"),
        (lambda data: data[:18] + b"\x28" + data[19:], "bad_backup", "asks for 2^40 rounds"),
        (lambda data: data[:40] + b"?" * 8 + data[48:], "wrong_passphrase", "/p gives another passphrase"),
        (lambda data: data[:-9], "bad_backup", "from octet 131072 on"),
    ],
)
def test_what_is_said(change: Callable[[bytes], bytes], code: str, said: str) -> None:
    with pytest.raises(CAError) as caught:
        unseal(change(ARCHIVE))
    assert (caught.value.code, said in str(caught.value)) == (code, True), str(caught.value)


def test_another_passphrase() -> None:
    with pytest.raises(CAError, match="another passphrase than it was sealed with") as caught:
        unseal(ARCHIVE, secret=b"something else")
    assert caught.value.code == "wrong_passphrase"
    assert "something else" not in str(caught.value)
