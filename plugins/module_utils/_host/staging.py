# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A key that waits for its certificate: born on this host, seen by root alone, never in the service's way."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from . import durable, openssl
from .errors import HostError
from .generations import Generations, id_of
from .openssl import PublicKey

DEFAULT_KEY = "ec-p256"


def stage(wanted: Mapping[str, Any], *, avoid: Collection[str] = ()) -> dict[str, Any]:
    """Make ready a key of the wanted type and a request for it; one that an earlier run staged is used again.

    O(wanted): a certificate as argument_spec.py describes it. O(avoid): SPKIs of keys that somebody else may have, which are not
    used again. Answers id, spki and csr (PEM).
    """
    store = Generations.of(wanted)
    try:
        with store.holding():
            store.make_staged()
            public = _key(store, str((wanted.get("key") or {}).get("type") or DEFAULT_KEY), avoid)
            # It belongs to an earlier request, which did not fit any more: else nothing would be requested now.
            durable.remove(store.staged_path("certificate"))
            csr = openssl.new_request(
                store.staged_path("key"),
                common_name=wanted.get("common_name"),
                names=list(wanted.get("subject_alt_names") or ()),
            )
    except OSError as exc:
        raise HostError(
            f"A key could not be staged in {store.root}: {exc.strerror}. The service's files were not touched."
        ) from exc
    return {"id": id_of(wanted), "spki": public.spki, "csr": csr}


def _key(store: Generations, key_type: str, avoid: Collection[str]) -> PublicKey:
    path = store.staged_path("key")
    staged = _readable(path)
    is_fit = staged is not None and staged.key_type == key_type and staged.spki not in avoid
    if staged is not None and is_fit and staged != _readable(store.where.key):
        return staged
    return openssl.new_key(path, key_type)


def _readable(path: str) -> PublicKey | None:
    """The key's public half; None for no key, and for a damaged one, which a new one takes the place of."""
    try:
        return openssl.public_key_of_key(path) if os.path.exists(path) else None
    except HostError:
        return None
