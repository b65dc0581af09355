# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on this host now for one wanted certificate. Only looks, never changes; nothing here can prompt or hang."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import access, openssl, pem
from .endpoint import Endpoint
from .errors import HostError
from .generations import Generations, id_of
from .service import Service
from .watchdog import Settings, Watchdog
from .where import Where


def look_at(wanted: Mapping[str, Any], anchors: str | None) -> dict[str, Any]:
    """Read what there is of one certificate (see argument_spec.py) as the raw values that the controller judges.

    Answers id, blocked, certificate, certificate_error, chain, key_spki, key_type, key_error, deviations, staged,
    served, unfinished, unconfirmed and went_back. Certificates are PEM; of keys only the hash of the public half is told.
    """
    store = Generations.of(wanted)
    where, name = store.where, id_of(wanted)
    found: dict[str, Any] = {"id": name, "blocked": _blocked(wanted, store), "unfinished": False, "staged": None}
    found.update(unconfirmed=False, went_back=None)
    found.update(_certificate(where))
    found.update(_key(where))
    found["deviations"] = []
    if found["blocked"] is None:
        found["deviations"] = [*store.unlinked(), *access.deviations(where)]
        found["unfinished"] = store.is_unfinished()
        found["unconfirmed"] = store.kept() is not None
        found["went_back"] = store.went_back()
        found["staged"] = _staged(store, found["key_spki"])
    prove = wanted.get("prove")
    found["served"] = Endpoint.from_dict(prove, where=name).look(anchors).as_dict() if prove else None
    return found


def _blocked(wanted: Mapping[str, Any], store: Generations) -> str | None:
    """Why a deploy could not work on this host."""
    if not openssl.is_installed():
        return "there is no openssl command on this host. Install the package openssl."
    obstacle = access.obstacle(store.where) or store.obstacle()
    if obstacle:
        return obstacle
    service = Service.of(wanted)
    obstacle = service.method.check()
    if obstacle:
        return obstacle
    settings = Settings.from_dict(wanted.get("watchdog"), longest=service.longest(), where=id_of(wanted))
    return None if settings.method == "none" else Watchdog(store.root).obstacle()


def _certificate(where: Where) -> dict[str, Any]:
    """The leaf, and what stands behind it or in a file of its own."""
    found: dict[str, Any] = {"certificate": None, "certificate_error": None, "chain": None}
    try:
        text = _text(where.certificate)
        chain = _text(where.chain) if where.chain else None
    except HostError as exc:
        return {**found, "certificate_error": str(exc)}
    if text is None:
        return found
    blocks = pem.certificates(text)
    if not blocks:
        return {**found, "certificate_error": f"{where.certificate} holds no certificate in PEM."}
    return {**found, "certificate": blocks[0], "chain": "".join(blocks[1:]) + pem.joined(chain)}


def _key(where: Where) -> dict[str, Any]:
    if not os.path.lexists(where.key) or not os.path.exists(where.key):
        return {"key_spki": None, "key_type": None, "key_error": None}
    try:
        public = openssl.public_key_of_key(where.key)
    except HostError as exc:
        return {"key_spki": None, "key_type": None, "key_error": str(exc)}
    return {"key_spki": public.spki, "key_type": public.key_type, "key_error": None}


def _staged(store: Generations, key_in_use: str | None) -> dict[str, Any] | None:
    """What an earlier run left ready; a leftover of the pair in use does not count."""
    if not os.path.exists(store.staged_path("key")):
        return None
    try:
        spki = openssl.public_key_of_key(store.staged_path("key")).spki
        blocks = pem.certificates(_text(store.staged_path("certificate")) or "")
    except HostError:
        return None  # it is made anew when one is needed
    return None if spki == key_in_use else {"spki": spki, "certificate": blocks[0] if blocks else None}


def _text(path: str) -> str | None:
    """A file's text, or None where there is none (a link that leads nowhere included)."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("ascii", "replace")
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise HostError(f"{path} cannot be read: {exc.strerror}.") from exc
