# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an authority signs: its profiles and the names it may certify, and how long its CRLs last.

C(policy.json) in the authority's folder; without it the built-in profiles and no limits. Needs the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._x509.constraints import Constraints
from .._x509.duration import parse_duration
from .._x509.errors import X509Error
from .._x509.profiles import BUILT_IN, Profile, choose_profile
from .errors import CAError
from .store import Store

POLICY_FILE = "policy.json"
CRL_LIFETIME = 30 * 86400
# What a leaf's life is reckoned with where nothing says how long it is.
USUAL_LIFETIME = 90 * 86400


@dataclass(frozen=True)
class Policy:
    """Of one authority. C(domains) and C(networks) are those that it is to be limited to; C(crl_lifetime) in seconds."""

    profiles: Mapping[str, Profile] = field(default_factory=lambda: dict(BUILT_IN))
    domains: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    crl_lifetime: int = CRL_LIFETIME

    @classmethod
    def from_options(cls, options: Mapping[str, Any], *, where: str) -> Policy:
        """Check and normalise a module's options. Raises X509Error."""
        limits = Constraints.parse(options.get("domains") or (), options.get("networks") or (), where=where)
        return cls(
            profiles=_profiles(options.get("profiles") or {}, options.get("profiles_allowed") or (), where=where),
            domains=limits.domains,
            networks=limits.networks,
            crl_lifetime=parse_duration(options.get("crl_lifetime") or CRL_LIFETIME, where=f"{where}, crl_lifetime"),
        )

    @property
    def constraints(self) -> Constraints:
        """The limits that its issuing CA is to have; false when there are none."""
        return Constraints(self.domains, self.networks)

    @property
    def longest_life(self) -> int:
        """Seconds that the longest leaf lives, as far as the policy knows."""
        return max([USUAL_LIFETIME, *(profile.max_lifetime or 0 for profile in self.profiles.values())])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the file and the diff."""
        return {
            "profiles": {name: profile.to_dict() for name, profile in sorted(self.profiles.items())},
            "domains": list(self.domains),
            "networks": list(self.networks),
            "crl_lifetime": self.crl_lifetime,
        }

    def to_json(self) -> bytes:
        """The file."""
        whole = {**self.to_dict(), "profiles_allowed": sorted(self.profiles)}
        return json.dumps(whole, indent=2, sort_keys=True).encode() + b"\n"


def read_policy(store: Store, authority: str) -> Policy:
    """The policy of an authority that exists. Raises CAError for a file that cannot be understood."""
    path = store.path(authority, POLICY_FILE)
    text = store.read_optional(authority, POLICY_FILE)
    if text is None:
        return Policy()
    try:
        return Policy.from_options(json.loads(text), where=path)
    except (ValueError, AttributeError, TypeError, X509Error) as exc:
        raise CAError(
            f"Half a CA: {path} cannot be understood ({exc}). Nothing was changed. Remove it and run playbooks/ca.yml, which "
            "writes it anew from tls_ca_authorities, or restore it from your backup.",
            code="half_ca",
        ) from exc


def policy_files(policy: Policy) -> dict[str, bytes]:
    """The file of a new authority; none where it would say nothing."""
    return {} if policy == Policy() else {POLICY_FILE: policy.to_json()}


def _profiles(given: Mapping[str, Any], allowed: Iterable[str], *, where: str) -> dict[str, Profile]:
    if not isinstance(given, Mapping):
        raise X509Error(f"{where}, profiles: write them as a dictionary, by name.")
    own = {str(name): Profile.parse(str(name), options, where=where) for name, options in given.items()}
    profiles = {**BUILT_IN, **own}
    # What it allows limits the built-in ones: nobody describes a profile that must not be used.
    chosen = [choose_profile(str(name), profiles, where=f"{where}, profiles_allowed") for name in allowed]
    return {**{profile.name: profile for profile in chosen}, **own} if chosen else profiles
