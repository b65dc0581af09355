# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PEM text: taking files apart and comparing certificates without parsing them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from .errors import HostError

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


def certificates(text: str) -> list[str]:
    """Every certificate of PEM text by itself, in order, each ending with a newline."""
    return [match.group(0).strip() + "\n" for match in _BLOCK.finditer(text)]


def der_of(block: str, *, where: str) -> bytes:
    """The DER of one PEM certificate. Raises HostError when the base64 is broken."""
    found = _BLOCK.search(block)
    try:
        return base64.b64decode("".join((found.group(1) if found else "").split()), validate=True)
    except (ValueError, binascii.Error) as exc:
        raise HostError(f"{where}: the PEM text is damaged ({exc}).") from exc


def fingerprint(block: str, *, where: str = "certificate") -> str:
    """Lower-case hex SHA-256 of the DER of one PEM certificate."""
    return hashlib.sha256(der_of(block, where=where)).hexdigest()


def joined(*texts: str | None) -> str:
    """PEM texts as one, each certificate on lines of its own, the last ending with a newline."""
    return "".join(block for text in texts for block in certificates(text or ""))
