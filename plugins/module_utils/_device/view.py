# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What managing systems think of devices before and after a change. One that cannot be asked leaves a note, nothing else.

Both looks answer with

  {"available": whether one of them could be asked, "said": "…",
   "devices": {inventory name: {"manager", "before", "now": {"id", "by", "values"} or None, "worse": bool or None, "said"}}}

C(worse) is None where a later look was wanted and not possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .delivery import Waiting
from .description_reading import View
from .errors import DeviceError
from .health import Record, Wanted, worse_by
from .manager import Found, Manager

Answer = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A managing system. C(hosts) are those that it manages, None: any; C(open) takes the deadline (monotonic seconds).

    C(view) and C(open) raise DeviceError for one that is described badly.
    """

    name: str
    hosts: frozenset[str] | None
    view: Callable[[], View]
    open: Callable[[float], Manager]

    def manages(self, host: str) -> bool:
        """Whether it may know this host."""
        return self.hosts is None or host in self.hosts


def look_before(
    sources: Iterable[Source], wanted: Iterable[Wanted], *, timeout: float, waiting: Waiting | None = None
) -> Answer:
    """Find the devices and note what is thought of them. O(timeout) is for everything together, in seconds."""
    deadline = (waiting or Waiting()).clock() + timeout
    missing, devices, notes, asked = {device.host: device for device in wanted}, {}, [], []
    for source in sources:
        mine = [device for host, device in missing.items() if source.manages(host)]
        if not mine:
            continue
        try:
            with source.open(deadline) as manager:
                found = manager.search(mine)
        except DeviceError as exc:
            notes.append(f"{source.name} could not be asked: {exc}")
            continue
        asked.append(source.name)
        for host, record in found.records.items():
            del missing[host]
            devices[host] = _entry(source.name, record, said=f"{source.name} sees it with {record.text}")
    for host in missing:
        devices[host] = _entry(None, None, said=_not_found(asked))
    if asked:
        notes.insert(
            0, f"{', '.join(asked)} could be asked about {len(devices) - len(missing)} of {len(devices)} devices"
        )
    return {"available": bool(asked), "said": "; ".join(notes), "devices": devices}


def _not_found(asked: list[str]) -> str:
    return f"not found in what {', '.join(asked)} manages" if asked else "no managing system could be asked"


def _entry(manager: str | None, before: Record | None, *, said: str) -> Answer:
    shown = before.as_dict() if before else None
    return {"manager": manager, "before": shown, "now": None, "worse": False, "said": said}


def look_after(
    sources: Iterable[Source],
    wanted: Iterable[Wanted],
    earlier: Mapping[str, Any],
    *,
    timeout: float,
    interval: float = 2.0,
    waiting: Waiting | None = None,
) -> Answer:
    """Compare with what was thought before, of the wanted devices, until nothing is worse or O(timeout) is over.

    A device that has just got a certificate connects anew, so a moment of worse is no verdict.
    """
    waiting = waiting or Waiting()
    deadline = waiting.clock() + timeout
    devices = {str(host): dict(entry) for host, entry in (earlier.get("devices") or {}).items()}
    by_host = {device.host: device for device in wanted if (devices.get(device.host) or {}).get("before")}
    for host in by_host:
        devices[host].update(worse=None, said=f"{devices[host]['manager']} was not asked again")
    notes, asked = [], False
    for source in sources:
        mine = {host: device for host, device in by_host.items() if devices[host]["manager"] == source.name}
        problem = ""
        while mine:
            answers, problem = _compared(source, mine, devices, deadline)
            devices.update(answers)
            asked = asked or bool(answers)
            mine = {host: device for host, device in mine.items() if host not in answers or answers[host]["worse"]}
            if waiting.clock() + interval >= deadline:
                break
            if mine:
                waiting.sleep(interval)
        silent = [host for host in mine if devices[host]["worse"] is None]
        for host in silent:
            devices[host]["said"] = problem
        if silent:
            notes.append(problem)
    worse = sorted(host for host, entry in devices.items() if entry["worse"])
    notes.insert(0, f"worse than before: {', '.join(worse)}" if worse else _content(asked, by_host))
    return {"available": asked, "said": "; ".join(filter(None, notes)), "devices": devices}


def _content(asked: bool, looked_for: Mapping[str, Wanted]) -> str:
    if asked:
        return f"none of {len(looked_for)} devices is worse than before"
    return "" if looked_for else "there was nothing to compare"


def _compared(
    source: Source, wanted: Mapping[str, Wanted], devices: Mapping[str, Answer], deadline: float
) -> tuple[dict[str, Answer], str]:
    """(entries of those devices about which something can be said, a sentence on what kept others from it)."""
    before = {host: Record.from_dict(devices[host]["before"]) for host in wanted}
    try:
        view = source.view()
        with source.open(deadline) as manager:
            found = manager.again({host: (device, before[host]) for host, device in wanted.items()})
    except DeviceError as exc:
        return {}, f"{source.name} could not be asked any more: {exc}"
    entries = dict(_entries(source, view, found, before))
    problem = "" if len(entries) == len(wanted) else f"{source.name} could not tell of every device"
    return {host: {**devices[host], **entry} for host, entry in entries.items()}, problem


def _entries(source: Source, view: View, found: Found, before: Mapping[str, Record]) -> Iterator[tuple[str, Answer]]:
    for host, was in before.items():
        now = found.records.get(host)
        if now is not None:
            signs = worse_by(view, was, now)
            said = f"{source.name} sees it with {now.text}"
            if signs:
                said = f"{source.name} thinks worse of it than before the change: {'; '.join(signs)}"
            yield host, {"now": now.as_dict(), "worse": bool(signs), "said": said}
        elif found.complete:
            said = f"{source.name} does not list it any more, which it did before the change"
            yield host, {"now": None, "worse": True, "said": said}
