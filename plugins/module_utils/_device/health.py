# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A managing system's record of a device: what it says of the device's health, and whether that became worse. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .description_fields import plain
from .description_reading import View
from .jmespath_library import JMESPathError, jmespath


@dataclass(frozen=True)
class Wanted:
    """A device that is looked for, by everything that it may be known by. C(host) is its inventory name."""

    host: str
    addresses: frozenset[str]
    serial: str = ""
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, host: str, *, addresses: list[str], serial: str = "", names: list[str] | None = None) -> Wanted:
        """Values as users and devices write them."""
        return cls(
            host,
            frozenset(normalised(address) for address in addresses) - {""},
            serial.strip().casefold(),
            frozenset(name.strip().casefold() for name in names or ()) - {""},
        )


@dataclass(frozen=True)
class Record:
    """What a managing system says of one device. C(by) tells by what it was found: address, serial number or name."""

    id: str
    by: str
    values: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For results, and for the run's later look."""
        return {"id": self.id, "by": self.by, "values": dict(self.values)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """What as_dict() gave."""
        values = {str(name): str(value) for name, value in (data.get("values") or {}).items()}
        return cls(str(data["id"]), str(data.get("by") or ""), values)

    @property
    def text(self) -> str:
        """C(active true, fleet_state Ready)."""
        return ", ".join(f"{name} {value}" for name, value in self.values.items()) or "nothing of its health"


def find(expression: str, data: Any) -> str | None:
    """The plain value that a JMESPath expression finds."""
    if not expression:
        return None
    try:
        return plain(jmespath.search(expression, data))
    except JMESPathError:
        return None


def opened(data: Any) -> Any:
    """The answer with those fields opened that hold JSON as a text: some releases give C(status) so."""
    if not isinstance(data, Mapping):
        return data
    return {name: _opened(value) for name, value in data.items()}


def _opened(value: Any) -> Any:
    if not (isinstance(value, str) and value.lstrip().startswith("{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def known_by(view: View, data: Any, wanted: Wanted) -> str:
    """By what an answer is recognised as that of the wanted device: address, serial number, name; empty: it is another's."""
    address = find(view.address, data)
    if address and normalised(address) in wanted.addresses:
        return "address"
    serial = find(view.serial, data)
    if serial and wanted.serial and serial.casefold() == wanted.serial:
        return "serial number"
    name = find(view.name, data)
    return "name" if name and name.casefold() in wanted.names else ""


def values_of(view: View, data: Any) -> dict[str, str]:
    """What the answer says of the device's health, by criterion; what it does not say is left out."""
    found = ((criterion.name, find(criterion.field, data)) for criterion in view.health)
    return {name: value for name, value in found if value is not None}


def worse_by(view: View, before: Record, now: Record) -> list[str]:
    """The criteria by which a device is worse than before: C(fleet_state was Ready and is Unavailable)."""
    return list(_worse(view, before, now))


def _worse(view: View, before: Record, now: Record) -> Iterator[str]:
    for criterion in view.health:
        was, is_now = before.values.get(criterion.name), now.values.get(criterion.name)
        if was is not None and is_now is not None and criterion.rank(is_now) > criterion.rank(was):
            yield f"{criterion.name} was {was} and is {is_now}"


def normalised(address: str) -> str:
    """An address in one way of writing; names in small letters."""
    text = address.strip().strip("[]")
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text.casefold()
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
