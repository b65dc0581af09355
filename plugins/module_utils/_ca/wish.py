# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of an authority, and what a look at it finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._x509.duration import parse_duration
from .._x509.keys import check_key_type
from .._x509.names import is_dn_text
from .._x509.parse import Leaf
from .errors import CAError
from .local import Chain
from .policy import Policy

PARTS = ("root", "issuing")
# A run a day signs a CRL after a third of its life. Servers refuse everybody once it has ended.
_SHORTEST_CRL = 2 * 86400
_SHORT_CRL = 7 * 86400


@dataclass(frozen=True)
class Certificate:
    """The root or the issuing CA that is wanted; the lifetime in seconds."""

    common_name: str
    lifetime: int
    key_type: str


@dataclass(frozen=True)
class Wish:
    """The authority that is wanted.

    C(is_root_here): the root's key is kept on this host. Where it is not, C(signed) is PEM text of what was signed elsewhere for
    the authority's CSR, empty until there is something, and C(anchor) the PEM of the root that is expected above it, or
    C(fingerprint) the SHA-256 of that (hex, lower case).
    """

    name: str
    organization: str | None
    root: Certificate
    issuing: Certificate
    policy: Policy = field(default_factory=Policy)
    is_root_here: bool = True
    signed: str = ""
    anchor: str = ""
    fingerprint: str = ""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Wish:
        """Check and normalise a module's options. Raises CAError or X509Error."""
        name, organization = str(options["name"]), str(options.get("organization") or "") or None
        where = f"authority '{name}'"
        if organization:
            _check_text(organization, where=f"{where}, organization")
        parts = {part: _certificate(options.get(part) or {}, authority=name, part=part) for part in PARTS}
        root = options.get("root") or {}
        is_root_here = (root.get("location") or "here") == "here"
        fingerprint = _fingerprint(root.get("fingerprint"), where=f"{where}, root, fingerprint")
        signed, anchor = str(options.get("chain") or "").strip(), str(options.get("root_certificate") or "").strip()
        if is_root_here and (signed or anchor or fingerprint):
            raise CAError(
                f"{where}: a chain that was signed elsewhere is only for an authority whose root is elsewhere. Nothing was "
                "changed. Say root: {location: elsewhere}, or leave out chain, root_certificate and the root's fingerprint.",
                code="bad_request",
            )
        policy = Policy.from_options(options, where=where)
        if policy.crl_lifetime < _SHORTEST_CRL:
            raise CAError(
                f"{where}, crl_lifetime: CRLs of less than 2 days. A daily run would come too late, and servers refuse everybody once a "
                "CRL has ended. Nothing was changed. Say at least 7d; 30d is usual.",
                code="bad_request",
            )
        return cls(
            name, organization, parts["root"], parts["issuing"], policy, is_root_here, signed, anchor, fingerprint
        )

    @property
    def remarks(self) -> list[str]:
        """What is allowed and hardly meant."""
        if self.policy.crl_lifetime >= _SHORT_CRL:
            return []
        days = self.policy.crl_lifetime / 86400
        said = (
            f"authority '{self.name}': its CRLs last only {days:.1f} days (crl_lifetime). When the daily run fails for {days * 2 / 3:.1f} "
            "days, servers that check them refuse everybody. Say at least 7d; 30d is usual."
        )
        return [said]

    def describe(self) -> dict[str, Any]:
        """For the diff: what can be told before there are keys."""
        limits = self.policy.constraints
        return {
            **{
                part: self._describe(certificate)
                for part, certificate in zip(PARTS, (self.root, self.issuing))
                if part == "issuing" or self.is_root_here
            },
            **({"domains": list(limits.domains), "networks": list(limits.networks)} if limits else {}),
        }

    def _describe(self, certificate: Certificate) -> dict[str, Any]:
        return {
            "common_name": certificate.common_name,
            **({"organization": self.organization} if self.organization else {}),
            "key": certificate.key_type,
            "lifetime": f"{certificate.lifetime // 86400} days",
        }


@dataclass
class Found:
    """What is there of an authority: nothing (C(chain) is None), or a whole one; what is due, the diff of that, and how it is done.

    C(request): PEM of the CSR that waits at C(request_path) to be signed elsewhere.
    """

    chain: Chain | None = None
    due: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    request: str | None = None
    request_path: str = ""
    acts: list[Callable[[], None]] = field(default_factory=list, compare=False)

    @property
    def leaves(self) -> tuple[Leaf, Leaf] | None:
        """(root, issuing), where there are any."""
        return (self.chain.root, self.chain.issuing) if self.chain else None

    def needs(self, sentence: str, *, what: str, before: Any, after: Any, act: Callable[[], None]) -> None:
        """Add something that is due."""
        self.due.append(sentence)
        self.before[what], self.after[what] = before, after
        self.acts.append(act)


def _certificate(options: Mapping[str, Any], *, authority: str, part: str) -> Certificate:
    where = f"authority '{authority}', {part}"
    common_name = str(options.get("common_name") or f"{authority} {part} CA")
    lifetime = parse_duration(options["lifetime"], where=f"{where}, lifetime")
    return Certificate(
        common_name=_check_text(common_name, where=f"{where}, common_name"),
        lifetime=lifetime,
        key_type=check_key_type(str(options["key_type"]), where=where),
    )


def _fingerprint(given: Any, *, where: str) -> str:
    """As fingerprints are compared: without colons, in lower case."""
    text = str(given or "").replace(":", "").strip().lower()
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise CAError(
            f"{where}: '{given}' is no SHA-256 of a certificate, which has 64 hexadecimal digits. Nothing was changed. Read it with "
            "openssl x509 -in root.pem -noout -fingerprint -sha256.",
            code="bad_request",
        )
    return text


def _check_text(text: str, *, where: str) -> str:
    if not is_dn_text(text):
        raise CAError(
            f"{where}: '{text}' is longer than 64, has white space around it, or a comma, quote, sign of a distinguished name or "
            "control character. Nothing was changed. Shorten or simplify it.",
            code="bad_request",
        )
    return text
