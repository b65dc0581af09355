# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a device is, and whether it is the one that it should be."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._probe.connection import Detour, Way, endpoint_text, patience, way_to
from .._probe.errors import ProbeError
from .._probe.tls import Seen, look
from .._x509.errors import X509Error
from .._x509.judge import Known, Served
from .._x509.parse import Leaf, parse_certificate
from .errors import DeviceError


@dataclass(frozen=True)
class Target:
    """A device's HTTPS endpoint. C(verify_hostname) is another name that its present certificate may carry; C(proxy) is what
    leads there, if it cannot be reached directly."""

    address: str
    port: int
    server_name: str
    verify_hostname: str = ""
    proxy: Detour | None = None

    @property
    def text(self) -> str:
        """C(198.18.0.1:443)."""
        return endpoint_text(self.address, self.port)


@dataclass(frozen=True)
class Met:
    """A device as it was met. Only one that is C(recognised) may be sent a login or a key; C(suspicion) says why
    somebody else may have its key."""

    seen: Seen
    leaf: Leaf | None
    recognised: bool
    suspicion: str | None = None

    @property
    def served(self) -> Served:
        """For the judge."""
        return Served(self.leaf, self.seen.trusted, self.seen.said)


@dataclass(frozen=True)
class Acquaintance:
    """What a device is recognised by: a certificate that anchors vouch for, a pin, or a leaf known as its own.

    C(leaves) are fingerprints that count besides those of the ledger: the pair that is just being brought there.
    """

    known: Known
    anchors: str | None
    pins: frozenset[str] = frozenset()
    leaves: frozenset[str] = field(default_factory=frozenset)

    def meet(self, target: Target) -> Met:
        """Look at the device; nothing is sent. Raises DeviceError when that cannot even be tried."""
        seen = self._look(target)
        if seen.leaf is None:
            return Met(seen, None, False)
        try:
            leaf = parse_certificate(seen.leaf, where=target.text)
        except X509Error:
            # Trust is OpenSSL's verdict, but what cannot be read cannot be compared with anything either.
            return Met(seen, None, False)
        return Met(seen, leaf, self.recognises(seen, leaf), self.known.suspicion(leaf))

    def recognises(self, seen: Seen, leaf: Leaf) -> bool:
        """Whether this peer may be spoken to."""
        if self.known.suspects(leaf):
            return False
        if seen.trusted or leaf.spki in self.pins or leaf.fingerprint in self.leaves:
            return True
        return self.known.available and self.known.recognises(Served(leaf, seen.trusted, seen.said))

    def _look(self, target: Target) -> Seen:
        try:
            with way_to(target.proxy) as via:
                seen = _see(target, target.server_name, self.anchors, via)
                if seen.failure == "name" and target.verify_hostname not in ("", target.server_name):
                    other = _see(target, target.verify_hostname, self.anchors, via)
                    return other if other.trusted else seen
        except ProbeError as exc:
            raise DeviceError(f"{target.text}: {exc}") from exc
        return seen


def _see(target: Target, name: str, anchors: str | None, via: Way | None) -> Seen:
    return look(target.address, target.port, server_name=name, anchors=anchors, timeout=patience(via), via=via)


def stranger_text(met: Met, *, identity: str) -> str:
    """Why nothing was sent, with the next step."""
    if met.suspicion:
        return met.suspicion
    key = met.leaf.spki if met.leaf else "that could not be read"
    return (
        f"the peer is not known: {met.seen.said} It serves the key {key}, which is not pinned for '{identity}'. "
        "Nothing was sent. If the device is yours and new, or has its own certificate back, compare this fingerprint on "
        "site and pin it with playbooks/enrol.yml."
    )
