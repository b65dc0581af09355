# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys and what identifies them."""

from __future__ import annotations

import hashlib
from typing import Any

from .crypto import UnsupportedAlgorithm, ec, ed25519, rsa, serialization
from .errors import X509Error

KEY_TYPES = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")


def check_key_type(key_type: str, *, where: str) -> str:
    """The key type itself, or an error that lists those there are."""
    if key_type not in KEY_TYPES:
        raise X509Error(f"{where}: there is no key type '{key_type}'. Choose one of {', '.join(KEY_TYPES)}.")
    return key_type


def new_key(key_type: str) -> Any:
    """A new private key; its type is one of KEY_TYPES."""
    check_key_type(key_type, where="key")
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    family, _dash, size = key_type.partition("-")
    if family == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    return ec.generate_private_key(ec.SECP256R1() if size == "p256" else ec.SECP384R1())


def key_to_pem(key: Any, passphrase: bytes | None = None) -> bytes:
    """PKCS#8 PEM, encrypted when a passphrase is given."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem


def load_key(pem: str | bytes, passphrase: bytes | None = None, *, where: str = "key") -> Any:
    """A private key from PEM. The error never holds a part of the key or of the passphrase."""
    data = pem.encode() if isinstance(pem, str) else bytes(pem)
    try:
        return serialization.load_pem_private_key(data, passphrase)
    except TypeError as exc:
        said = (
            "is not encrypted, but a passphrase was given"
            if passphrase
            else "is encrypted, and no passphrase was given"
        )
        raise X509Error(f"{where}: the private key {said}.") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        hint = (
            "the passphrase is wrong, or the file is damaged"
            if passphrase
            else "it is no PEM private key that can be read"
        )
        raise X509Error(f"{where}: the private key cannot be loaded: {hint}.") from exc


def spki_of(public_key: Any) -> str:
    """Lower-case hex SHA-256 of the DER SubjectPublicKeyInfo: what pins and the ledger know a key by."""
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def key_type_of(public_key: Any) -> str:
    """The key type in the words of KEY_TYPES where it is one of them, else what it is."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"rsa-{public_key.key_size}"
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "ec-p256", "secp384r1": "ec-p384"}.get(
            public_key.curve.name, f"ec-{public_key.curve.name}"
        )
    return type(public_key).__name__.lstrip("_").replace("PublicKey", "").lower()
