# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of an endpoint: the expected leaf is served, trusted, and stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .connection import Detour, endpoint_text, patience, way_to
from .tls import Seen, fingerprint_of, look

# A proxy that fails for a moment says nothing of the endpoint; whether it held is seen when the way is open again.
_NOBODY_LOOKED = frozenset({"proxy_away"})


def prove(
    *,
    address: str,
    port: int,
    server_name: str | None,
    anchors: str,
    fingerprint: str,
    hold: float = 10.0,
    timeout: float = 60.0,
    by: str = "",
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    interval: float = 1.0,
    proxy: Detour | None = None,
) -> dict[str, Any]:
    """Connect as a client until the expected leaf is served and trusted, then watch that it stays so.

    O(fingerprint) is that of the expected leaf, O(timeout) the seconds until it must be there, O(hold) the seconds that
    it must stay, O(interval) those between two looks, O(by) who looks, O(proxy) what leads there.
    Answers by, endpoint, leaf, chain, name, time (each true when established in the last look), held (for how many
    seconds the expected leaf was served and trusted; None: never), ok and said.
    """
    where = endpoint_text(address, port)
    with way_to(proxy) as via:
        limit = patience(via) if via is not None else min(patience(None), max(timeout, 0.5))

        def glance() -> Seen:
            return look(address, port, server_name=server_name, anchors=anchors, timeout=limit, via=via)

        def is_right(seen: Seen) -> bool:
            return seen.trusted and seen.leaf is not None and fingerprint_of(seen.leaf) == fingerprint

        begin = clock()
        seen = glance()
        while not is_right(seen) and clock() - begin < timeout:
            sleep(interval)
            seen = glance()
        if not is_right(seen):
            return _answer(seen, by=by, fingerprint=fingerprint, held=None, ok=False, said=_wrong(seen, fingerprint))
        begin = clock()
        while clock() - begin < hold or not is_right(seen):
            sleep(min(interval, hold))
            seen = glance()
            if is_right(seen) or (seen.failure in _NOBODY_LOOKED and clock() - begin < hold + timeout):
                continue
            held = clock() - begin
            said = f"The expected certificate was served, but after {held:.0f} s no more: {_wrong(seen, fingerprint)}"
            return _answer(seen, by=by, fingerprint=fingerprint, held=held, ok=False, said=said)
    said = f"{where} serves the expected certificate, trusted, for {hold:g} s."
    return _answer(seen, by=by, fingerprint=fingerprint, held=clock() - begin, ok=True, said=said)


def _wrong(seen: Seen, fingerprint: str) -> str:
    if seen.leaf is not None and fingerprint_of(seen.leaf) != fingerprint:
        return f"{endpoint_text(seen.address, seen.port)} serves another certificate than the expected one."
    return seen.said


def _answer(seen: Seen, *, by: str, fingerprint: str, held: float | None, ok: bool, said: str) -> dict[str, Any]:
    return {
        "by": by,
        "endpoint": endpoint_text(seen.address, seen.port),
        "leaf": seen.leaf is not None and fingerprint_of(seen.leaf) == fingerprint,
        "chain": seen.chain,
        "name": seen.name,
        "time": seen.time,
        "held": None if held is None else round(held, 1),
        "ok": ok,
        "said": said,
    }
