# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service with a pair: the files that it reads, how it is brought to read them, and what clients get from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import pem
from .endpoint import Endpoint
from .errors import HostError
from .generations import Generations, id_of
from .reload import Method, method_of


@dataclass(frozen=True)
class Service:
    """C(endpoint) is None where nobody connects to it, C(anchors) where the authority's are not known."""

    store: Generations
    method: Method
    endpoint: Endpoint | None
    anchors: str | None

    @classmethod
    def of(
        cls, order: Mapping[str, Any], *, by: str = "", endpoint: Endpoint | None = None, where: str | None = None
    ) -> Service:
        """O(order): identity, name, where, reload, prove, anchors. Raises HostError, naming O(where), for one that makes no sense."""
        name = where or id_of(order)
        store, prove = Generations.of(order, where=where), order.get("prove")
        return cls(
            store=store,
            method=method_of(order.get("reload"), where=name, files=store.files()),
            endpoint=endpoint or (Endpoint.from_dict(prove, where=name, by=by) if prove else None),
            anchors=order.get("anchors") or None,
        )

    def longest(self) -> float:
        """The seconds that bringing in a pair may take: the reload, and the proof with its hold."""
        proof = self.endpoint.timeout + self.endpoint.hold if self.endpoint else 0
        return self.method.timeout + proof

    def leaf_now(self, anchors: str | None = None) -> str | None:
        """The leaf that is served, or (without an endpoint) on disk. With O(anchors) the look is one handshake."""
        return self.endpoint.look(anchors).leaf if self.endpoint else self.leaf_on_disk()

    def leaf_on_disk(self) -> str | None:
        """The leaf that the service's path reads."""
        return _first_leaf(self.store.where.certificate)

    def leaf_after(self) -> str | None:
        """As leaf_now(), once all is over: that it could not be looked at changes nothing any more."""
        try:
            return self.leaf_now()
        except (HostError, OSError):
            return None

    def leaf_of(self, number: int) -> str | None:
        """The leaf of a generation."""
        return _first_leaf(self.store.path(number, "certificate"))

    def chain_of(self, number: int) -> str:
        """The intermediates of a generation: behind its leaf, or in a file of their own."""
        behind = pem.certificates(text_of(self.store.path(number, "certificate")))[1:]
        return "".join(behind) + pem.joined(text_of(self.store.path(number, "chain")))

    def bring_in(self, leaf: str, *, reload: bool = True) -> tuple[dict[str, Any] | None, str | None]:
        """(the proof, what went wrong) of making the service serve this leaf."""
        try:
            if reload:
                self.method.apply()
        except (HostError, OSError) as exc:
            return None, f"the service did not take it: {exc}"
        if self.endpoint is None:
            return None, None
        try:
            proof = self.endpoint.prove(leaf=leaf, anchors=self.anchors)
        except (HostError, OSError) as exc:
            return None, f"the proof could not be made: {exc}"
        return proof, None if proof["ok"] else f"the proof failed: {proof['said']}"

    def follow_back(self) -> str | None:
        """Bring the service to read files that were put back; what it said against them, or None."""
        try:
            self.method.apply()
        except (HostError, OSError) as exc:
            return str(exc)
        return None

    def is_back(self, former: str | None, refused: str | None) -> bool:
        """Whether the leaf O(former) is served again and stays; without an endpoint: whether the service took the files."""
        if self.endpoint is None:
            return refused is None
        try:
            return former is not None and self.endpoint.serves_again(pem.fingerprint(former))
        except (HostError, OSError):
            return False  # it could not even be looked at

    def served_text(self, wanted: str | None) -> str:
        """What a client gets now, as a sentence."""
        if self.endpoint is None:
            return ""
        try:
            seen = self.endpoint.look(self.anchors)
        except (HostError, OSError) as exc:
            return f"What is served now could not be looked at: {exc}"
        if seen.leaf is None:
            return f"Now: {seen.said}"
        is_wanted = is_same(wanted, seen.leaf)
        return "Now that certificate is served." if is_wanted else f"Now another certificate is served: {seen.said}"


def _first_leaf(path: str) -> str | None:
    blocks = pem.certificates(text_of(path))
    return blocks[0] if blocks else None


def is_same(one: str | None, other: str | None) -> bool:
    """Whether both are the same certificate."""
    return one is not None and other is not None and pem.fingerprint(one) == pem.fingerprint(other)


def text_of(path: str) -> str:
    """The text of a PEM file; empty for none that can be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("ascii", "replace")
    except OSError:
        return ""


def sentences(*parts: str | None) -> str:
    """Parts as sentences of one text."""
    found = [part.strip() for part in parts if part and part.strip()]
    return " ".join(part if part.endswith((".", "!", "?", ")")) else f"{part}." for part in found)
