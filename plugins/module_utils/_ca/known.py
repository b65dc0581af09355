# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine reads from the CA before it judges. Needs the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from .._x509.profiles import BUILT_IN
from .acts import decommissioned
from .errors import CAError
from .failures import Failure, OpenFailure
from .ledger import Entry, Ledger
from .store import Store

# For how many seconds a failure counts that was not put right.
FAILURE_WINDOW = 7 * 86400
# What is wrong with the files of one authority keeps nobody from using the others.
_OF_ONE_AUTHORITY = ("half_ca", "foreign_ca", "files")


def read_info(
    store: Store, identities: Iterable[str], *, now: int, failure_window: int = FAILURE_WINDOW
) -> dict[str, Any]:
    """All authorities, and why others there cannot be used; pins, leaves, failures and an end of those identities that the ledger
    knows anything of; and whatever failed within O(failure_window). Takes no lock."""
    store.require()
    wanted = list(dict.fromkeys(str(identity) for identity in identities))
    authorities, problems = {}, {}
    with Ledger.read(store.ledger) as ledger:
        for name in store.names():
            try:
                authorities[name] = _authority(store, ledger, name)
            except CAError as exc:
                if exc.code not in _OF_ONE_AUTHORITY:
                    raise
                problems[name] = str(exc)
        out = decommissioned(ledger, wanted)
        pins, leaves, failures = ledger.pins_of(wanted), ledger.leaves_of(wanted, now=now), ledger.failures_of(wanted)
        lately = ledger.open_failures(since=now - failure_window)
    known: dict[str, dict[str, Any]] = {
        identity: {"pins": pins.get(identity, []), "leaves": [_leaf(entry) for entry in leaves.get(identity, [])]}
        for identity in wanted
        if identity in pins or identity in leaves or identity in failures or identity in out
    }
    for identity in out:
        known[identity]["decommissioned"] = True
    for identity, found in failures.items():
        known[identity]["failures"] = {failure.name: _failure(failure) for failure in found}
    return {
        "authorities": authorities,
        "problems": problems,
        "identities": known,
        "open_failures": [_open_failure(failure) for failure in lately],
        "time": now,
    }


def _authority(store: Store, ledger: Ledger, name: str) -> dict[str, Any]:
    """The public half of one authority."""
    published = store.read(name)
    check_known(ledger, name, published.fingerprints.values())
    return {"anchors": published.anchors, "chain": published.chain, "profiles": _profiles(store, name)}


def _profiles(store: Store, authority: str) -> dict[str, list[str]]:
    """The usages of each profile of an authority."""
    text = store.read_optional(authority, "policy.json")
    if text is None:
        return {name: list(profile.usages) for name, profile in BUILT_IN.items()}
    try:
        told = json.loads(text)
        return {name: list(told["profiles"][name]["usages"]) for name in told["profiles_allowed"]}
    except (ValueError, LookupError, TypeError, AttributeError):
        # Not as it is written by us. Whoever reads all of it needs cryptography, and so long that no run should wait for it.
        from .policy import read_policy

        return {name: list(profile.usages) for name, profile in read_policy(store, authority).profiles.items()}


def check_known(ledger: Ledger, authority: str, fingerprints: Iterable[str]) -> None:
    """Raise CAError when an authority's own certificates are not those that the ledger knows, and knows as this authority's."""
    for fingerprint in fingerprints:
        entry = ledger.find_fingerprint(fingerprint)
        if entry is None:
            raise CAError(
                f"Foreign CA: the ledger does not know the certificates of authority '{authority}'. Its folder and the ledger do not "
                "come from the same CA (or not from the same backup). Nothing was changed. Restore both together.",
                code="foreign_ca",
            )
        if entry.authority != authority:
            raise CAError(
                f"Foreign CA: what lies in the folder of authority '{authority}' are the certificates of authority "
                f"'{entry.authority}'. Nothing was changed. If the folder is a copy, move it out of the CA's directory; if it has been "
                "overwritten, restore it from your backup.",
                code="foreign_ca",
            )


def _leaf(entry: Entry) -> dict[str, Any]:
    return {
        "fingerprint": entry.fingerprint,
        "serial": entry.serial,
        "spki": entry.spki,
        "authority": entry.authority,
        "name": entry.name,
        "state": entry.state,
        "not_after": _iso(entry.not_after),
        **({"installed": True} if entry.installed_at is not None else {}),
        **({"revocation_reason": entry.revocation_reason} if entry.state == "revoked" else {}),
        **({"gone": True} if entry.gone_at is not None else {}),
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "count": failure.count,
        "first_at": _iso(failure.first_at),
        "last_at": _iso(failure.last_at),
        "outcome": failure.outcome,
        "said": failure.said,
    }


def _open_failure(failure: OpenFailure) -> dict[str, Any]:
    return {
        "identity": failure.identity,
        "name": failure.name,
        "count": failure.count,
        "last_at": _iso(failure.last_at),
    }


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
