# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets between the tasks of one run, sealed under a key that only this run knows.

The parent process imports an action plugin, and this file with it, before it forks the workers: they inherit the key.
It is never written anywhere; a sealed text in a log or a result is worth nothing after the run.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import HAS_CRYPTOGRAPHY, InvalidTag, aead

_KEY = os.urandom(32)


class SealError(Exception):
    """A sealed text that this run did not make, or that belongs to another certificate."""


def seal(payload: dict[str, Any], *, context: str) -> str:
    """Encrypt a small dictionary; O(context) (the certificate's id) must be the same when it is opened."""
    _require()
    nonce = os.urandom(12)
    sealed = aead.AESGCM(_KEY).encrypt(nonce, json.dumps(payload).encode(), context.encode())
    return base64.b64encode(nonce + sealed).decode()


def open_sealed(token: str, *, context: str) -> dict[str, Any]:
    """What seal() was given. Raises SealError with the next step."""
    _require()
    try:
        raw = base64.b64decode(str(token), validate=True)
        payload: dict[str, Any] = json.loads(aead.AESGCM(_KEY).decrypt(raw[:12], raw[12:], context.encode()))
    except (InvalidTag, ValueError) as exc:
        raise SealError(
            f"{context}: the sealed key was not made by this run. Request and deploy belong into one ansible-playbook run; "
            "a result kept from an earlier one cannot be deployed."
        ) from exc
    return payload


def _require() -> None:
    if not HAS_CRYPTOGRAPHY:
        raise SealError(
            "The Python library cryptography is missing on the controller. Install it where ansible-playbook runs."
        )
