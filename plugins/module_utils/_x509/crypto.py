# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where C(cryptography) is imported, so that a host without it gets a clear error instead of a traceback.

Oldest supported version: 38 (the CA host uses its distribution's package).
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

CRYPTOGRAPHY_ERROR: str | None = None

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.ciphers import aead

    HAS_CRYPTOGRAPHY = True
else:
    try:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
        from cryptography.hazmat.primitives.ciphers import aead

        HAS_CRYPTOGRAPHY = True
    except ImportError:
        CRYPTOGRAPHY_ERROR = traceback.format_exc()
        HAS_CRYPTOGRAPHY = False
        x509 = hashes = serialization = ec = ed25519 = padding = rsa = aead = None
        InvalidSignature = InvalidTag = UnsupportedAlgorithm = ValueError

__all__ = [
    "CRYPTOGRAPHY_ERROR",
    "HAS_CRYPTOGRAPHY",
    "InvalidSignature",
    "InvalidTag",
    "UnsupportedAlgorithm",
    "aead",
    "ec",
    "ed25519",
    "hashes",
    "padding",
    "rsa",
    "serialization",
    "x509",
]
