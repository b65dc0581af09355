# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint that a service serves its certificate on, looked at from this host as a client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._probe.errors import ProbeError
from .._probe.prove import prove
from .._probe.tls import Seen, look
from . import pem
from .errors import HostError

_FIELDS = frozenset({"address", "port", "server_name", "hold", "timeout"})
INTERVAL = 1.0


@dataclass(frozen=True)
class Endpoint:
    """Where clients connect to, and how long a proof lasts; C(hold) and C(timeout) in seconds."""

    address: str
    port: int
    server_name: str
    hold: float
    timeout: float
    by: str = ""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str, by: str = "") -> Endpoint:
        """Check a user's description; O(where) names host and item in errors. Raises HostError."""
        given = {str(option): value for option, value in data.items() if value not in (None, "")}
        strange = sorted(set(given) - _FIELDS)
        if strange:
            raise HostError(
                f"{where}: 'prove' has no field {', '.join(strange)}. There are {', '.join(sorted(_FIELDS))}."
            )
        if "address" not in given:
            raise HostError(
                f"{where}: 'prove' lacks the address that clients connect to. Write prove: {{address: …, port: 443}}."
            )
        port = _number(given.get("port", 443), "port", where=where)
        if not 0 < port < 65536 or port != int(port):
            raise HostError(f"{where}: prove.port {given['port']} is no TCP port. Give a number from 1 to 65535.")
        return cls(
            address=str(given["address"]),
            port=int(port),
            server_name=str(given.get("server_name") or given["address"]),
            hold=_number(given.get("hold", 10), "hold", where=where),
            timeout=_number(given.get("timeout", 60), "timeout", where=where),
            by=by,
        )

    def look(self, anchors: str | None) -> Seen:
        """What is served now. Raises HostError when it cannot even be looked at."""
        try:
            return look(self.address, self.port, server_name=self.server_name, anchors=anchors)
        except ProbeError as exc:
            raise HostError(str(exc)) from exc

    def prove(self, *, leaf: str, anchors: str | None) -> dict[str, Any]:
        """Whether clients get this leaf, trust it, and go on getting it. Without anchors only the leaf is compared."""
        expected = pem.fingerprint(leaf)
        if anchors is None:
            return self._prove_leaf(expected)
        try:
            return prove(
                address=self.address,
                port=self.port,
                server_name=self.server_name,
                anchors=anchors,
                fingerprint=expected,
                hold=self.hold,
                timeout=self.timeout,
                by=self.by,
                sleep=self.sleep,
                clock=self.clock,
                interval=INTERVAL,
            )
        except ProbeError as exc:
            raise HostError(str(exc)) from exc

    def serves_again(self, fingerprint: str) -> bool:
        """Whether a former leaf, trusted or not, is served again and stays."""
        return bool(self._prove_leaf(fingerprint)["ok"])

    def _prove_leaf(self, fingerprint: str) -> dict[str, Any]:
        begin, since = self.clock(), None
        while True:
            seen = self.look(None)
            now = self.clock()
            is_right = seen.leaf is not None and pem.fingerprint(seen.leaf) == fingerprint
            if is_right and since is None:
                since = now
            held = is_right and since is not None and now - since >= self.hold
            gone = not is_right and (since is not None or now - begin >= self.timeout)
            if held or gone:
                break
            self.sleep(min(INTERVAL, self.hold or INTERVAL))
        said = "The expected certificate is served; without anchors its chain was not looked at." if held else seen.said
        return {
            "by": self.by,
            "endpoint": f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}",
            "leaf": is_right,
            "chain": False,
            "name": False,
            "time": False,
            "held": None if since is None else round(now - since, 1),
            "ok": held,
            "said": said,
        }


def _number(value: Any, option: str, *, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as exc:
        raise HostError(f"{where}: prove.{option} '{value}' is no number. Give seconds or a port as a number.") from exc
    if not 0 <= number < 86400:
        raise HostError(f"{where}: prove.{option} {value} is out of bounds. Give a number from 0 to 86399.")
    return number
