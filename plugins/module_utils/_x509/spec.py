# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user wants of one certificate, checked and normalised at the edge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .duration import parse_duration
from .errors import X509Error
from .keys import check_key_type
from .names import is_dn_text, parse_names, parse_shared_names
from .profiles import BUILT_IN, check_profile

_FIELDS = {
    "name",
    "identity",
    "authority",
    "profile",
    "common_name",
    "subject_alt_names",
    "shared_names",
    "lifetime",
    "renew_before",
    "key",
    "where",
    "reload",
    "prove",
    "watchdog",
    "api",
    "on_failure",
    "pair",
}
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
# Identities are inventory names: they may be addresses as well.
_IDENTITY = re.compile(r"[^/\s\x00-\x1f\x7f]{1,253}\Z")
DEFAULT_LIFETIME = 90 * 86400


@dataclass(frozen=True)
class CertificateSpec:
    """One wanted certificate; spans in seconds. C(where) (files of a host) and C(api) (a device) exclude each other.

    C(shared_names): those of its names (C(CN:…) for the common name) that others may hold as well.
    """

    identity: str
    name: str
    authority: str
    profile: str
    common_name: str | None
    names: tuple[str, ...]
    lifetime: int
    renew_before: int | None
    key_type: str
    where: Mapping[str, Any] | None
    reload: Mapping[str, Any] | None
    prove: Mapping[str, Any] | None
    watchdog: Mapping[str, Any] | None
    api: Mapping[str, Any] | None
    on_failure: str
    pair: Mapping[str, Any] | None
    shared_names: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """How the ledger and all results name this certificate: C(<identity>/<name>)."""
        return f"{self.identity}/{self.name}"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, identity: str, where: str) -> CertificateSpec:
        """Check a user's description; O(where) names host and item in errors. Raises X509Error."""
        if not isinstance(data, Mapping):
            raise X509Error(f"{where}: a certificate is described by a dictionary, this is a {type(data).__name__}.")
        _known_fields(data, where=where)
        name = _plain(data.get("name"), "name", where=where)
        where = f"{where}, certificate '{name}'"
        identity = str(data.get("identity") or identity)
        if not _IDENTITY.match(identity):
            raise X509Error(
                f"{where}: the identity '{identity}' holds a slash, white space or control characters. Set tls_identity."
            )
        if (data.get("where") is None) == (data.get("api") is None):
            raise X509Error(f"{where}: give either 'where' (files of a host) or 'api' (a device's REST interface).")
        names = parse_names(data.get("subject_alt_names") or (), where=where)
        profile = check_profile(str(data.get("profile") or "server"), where=where)
        common_name = _common_name(data.get("common_name"), where=where)
        if not data.get("pair"):
            _check_named(names, common_name, profile=profile, where=where)
        lifetime = parse_duration(data.get("lifetime") or DEFAULT_LIFETIME, where=f"{where}, lifetime")
        return cls(
            identity=identity,
            name=name,
            authority=_plain(data.get("authority") or "fleet", "authority", where=where),
            profile=profile,
            common_name=common_name,
            names=names,
            lifetime=lifetime,
            renew_before=_renew_before(data.get("renew_before"), lifetime=lifetime, where=where),
            key_type=_key_type(data, where=where),
            where=data.get("where"),
            reload=data.get("reload"),
            prove=data.get("prove"),
            watchdog=data.get("watchdog"),
            api=data.get("api"),
            on_failure=_one_of(data.get("on_failure") or "keep", ("keep", "remove"), "on_failure", where=where),
            pair=data.get("pair"),
            shared_names=_shared_names(data.get("shared_names"), names, common_name, where=where),
        )


def _known_fields(data: Mapping[str, Any], *, where: str) -> None:
    unknown = sorted(set(map(str, data)) - _FIELDS)
    if unknown:
        raise X509Error(f"{where}: no such field: {', '.join(unknown)}. There are {', '.join(sorted(_FIELDS))}.")


def _plain(value: Any, field: str, *, where: str) -> str:
    text = str(value or "")
    if not _PLAIN.match(text):
        raise X509Error(
            f"{where}: {field} '{text}' is empty or has other characters than letters, digits, dot, dash, underscore."
        )
    return text


def _common_name(value: Any, *, where: str) -> str | None:
    if not value:
        return None
    text = str(value)
    if not is_dn_text(text):
        raise X509Error(
            f"{where}: the common_name is longer than 64 bytes or has a comma, quote or control character. Shorten it."
        )
    return text


def _check_named(names: tuple[str, ...], common_name: str | None, *, profile: str, where: str) -> None:
    """Clients connect to names of a server. Whether a profile of the house's own is a server's, only its authority knows."""
    is_for_servers = profile in BUILT_IN and "serverAuth" in BUILT_IN[profile].usages
    if not names and is_for_servers:
        raise X509Error(f"{where}: a server needs subject_alt_names, the names and addresses that clients connect to.")
    if not names and not common_name:
        raise X509Error(f"{where}: there is no name to certify. Give subject_alt_names, or a client's common_name.")


def _shared_names(value: Any, names: tuple[str, ...], common_name: str | None, *, where: str) -> tuple[str, ...]:
    if not value:
        return ()
    shared = set(parse_shared_names(value, where=f"{where}, shared_names"))
    has = (*names, *([f"CN:{common_name}"] if common_name else []))
    strange = sorted(shared - set(has))
    if strange:
        raise X509Error(
            f"{where}: shared_names has {', '.join(strange)}, which the certificate does not have. There are {', '.join(has)}."
        )
    return tuple(name for name in has if name in shared)


def _key_type(data: Mapping[str, Any], *, where: str) -> str:
    key = data.get("key") or {}
    if not isinstance(key, Mapping) or set(key) - {"type"}:
        raise X509Error(f"{where}: write the key as key: {{type: ec-p256}}.")
    return check_key_type(str(key.get("type") or ("rsa-2048" if data.get("api") else "ec-p256")), where=where)


def _renew_before(value: Any, *, lifetime: int, where: str) -> int | None:
    if not value:
        return None
    seconds = parse_duration(value, where=f"{where}, renew_before")
    if seconds >= lifetime:
        raise X509Error(
            f"{where}: renew_before ({value}) is not shorter than the lifetime: every run would issue anew. Shorten it."
        )
    return seconds


def _one_of(value: Any, choices: tuple[str, ...], field: str, *, where: str) -> str:
    if value not in choices:
        raise X509Error(f"{where}: {field} is '{value}'. Choose one of {', '.join(choices)}.")
    return str(value)
