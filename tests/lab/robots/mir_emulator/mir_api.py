# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST API of MiR robots and MiR Fleet 2.13, as far as certificates, status and the Fleet's list of robots go."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from .device import Device, UploadError
from .http_messages import Request, Response

LANGUAGES = ("en_US", "de_DE", "es_ES", "da_DK", "zh_CN")
STATES = {3: "Ready", 4: "Pause", 5: "Executing", 11: "ManualControl", 12: "Error"}


async def answer(device: Device, request: Request, *, base: str, neighbours: Mapping[str, Device]) -> Response:
    """What a robot or Fleet answers; O(base) is where the API begins on the port that was asked."""
    path = request.path.partition("?")[0]
    if not path.startswith(f"{base}/"):
        page = Response(200, b"<!doctype html><title>MiR</title>", "text/html")
        return page if path in {"/", "/index.html"} else _error(device, 404, "not_found", "Not found")
    if not _knows(device, request.headers.get("authorization", "")):
        return _error(device, device.switches.login_status, "unauthorized", "Wrong user name or password")
    if request.headers.get("accept-language", "") not in LANGUAGES:
        return _error(device, 400, "bad_language", f"Accept-Language must be one of {', '.join(LANGUAGES)}")
    place = path[len(base) :]
    if place == "/ssl/cert" and not device.switches.software.startswith("2.7"):
        return await _certificate(device, request)
    if request.method != "GET":
        return _error(device, 404, "not_found", "Not found")
    if device.settings.profile == "fleet":
        return _of_fleet(device, place, neighbours)
    if place == "/status":
        return Response.of(200, _robot_status(device))
    return _error(device, 404, "not_found", "Not found")


def _knows(device: Device, authorization: str) -> bool:
    digest = hashlib.sha256(device.settings.password.encode()).hexdigest()
    login = base64.b64encode(f"{device.settings.username}:{digest}".encode()).decode()
    return hmac.compare_digest(authorization.encode(), f"Basic {login}".encode())


def _error(device: Device, status: int, code: str, text: str) -> Response:
    shape = device.switches.error_body
    if shape == "empty":
        return Response(status)
    if shape == "text":
        return Response(status, f"<html><body>{text}</body></html>".encode(), "text/html")
    if shape == "nested":
        return Response.of(status, {"error": {"message": text}})
    return Response.of(status, {"error_code": code, "error_human": text})


async def _certificate(device: Device, request: Request) -> Response:
    if request.method == "POST":
        return await _upload(device, request)
    if request.method == "DELETE":
        if device.remove():
            return Response(device.switches.remove_status)
        return _error(device, device.switches.remove_absent_status, "not_found", "No certificate is installed")
    return _error(device, 405, "not_allowed", "Method not allowed")


async def _upload(device: Device, request: Request) -> Response:
    switches = device.switches
    if switches.reset == "before":
        return Response(switches.upload_status, b"{}", cut=True)
    try:
        body = json.loads(request.body)
        certificate, key = (_decoded(body, field) for field in ("cert_pem_file", "cert_key_file"))
    except (ValueError, TypeError, KeyError, binascii.Error):
        return _error(device, 400, "bad_request", "The body is not as documented")
    try:
        device.upload(certificate, key)
    except UploadError as exc:
        return _error(device, exc.status, "upload_failed", str(exc))
    if switches.answer_delay:
        await asyncio.sleep(switches.answer_delay)
    return Response(switches.upload_status, b"{}", cut=switches.reset == "after")


def _decoded(body: dict[str, Any], field: str) -> str:
    text = base64.b64decode(body[field], validate=True).decode("ascii")
    if "-----BEGIN" not in text:
        raise ValueError(field)
    return text


def _robot_status(device: Device) -> dict[str, Any]:
    return {
        "robot_name": device.name,
        "serial_number": hashlib.sha256(device.name.encode()).hexdigest()[:15],
        "robot_model": "MiR100",
        "state_id": device.switches.state_id,
        "state_text": STATES.get(device.switches.state_id, "Unknown"),
        "uptime": 4711,
        "battery_percentage": 80.5,
        "errors": [],
    }


def _of_fleet(device: Device, place: str, neighbours: Mapping[str, Device]) -> Response:
    if place == "/status":
        return Response.of(200, [{"state": 3, "default_state": 3, "url": "/v2.0.0/status"}])
    robots = [robot for robot in neighbours.values() if robot.settings.profile == "robot"]
    if place == "/robots":
        return Response.of(
            200, [{"id": number, "url": f"/v2.0.0/robots/{number}"} for number in range(1, len(robots) + 1)]
        )
    number = place[len("/robots/") :] if place.startswith("/robots/") else ""
    if not number.isdigit() or not 0 < int(number) <= len(robots):
        return _error(device, 404, "not_found", "Not found")
    return Response.of(200, _seen_by_fleet(device, int(number), robots[int(number) - 1]))


def _seen_by_fleet(fleet: Device, number: int, robot: Device) -> dict[str, Any]:
    active = robot.switches.power == "on" and robot.switches.https == "on"
    status: Any = {
        "robot_name": robot.name,
        "software_version": robot.switches.software,
        "state_id": robot.switches.state_id,
        "state_text": STATES.get(robot.switches.state_id, "Unknown"),
    }
    return {
        "id": number,
        "ip": robot.settings.addresses[0],
        "serial_number": _robot_status(robot)["serial_number"],
        "robot_model": "MiR100",
        "active": active,
        "fleet_state": 3 if active else 1,
        "fleet_state_text": "Ready" if active else "Unavailable",
        "robot_group_id": 1,
        "status": json.dumps(status) if fleet.switches.status_as == "string" else status,
    }
