# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a known secret in whatever a run left behind, in every form in which it could have got there."""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path


def forms_of_text(text: str) -> dict[str, bytes]:
    """A text as it is, and the part of its base64 that does not depend on what stands before it, at all three alignments."""
    data = text.encode()
    forms = {"plain": data}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + data)
        # The first group mixes with what stands before, the last one with what follows.
        start = 0 if shift == 0 else 4
        forms[f"base64, alignment {shift}"] = encoded[start : len(encoded) - 4]
    return {name: form for name, form in forms.items() if len(form) >= 8}


def forms_of_key(pem: str) -> dict[str, bytes]:
    """A private key as PEM (with real, escaped and without line ends), as base64 of the PEM, and as its bare scalar."""
    body = "".join(line for line in pem.splitlines() if "-----" not in line)
    forms = {"PEM body": body[:60].encode()}
    if len(body) > 1000:
        # The end of an RSA key is as secret as its beginning; that of an EC key is the public key.
        forms["PEM body, late"] = body[-60:].encode()
    forms |= {f"PEM, {name}": form for name, form in forms_of_text(pem).items() if name != "plain"}
    scalar = _scalar(pem)
    forms |= {
        "scalar in hex": scalar.hex().encode(),
        "scalar in hex with colons": ":".join(f"{octet:02x}" for octet in scalar).encode(),
        "scalar in base64": base64.b64encode(scalar).rstrip(b"=")[:-1],
        "scalar as a number": str(int.from_bytes(scalar, "big")).encode(),
        "scalar, raw": scalar,
    }
    return forms


def leaks(haystack: bytes, forms: dict[str, bytes]) -> list[str]:
    """The forms that occur in it; line ends and JSON's escapes do not hide them."""
    joined = re.sub(rb"(?:\\n|\\r|\s)+", b"", haystack)
    lowered = joined.lower()
    found = []
    for name, form in forms.items():
        needle = re.sub(rb"\s+", b"", form)
        if form in haystack or needle in joined or (name.startswith("scalar in hex") and needle.lower() in lowered):
            found.append(name)
    return found


def files_below(*folders: Path, newer_than: float) -> Iterator[Path]:
    """Regular files of the same file system that were written since a point in time (unix seconds)."""
    for folder in folders:
        device = folder.stat().st_dev if folder.is_dir() else None
        for place, names, files in os.walk(folder):
            names[:] = [name for name in names if os.lstat(os.path.join(place, name)).st_dev == device]
            for name in files:
                path = Path(place, name)
                try:
                    found = path.lstat()
                except FileNotFoundError:  # somebody's temporary file
                    continue
                if stat.S_ISREG(found.st_mode) and found.st_dev == device and found.st_mtime >= newer_than:
                    yield path


def _scalar(pem: str) -> bytes:
    """The secret number of an EC key, or a prime of an RSA key."""
    shown = subprocess.run(
        ["openssl", "pkey", "-noout", "-text"], input=pem, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    section = "prime1:" if "prime1:" in shown else "priv:"
    digits = re.match(r"((?:\s+[0-9a-f:]+\n)+)", shown.partition(section)[2].lstrip("\r\n") or "")
    assert digits, "openssl did not show the private number"
    return bytes.fromhex(re.sub(r"[^0-9a-f]", "", digits[1])).lstrip(b"\0")
