# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that robots and Fleet have in common."""

from __future__ import annotations

import hashlib
from typing import Any

from .device import Device
from .http_messages import Response

STATES = {3: "Ready", 4: "Pause", 5: "Executing", 11: "ManualControl", 12: "Error"}


def error(device: Device, status: int, code: str, text: str) -> Response:
    """An error in the shape that the device is switched to."""
    shape = device.switches.error_body
    if shape == "empty":
        return Response(status)
    if shape == "text":
        return Response(status, f"<html><body>{text}</body></html>".encode(), "text/html")
    if shape == "nested":
        return Response.of(status, {"error": {"message": text}})
    return Response.of(status, {"error_code": code, "error_human": text})


def serial_number(device: Device) -> str:
    """A robot's serial number; it never changes."""
    return hashlib.sha256(device.name.encode()).hexdigest()[:15]


def state_of(device: Device) -> dict[str, Any]:
    """What a robot is doing."""
    state = device.switches.state_id
    return {"robot_name": device.name, "state_id": state, "state_text": STATES.get(state, "Unknown")}
