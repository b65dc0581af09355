# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is only read from an API: a device's state, and what a managing system thinks of its devices.

  status:                                   what the device is doing; asked where C(change_states) says when it may be changed
    path: /status
    field: state_id                         JMESPath
    text: state_text                        words for people, JMESPath
  view:                                     of a system that manages devices
    list: /robots                           all devices; of each item only the id is needed
    items: "@"                              where the list is in the answer, JMESPath
    id: id                                  in an item
    item: /robots/{id}                      one device; what follows are JMESPath expressions on that answer
    address: ip
    serial: serial_number
    name: status.robot_name
    health:                                 by what it is seen to be worse than before
      fleet_state: {field: fleet_state_text, order: [[Ready, Idle], [Unavailable], [Error]]}

C(order) goes from good to bad. A value that it does not name counts as good: a guess must not condemn a device. Texts are compared
without regard to capitals. A C(health) entry that is null is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from .description_fields import Fields


@dataclass(frozen=True)
class Status:
    """The request that tells a device's state. C(field) and C(text) are JMESPath."""

    path: str
    field: str
    text: str


@dataclass(frozen=True)
class Criterion:
    """One sign of a device's health. C(order) holds groups of values, from good to bad."""

    name: str
    field: str
    order: tuple[tuple[str, ...], ...]

    def rank(self, value: str) -> int:
        """0 is good, or unknown."""
        return next((place for place, group in enumerate(self.order) if value.casefold() in group), 0)


@dataclass(frozen=True)
class View:
    """The requests that tell what a managing system thinks of its devices; all but the paths are JMESPath."""

    list_path: str
    items: str
    id: str
    item_path: str
    address: str
    serial: str
    name: str
    health: tuple[Criterion, ...]


def read_status(fields: Fields) -> Status:
    """The section C(status)."""
    status = Status(fields.path("path"), fields.expression("field"), fields.expression("text", default=""))
    fields.finish()
    return status


def read_view(fields: Fields) -> View:
    """The section C(view)."""
    view = View(
        list_path=fields.path("list"),
        items=fields.expression("items", default="@"),
        id=fields.expression("id", default="id"),
        item_path=fields.path("item"),
        address=fields.expression("address", default=""),
        serial=fields.expression("serial", default=""),
        name=fields.expression("name", default=""),
        health=_criteria(fields),
    )
    fields.finish()
    if "{id}" not in view.item_path:
        raise fields.error("item", f"is '{view.item_path}', which has no {{id}} in it")
    if not (view.address or view.serial or view.name):
        raise fields.error("address", "is missing, as are serial and name: devices could not be told apart")
    return view


def _criteria(fields: Fields) -> tuple[Criterion, ...]:
    found = []
    for name, data in fields.mapping("health").items():
        if data is None:
            continue
        section = Fields(data, where=fields.where, name=f"view.health.{name}")
        order = section.groups("order")
        found.append(Criterion(str(name), section.expression("field"), order))
        section.finish()
    if not found:
        raise fields.error("health", "names nothing by which a device could be seen to be worse")
    return tuple(found)
