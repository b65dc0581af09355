# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles: what a leaf may be used for, and which addresses it carries. A CSR's own wishes are ignored.

Needs the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .duration import parse_duration
from .errors import X509Error

USAGES = ("clientAuth", "serverAuth")
URL_FIELDS = ("crl_urls", "issuer_urls", "ocsp_urls")
_FIELDS = ("usages", *URL_FIELDS, "max_lifetime")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
# The ledger calls an authority's own certificates by these.
_TAKEN = ("root", "issuing")
_URL = re.compile(r"http://[A-Za-z0-9.:\[\]-]+(?:/[!-~]*)?\Z")


@dataclass(frozen=True)
class Profile:
    """What makes one kind of leaf. C(usages) are in order; C(max_lifetime) in seconds."""

    name: str
    usages: tuple[str, ...]
    crl_urls: tuple[str, ...] = ()
    issuer_urls: tuple[str, ...] = ()
    ocsp_urls: tuple[str, ...] = ()
    max_lifetime: int | None = None

    @property
    def is_for_clients(self) -> bool:
        """Whether servers know the holder by it: its common name counts as a name then."""
        return "clientAuth" in self.usages

    @classmethod
    def parse(cls, name: str, options: Mapping[str, Any], *, where: str) -> Profile:
        """Check and normalise a user's description. Raises X509Error."""
        where = f"{where}, profile '{check_profile(name, where=where)}'"
        if not isinstance(options, Mapping):
            raise X509Error(f"{where}: a profile is described by a dictionary, this is a {type(options).__name__}.")
        unknown = sorted(set(map(str, options)) - set(_FIELDS))
        if unknown:
            raise X509Error(f"{where}: no such field: {', '.join(unknown)}. There are {', '.join(_FIELDS)}.")
        longest = options.get("max_lifetime")
        return cls(
            name=name,
            usages=_usages(options.get("usages"), where=where),
            crl_urls=_urls(options.get("crl_urls"), where=f"{where}, crl_urls"),
            issuer_urls=_urls(options.get("issuer_urls"), where=f"{where}, issuer_urls"),
            ocsp_urls=_urls(options.get("ocsp_urls"), where=f"{where}, ocsp_urls"),
            max_lifetime=parse_duration(longest, where=f"{where}, max_lifetime") if longest else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """The description again, without what is not set; the name is not a part of it."""
        urls = {field: list(getattr(self, field)) for field in URL_FIELDS if getattr(self, field)}
        longest = {"max_lifetime": self.max_lifetime} if self.max_lifetime else {}
        return {"usages": list(self.usages), **urls, **longest}


# What every authority has unless it allows less. `server` carries serverAuth alone: a server's leaf is no client anywhere.
BUILT_IN: Mapping[str, Profile] = {
    "server": Profile("server", ("serverAuth",)),
    "client": Profile("client", ("clientAuth",)),
    "server_client": Profile("server_client", ("clientAuth", "serverAuth")),
}


def check_profile(name: str, *, where: str) -> str:
    """The name itself, if it can be a profile's. Whether there is such a profile is for its authority to say."""
    if not _NAME.match(name) or name in _TAKEN:
        raise X509Error(
            f"{where}: '{name}' is no name of a profile: letters, digits, dot, dash and underscore, 64 at most, a letter or "
            f"digit first, and not {' or '.join(_TAKEN)}."
        )
    return name


def choose_profile(name: str, profiles: Mapping[str, Profile], *, where: str) -> Profile:
    """The profile of that name, or an error that lists those there are."""
    if name not in profiles:
        raise X509Error(f"{where}: there is no profile '{name}'. Choose one of {', '.join(sorted(profiles))}.")
    return profiles[name]


def _usages(values: Any, *, where: str) -> tuple[str, ...]:
    given = _list(values, where=f"{where}, usages")
    if not given or set(given) - set(USAGES):
        raise X509Error(
            f"{where}: the usages are '{', '.join(given) or 'none'}'. Give one or both of {', '.join(USAGES)}."
        )
    return tuple(sorted(set(given)))


def _urls(values: Any, *, where: str) -> tuple[str, ...]:
    urls = _list(values, where=where)
    for url in urls:
        if not _URL.match(url):
            # RFC 5280, 8: fetching over TLS what is needed to check TLS may never end.
            raise X509Error(f"{where}: '{url}' is no http:// address. Use plain http, what is fetched there is signed.")
    return tuple(dict.fromkeys(urls))


def _list(values: Any, *, where: str) -> list[str]:
    if values is None:
        return []
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise X509Error(f"{where}: this is no list. Write [{values!s}].")
    return [str(value) for value in values]
