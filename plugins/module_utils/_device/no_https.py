# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a device shows no certificate: away, or there without HTTPS."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .._probe.connection import patience, way_to
from .._probe.plain_http import plain_http
from .._probe.tls import Seen
from .acquaintance import Target
from .description import Api
from .errors import DeviceError

_HTTP_TIMEOUT = 3.0
_AWAY = frozenset({"refused", "timeout", "unreachable"})


def explain_no_leaf(seen: Seen, target: Target, api: Api) -> str:
    """A sentence for a device that is away. Raises DeviceError for one that is there, but not with HTTPS.

    Plain HTTP is asked without any login.
    """
    if seen.failure == "proxy_away":
        return seen.said
    if seen.failure == "proxy_refuses":
        raise DeviceError(seen.said)
    if seen.failure == "not_tls":
        raise DeviceError(
            f"no HTTPS: {target.text} answers, but not with TLS. Check the port, and whether a proxy is in between."
        )
    answering = _answering_ports(target, api)
    if answering:
        ports = ", ".join(map(str, answering))
        raise DeviceError(
            f"no HTTPS: software below 2.10, or switched off. {seen.said} Plain HTTP answers on port {ports}; nothing was "
            "sent there. Update the device, or switch its HTTPS on, and run again."
        )
    if seen.failure not in _AWAY:
        raise DeviceError(
            f"no TLS handshake: {seen.said} Its certificate may be unusable: put the built-in one back at the device."
        )
    return f"{seen.said} Neither does plain HTTP answer."


def _answering_ports(target: Target, api: Api) -> list[int]:
    ports = [port for port in api.http_ports if port != target.port]
    if not ports:
        return []
    with ThreadPoolExecutor(max_workers=len(ports)) as pool:
        answers = pool.map(lambda port: _asked(target, port), ports)
    return [int(answer["port"]) for answer in answers if answer["answers"]]


def _asked(target: Target, port: int) -> dict[str, Any]:
    with way_to(target.proxy) as via:
        limit = _HTTP_TIMEOUT if via is None else patience(via)
        return plain_http(target.address, port, timeout=limit, via=via)
