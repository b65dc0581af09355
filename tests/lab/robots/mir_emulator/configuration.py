# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file as values; its form is described in serve.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .switches import SwitchError, Switches

PROFILES = ("robot", "fleet", "appliance")


class ConfigurationError(ValueError):
    """The configuration cannot be used: what and where."""


@dataclass(frozen=True)
class DeviceSettings:
    """One device as configured. Without a built-in pair of its own, C(certificate) and C(key) are None."""

    name: str
    profile: str
    addresses: tuple[str, ...]
    username: str
    password: str
    certificate: Path | None
    key: Path | None
    switches: Switches


@dataclass(frozen=True)
class Configuration:
    """Everything that serve.py is told."""

    state_dir: Path
    log: Path
    control: Path
    wildcard: bool
    shared: bool
    https_port: int
    http_ports: tuple[int, ...]
    devices: tuple[DeviceSettings, ...]


def read(path: Path) -> Configuration:
    """Read the file. Raises ConfigurationError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        ports = data.get("ports") or {}
        configuration = Configuration(
            state_dir=Path(data.get("state_dir", "/var/lib/robots")),
            log=Path(data.get("log", "/var/log/robots/requests.jsonl")),
            control=Path(data.get("control", "/run/robots.sock")),
            wildcard=_one_of(data, "bind", ("each", "wildcard")) == "wildcard",
            shared=_one_of(data, "builtin", ("each", "shared")) == "shared",
            https_port=int(ports.get("https", 443)),
            http_ports=tuple(int(port) for port in ports.get("http", (80, 8080, 9090))),
            devices=tuple(_device(item) for item in data["devices"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ConfigurationError(f"{path}: {type(exc).__name__}: {exc}") from exc
    _check(configuration, path)
    return configuration


def _check(configuration: Configuration, path: Path) -> None:
    names = [device.name for device in configuration.devices]
    addresses = [address for device in configuration.devices for address in device.addresses]
    if not names or len(set(names)) != len(names) or len(set(addresses)) != len(addresses):
        raise ConfigurationError(f"{path}: there are no devices, or two share a name or an address")


def _one_of(data: dict[str, Any], field: str, choices: tuple[str, ...]) -> str:
    value = data.get(field, choices[0])
    if value not in choices:
        raise ConfigurationError(f"{field} is '{value}', not one of {', '.join(choices)}")
    return str(value)


def _device(item: dict[str, Any]) -> DeviceSettings:
    name = str(item["name"])
    if item.get("profile", "robot") not in PROFILES or "/" in name or name in {"", "all", ".", ".."}:
        raise ConfigurationError(f"device '{name}': a bad name, or a profile that is not one of {', '.join(PROFILES)}")
    try:
        switches = Switches().changed(dict(item.get("switches") or {}))
    except SwitchError as exc:
        raise ConfigurationError(f"device '{name}': {exc}") from exc
    certificate, key = item.get("certificate"), item.get("key")
    return DeviceSettings(
        name=name,
        profile=str(item.get("profile", "robot")),
        addresses=tuple(str(address) for address in item["addresses"]),
        username=str(item.get("username", "Distributor")),
        password=str(item.get("password", "distributor")),
        certificate=Path(certificate) if certificate and key else None,
        key=Path(key) if certificate and key else None,
        switches=switches,
    )
