# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A system that manages devices (MiR Fleet), asked what it thinks of some of them. It is only read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .acquaintance import stranger_text
from .delivery import Access
from .description_reading import View
from .errors import DeviceError
from .health import Record, Wanted, find, known_by, opened, values_of
from .jmespath_library import JMESPathError, jmespath
from .rest_client import DeviceClient, Fetched


@dataclass
class Found:
    """What was found of the wanted devices, by inventory name. C(complete): whoever is not among them is not listed."""

    records: dict[str, Record] = field(default_factory=dict)
    complete: bool = True


class _TimeIsOverError(Exception):
    """The time for asking has passed."""


class Manager:
    """C(with Manager(access, deadline=…) as manager:) meets the system; without recognition it gets no login.

    O(deadline) is in seconds of O(clock), for everything together. All methods raise DeviceError when it does not answer as it
    should.
    """

    def __init__(self, access: Access, *, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        if access.api.view is None:
            raise DeviceError(f"API '{access.api.name}' does not say how devices are listed. Describe 'view'.")
        self._view: View = access.api.view
        self._access, self._deadline, self._clock = access, deadline, clock
        self._client: DeviceClient | None = None

    def __enter__(self) -> Manager:
        met = self._access.meet()
        if met.leaf is None:
            raise DeviceError(met.seen.said)
        if not met.recognised:
            raise DeviceError(stranger_text(met, identity=self._access.identity))
        self._client = self._access.client(met)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def search(self, wanted: Iterable[Wanted]) -> Found:
        """Look for devices in the list, and stop as soon as all are found.

        An address decides at once; a serial number or a name only when no other record has the address (behind a router, the
        system knows a device by another address than we do).
        """
        sought, found = {device.host: device for device in wanted}, Found()
        by_other: dict[str, list[Record]] = {}
        if not sought:
            return found
        try:
            for identifier in self._identifiers(sought.values()):
                data = self._item(identifier, found)
                for host, record in self._matches(identifier, data, sought.values()):
                    if record.by == "address":
                        found.records[host] = record
                        del sought[host]
                    else:
                        by_other.setdefault(host, []).append(record)
                if not sought:
                    return found
        except _TimeIsOverError:
            found.complete = False
        for host, records in by_other.items():
            only = _only(records)
            if host in sought and only is not None:
                found.records[host] = only
        return found

    def again(self, wanted: Mapping[str, tuple[Wanted, Record]]) -> Found:
        """Look once more at devices that were found before, first where they were; by inventory name."""
        found, gone = Found(), []
        try:
            for host, (device, before) in wanted.items():
                data = self._item(before.id, found)
                record = dict(self._matches(before.id, data, [device])).get(host)
                if record is None:
                    gone.append(device)
                else:
                    found.records[host] = record
        except _TimeIsOverError:
            found.complete = False
            return found
        # Whether they are listed under another id now, or not at all, is for the list to say.
        others = self.search(gone)
        return Found({**found.records, **others.records}, others.complete)

    def _matches(self, identifier: str, data: Any, wanted: Iterable[Wanted]) -> Iterator[tuple[str, Record]]:
        if data is None:
            return
        for device in list(wanted):
            by = known_by(self._view, data, device)
            if by:
                yield device.host, Record(identifier, by, values_of(self._view, data))

    def _identifiers(self, wanted: Iterable[Wanted]) -> list[str]:
        """The ids of all devices; those first of which the list itself says that they are wanted (it may hold no more than ids)."""
        fetched = self._fetch(self._view.list_path)
        if fetched.kind != "accepted":
            raise DeviceError(fetched.said)
        try:
            items = jmespath.search(self._view.items, fetched.value)
        except JMESPathError:
            items = None
        if not isinstance(items, list):
            raise DeviceError(
                f"{self._access.target.text} answers to {self._view.list_path} with something that is no list."
            )
        devices = list(wanted)
        likely: list[str] = []
        others: list[str] = []
        for item in items:
            identifier = find(self._view.id, item)
            if identifier is not None:
                is_likely = any(known_by(self._view, opened(item), device) for device in devices)
                (likely if is_likely else others).append(identifier)
        return [*likely, *others]

    def _item(self, identifier: str, found: Found) -> Any:
        """The record of one device; None when there is none any more, or it cannot be read (which is noted)."""
        fetched = self._fetch(self._view.item_path.replace("{id}", quote(identifier, safe="")))
        if fetched.kind == "accepted":
            return opened(fetched.value)
        if fetched.status is None or fetched.kind == "login":
            raise DeviceError(fetched.said)
        if fetched.kind != "absent":
            found.complete = False
        return None

    def _fetch(self, path: str) -> Fetched:
        if self._client is None:
            raise DeviceError(f"{self._access.target.text} was not met yet.")
        fetched = self._client.fetch(path, timeout=self._remaining())
        if fetched.kind == "uncertain" and fetched.status is None:
            # A connection that was kept open may have been closed by the other side meanwhile.
            fetched = self._client.fetch(path, timeout=self._remaining())
        return fetched

    def _remaining(self) -> float:
        left = self._deadline - self._clock()
        if left <= 0:
            raise _TimeIsOverError
        return left


def _only(records: list[Record]) -> Record | None:
    """The one record that fits, by serial number or else by name; None when several do."""
    best = [record for record in records if record.by == "serial number"] or records
    return best[0] if len(best) == 1 else None
