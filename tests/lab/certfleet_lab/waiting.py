# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded waits and work side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .errors import LabError

Item = TypeVar("Item")
Result = TypeVar("Result")


def wait_for(
    problem: Callable[[], str | None],
    *,
    timeout: float,
    interval: float = 0.3,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str | None:
    """Ask for the problem until there is none (None) or the time is up (the last problem)."""
    deadline = clock() + timeout
    while True:
        last = problem()
        if last is None or clock() >= deadline:
            return last
        sleep(interval)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do the work for all items at once, in order of the items; all errors are told, not just the first."""
    everything = list(items)
    if not everything:
        return []
    results: list[Result] = []
    errors: list[str] = []
    with ThreadPoolExecutor(max_workers=len(everything)) as pool:
        for future in [pool.submit(work, item) for item in everything]:
            try:
                results.append(future.result())
            except LabError as exc:
                errors.append(str(exc))
    if errors:
        raise LabError("\n".join(errors))
    return results
