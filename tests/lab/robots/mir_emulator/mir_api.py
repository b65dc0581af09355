# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST API of MiR robots and MiR Fleet 2.13, as far as certificates and status go."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from . import fleet_api
from .device import Device, UploadError
from .http_messages import Request, Response
from .mir_answers import error, serial_number, state_of

LANGUAGES = ("en_US", "de_DE", "es_ES", "da_DK", "zh_CN")


async def answer(
    device: Device, request: Request, *, base: str, neighbours: Mapping[str, Device], https_port: int
) -> Response:
    """What a robot or Fleet answers; O(base) is where the API begins on the port that was asked."""
    path = request.path.partition("?")[0]
    if not path.startswith(f"{base}/"):
        page = Response(200, b"<!doctype html><title>MiR</title>", "text/html")
        return page if path in {"/", "/index.html"} else error(device, 404, "not_found", "Not found")
    if not _knows(device, request.headers.get("authorization", "")):
        return error(device, device.switches.login_status, "unauthorized", "Wrong user name or password")
    if request.headers.get("accept-language", "") not in LANGUAGES:
        return error(device, 400, "bad_language", f"Accept-Language must be one of {', '.join(LANGUAGES)}")
    place = path[len(base) :]
    if place == "/ssl/cert" and not device.switches.software.startswith("2.7"):
        return await _certificate(device, request)
    if request.method != "GET":
        return error(device, 404, "not_found", "Not found")
    if place == "/status" and device.switches.status == "error":
        return error(device, 500, "internal", "Internal error")
    if device.settings.profile == "fleet":
        return await fleet_api.answer(device, place, neighbours, port=https_port)
    if place == "/status":
        return Response.of(200, _robot_status(device))
    return error(device, 404, "not_found", "Not found")


def _knows(device: Device, authorization: str) -> bool:
    digest = hashlib.sha256(device.settings.password.encode()).hexdigest()
    login = base64.b64encode(f"{device.settings.username}:{digest}".encode()).decode()
    return hmac.compare_digest(authorization.encode(), f"Basic {login}".encode())


async def _certificate(device: Device, request: Request) -> Response:
    if request.method == "POST":
        return await _upload(device, request)
    if request.method == "DELETE":
        if device.remove():
            return Response(device.switches.remove_status)
        return error(device, device.switches.remove_absent_status, "not_found", "No certificate is installed")
    return error(device, 405, "not_allowed", "Method not allowed")


async def _upload(device: Device, request: Request) -> Response:
    switches = device.switches
    if switches.reset == "before":
        return Response(switches.upload_status, b"{}", cut=True)
    try:
        body = json.loads(request.body)
        certificate, key = (_decoded(body, field) for field in ("cert_pem_file", "cert_key_file"))
    except (ValueError, TypeError, KeyError, binascii.Error):
        return error(device, 400, "bad_request", "The body is not as documented")
    try:
        device.upload(certificate, key)
    except UploadError as exc:
        return error(device, exc.status, "upload_failed", str(exc))
    if switches.answer_delay:
        await asyncio.sleep(switches.answer_delay)
    reset = switches.reset
    return Response(switches.upload_status, b"{}", cut=reset == "after", withheld=reset == "body_applied")


def _decoded(body: dict[str, Any], field: str) -> str:
    text = base64.b64decode(body[field], validate=True).decode("ascii")
    if "-----BEGIN" not in text:
        raise ValueError(field)
    return text


def _robot_status(device: Device) -> dict[str, Any]:
    state = state_of(device)
    if device.switches.status == "no_state":
        state = {"robot_name": device.name}
    return {
        **state,
        "serial_number": serial_number(device),
        "robot_model": "MiR100",
        "uptime": 4711,
        "battery_percentage": 80.5,
        "errors": [],
    }
