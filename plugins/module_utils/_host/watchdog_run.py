# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watchdog does when it fires: nothing where the pair is decided, else the previous pair goes back into service."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import durable
from .errors import HostError
from .generations import WENT_BACK, BusyError, Generations
from .service import Service, sentences
from .watchdog import PLAN, Places, Watchdog


def main() -> None:
    """The program's start: C(limit) or C(boot) is its argument, the plan lies beside it."""
    at_boot = sys.argv[1:] == ["boot"]
    try:
        with open(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), PLAN), encoding="utf-8") as stream:
            plan = json.load(stream)
        os.environ.update(plan["environment"])
        said = fire(plan, at_boot=at_boot)
    except (HostError, OSError) as exc:
        said = f"The previous pair could not be put back: {exc} This is tried again when the host starts."
        sys.stderr.write(f"{said}\n")
        raise SystemExit(1) from exc
    sys.stderr.write(f"{said}\n")


def fire(plan: Mapping[str, Any], *, at_boot: bool, clock: Callable[[], float] = time.time) -> str:
    """Go back, if a run has left a pair unproved; answers a sentence for the journal."""
    store = Generations.of(plan)
    watchdog = Watchdog(store.root, places=Places(**plan["places"]))
    if not os.path.isdir(store.root):
        watchdog.forget()
        return f"{store.root} is gone, so there is nothing to put back."
    if at_boot and watchdog.is_ticking():
        return "This host runs already; the time limit decides."
    try:
        # At boot nothing may wait: what holds the store then is a run that decides it.
        with store.holding(patient=not at_boot):
            said = _decide(plan, store, at_boot=at_boot, clock=clock)
            watchdog.forget()
    except BusyError as exc:
        return str(exc)
    return said


def _decide(plan: Mapping[str, Any], store: Generations, *, at_boot: bool, clock: Callable[[], float]) -> str:
    promotion = store.unfinished()
    if promotion is None:
        store.prune(keep_staged=True, keep_previous=True, keep_said=True)
        return "The pair in place is decided; there is nothing to put back."
    store.restore(promotion)
    when = "When this host started again, it" if at_boot else f"After {plan['limit']:g} s this host"
    did = "took it out again" if promotion.previous is None else "put the previous one back"
    why = sentences(
        f"A run brought a new pair into place and ended before it was proved. {when} {did} by itself",
        _follow(Service.of(plan), plan.get("former"), at_boot=at_boot),
    )
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock()))
    durable.write_file(os.path.join(store.root, WENT_BACK), json.dumps({"at": at, "why": why}).encode(), mode=0o600)
    store.settle()
    store.prune(keep_staged=True, keep_previous=True, keep_said=True)
    return why


def _follow(service: Service, former: str | None, *, at_boot: bool) -> str:
    """Let the service read the files again, if it has read any."""
    if at_boot and service.method.before_units():
        return ""  # it starts after this, and must not be waited for here
    if service.method.is_running() is False:
        return "The service does not run."
    refused = service.follow_back()
    said = f"The service did not follow: {refused}" if refused else "The service was told."
    if service.endpoint is None or at_boot:
        return said
    again = "again" if service.is_back(former, refused) else "not again"
    return sentences(said, f"The former certificate is {again} served" if former else "Nothing was served before")
