# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What MiR Fleet says of its robots. It connects to them over HTTPS when it is asked, for a short and bounded time."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import Mapping
from typing import Any

from .device import Device
from .http_messages import Response
from .mir_answers import STATES, error, serial_number, state_of

PATIENCE = 2.0
AT_ONCE = 32
_SEEN = {"ready": (True, 3, "Ready"), "unavailable": (False, 1, "Unavailable"), "error": (True, 12, "Error")}


async def answer(fleet: Device, place: str, neighbours: Mapping[str, Device], *, port: int) -> Response:
    """What Fleet answers to a GET; O(port) is where robots serve HTTPS."""
    if place == "/status":
        return Response.of(200, [{"state": 3, "default_state": 3, "url": "/v2.0.0/status"}])
    robots = [robot for robot in neighbours.values() if robot.settings.profile == "robot"]
    listed = {number: robot for number, robot in enumerate(robots, start=1) if robot.view_of_fleet() != "gone"}
    if place == "/robots":
        return await _list(fleet, listed, port=port)
    number = place[len("/robots/") :] if place.startswith("/robots/") else ""
    if not number.isdigit() or int(number) not in listed:
        return error(fleet, 404, "not_found", "Not found")
    return Response.of(200, await _seen(fleet, int(number), listed[int(number)], port=port))


async def _list(fleet: Device, listed: Mapping[int, Device], *, port: int) -> Response:
    form = fleet.switches.robots_list
    if form == "error":
        return error(fleet, 500, "internal", "Internal error")
    if form == "garbage":
        return Response(200, b"<!doctype html><title>MiR Fleet</title>", "text/html")
    if form == "full":
        turns = asyncio.Semaphore(AT_ONCE)

        async def in_turn(number: int) -> dict[str, Any]:
            async with turns:
                return await _seen(fleet, number, listed[number], port=port)

        return Response.of(200, await asyncio.gather(*(in_turn(number) for number in listed)))
    return Response.of(200, [{"id": number, "url": f"/v2.0.0/robots/{number}"} for number in listed])


async def _seen(fleet: Device, number: int, robot: Device, *, port: int) -> dict[str, Any]:
    view = robot.view_of_fleet()
    if view == "seen":
        view = "ready" if await _answers(fleet, robot, port) else "unavailable"
    active, state, text = _SEEN[view]
    status: Any = {**state_of(robot), "software_version": robot.switches.software}
    if view == "error":
        status |= {"state_id": state, "state_text": STATES[state]}
    return {
        "id": number,
        "ip": robot.settings.addresses[0],
        "serial_number": serial_number(robot),
        "robot_model": "MiR100",
        "active": active,
        "fleet_state": state,
        "fleet_state_text": text,
        "robot_group_id": 1,
        "status": json.dumps(status) if fleet.switches.status_as == "string" else status,
    }


async def _answers(fleet: Device, robot: Device, port: int) -> bool:
    """Whether the robot answers over HTTPS, whatever certificate it shows. No login is sent."""
    try:
        return await asyncio.wait_for(_page(fleet, robot.settings.addresses[0], port), PATIENCE)
    except (OSError, asyncio.TimeoutError):
        return False


async def _page(fleet: Device, address: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    own = next((mine for mine in fleet.settings.addresses if _version(mine) == _version(address)), None)
    # From Fleet's own address, so that the log tells who asked.
    local = None if own is None else (own, 0)
    reader, writer = await asyncio.open_connection(address, port, ssl=context, local_addr=local)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    finally:
        writer.transport.abort()


def _version(address: str) -> int:
    return ipaddress.ip_address(address).version
