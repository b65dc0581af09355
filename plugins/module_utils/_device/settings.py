# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a specification says of a device: where it is, its API, its login, whom to trust."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .._probe.connection import Detour, plain_address
from .._probe.errors import ProbeError
from .acquaintance import Target
from .description import Api, find_api
from .errors import DeviceError
from .login import Credentials

# Fields of a specification's `api` that are no part of an API's description.
_OF_THE_HOST = frozenset({"name", "username", "password", "ca_path", "verify_hostname", "pinned_spki"})
_OF_PROVE = frozenset({"address", "port", "server_name", "hold", "timeout", "proxy", "proxy_ssh_options"})


@dataclass(frozen=True)
class Settings:
    """One device as specified. C(ca) is the PEM text of C(ca_path), empty without one; C(hold) is in seconds."""

    target: Target
    api: Api
    credentials: Credentials
    ca: str
    pins: frozenset[str]
    hold: float


def read_settings(
    api: Mapping[str, Any],
    prove: Mapping[str, Any] | None,
    *,
    apis: Mapping[str, Any] | None,
    default_address: str,
    read_file: Callable[[str], str],
    where: str,
) -> Settings:
    """Read a specification's C(api) and C(prove). O(read_file) gives the text of a file on the controller.

    Raises DeviceError.
    """
    if not isinstance(api, Mapping) or not api.get("name"):
        raise DeviceError(f"{where}: api names no API. Write api: {{name: mir, username: …, password: …}}.")
    prove = prove or {}
    unknown = sorted(set(map(str, prove)) - _OF_PROVE)
    if unknown:
        raise DeviceError(
            f"{where}: prove has no field {', '.join(unknown)}; there are {', '.join(sorted(_OF_PROVE))}."
        )
    overrides = {str(field): value for field, value in api.items() if field not in _OF_THE_HOST}
    found = find_api(str(api["name"]), described=apis, overrides=overrides, where=where)
    if prove.get("timeout"):
        found = replace(found, wait_timeout=_number(prove["timeout"], "prove.timeout", 0.1, 86400, where=where))
    return Settings(
        target=_target(api, prove, default_address, where=where),
        api=found,
        credentials=Credentials(str(api.get("username") or ""), str(api.get("password") or "")),
        ca=read_file(str(api["ca_path"])) if api.get("ca_path") else "",
        pins=_pins(api.get("pinned_spki"), where=where),
        hold=_number(prove.get("hold", 10), "prove.hold", 0, 86400, where=where),
    )


def _target(api: Mapping[str, Any], prove: Mapping[str, Any], default_address: str, *, where: str) -> Target:
    address = plain_address(str(prove.get("address") or default_address))
    return Target(
        address=address,
        port=int(_number(prove.get("port") or 443, "prove.port", 1, 65535, where=where)),
        server_name=plain_address(str(prove.get("server_name") or address)),
        verify_hostname=plain_address(str(api.get("verify_hostname") or "")),
        proxy=_proxy(prove, where=where) if prove.get("proxy") else None,
    )


def _proxy(prove: Mapping[str, Any], *, where: str) -> Detour | None:
    # Imported only where there is one: what a parent process has loaded, each of its workers carries along.
    from .._probe.tunnel import parse_proxy

    try:
        return parse_proxy(str(prove["proxy"]), prove.get("proxy_ssh_options"), where=where)
    except ProbeError as exc:
        raise DeviceError(str(exc)) from exc


def _number(value: Any, field: str, low: float, high: float, *, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not low <= number <= high:
        raise DeviceError(f"{where}: {field} is '{value}'. Give a number from {low:g} to {high:g}.")
    return number


def _pins(values: Any, *, where: str) -> frozenset[str]:
    """Fingerprints as people copy them: with colons, in capitals."""
    given = [values] if isinstance(values, str) else list(values or ())
    pins = {str(value).replace(":", "").strip().lower() for value in given} - {""}
    if any(len(pin) != 64 or set(pin) - set("0123456789abcdef") for pin in pins):
        raise DeviceError(
            f"{where}: pinned_spki holds something that is no SHA-256 in hexadecimal (64 digits). Copy the fingerprint that "
            "playbooks/enrol.yml or device_request shows."
        )
    return frozenset(pins)
