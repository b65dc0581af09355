# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other end of control.py: one JSON question a line, one JSON answer a line, over a unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .device import Device
from .listeners import Listeners
from .request_log import RequestLog
from .switches import SwitchError, settings_of


class ControlDesk:
    """Changes devices while they run."""

    def __init__(self, devices: Mapping[str, Device], listeners: Listeners, log: RequestLog) -> None:
        self._devices = devices
        self._listeners = listeners
        self._log = log

    async def open(self, path: Path) -> asyncio.AbstractServer:
        """Listen on the socket; only the owner may use it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, path)
        path.chmod(0o600)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self.answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            return
        finally:
            writer.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one question."""
        try:
            question = json.loads(line)
            name, action, words = question["device"], question["action"], list(question.get("words") or [])
            chosen = list(self._devices.values()) if name == "all" else [self._devices[name]]
            for device in chosen:
                self._act(device, action, words)
        except KeyError as exc:
            return {"ok": False, "error": f"there is no device {exc}"}
        except (ValueError, TypeError, AttributeError, OSError) as exc:
            return {"ok": False, "error": str(exc)}
        return {"ok": True, "devices": {device.name: device.status() for device in chosen}}

    def _act(self, device: Device, action: str, words: list[str]) -> None:
        if action == "set":
            device.set(settings_of(words))
        elif action == "unset":
            _check_names(device, words)
            device.unset(words)
        elif action == "factory":
            device.factory()
        elif action != "status":
            raise ValueError(f"there is no action '{action}'")
        if action != "status":
            self._listeners.adapt(device)
            self._log.write("control", device.name, action=action, words=words)


def _check_names(device: Device, names: list[str]) -> None:
    unknown = set(names) - set(device.switches.as_dict())
    if unknown:
        raise SwitchError(f"there is no switch {', '.join(sorted(unknown))}")
