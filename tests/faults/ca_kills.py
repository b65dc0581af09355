# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL of a ca_* module's process at its writes, one after another, each time from the same beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .ca_case import CACase
from .ca_room import BACKUPS, CA, KILLED, OUT, ROOM, TRACE, Answer, State, shell
from .case import UnsafeError
from .strace_log import CALLS, Event, below, read_events

# With --seccomp-bpf it would be quicker, but strace 6.1 does not kill then.
_LISTED = f"-f -e trace={','.join(CALLS)}"
# So many kills are enough to see in a short run that the loop works, and each stage of the work.
FEW = 5

Module = Callable[[str], Answer]
Check = Callable[[Answer, State], None]
Whole = Callable[[], object]


def listed(case: CACase, module: Module) -> list[Event]:
    """Every change to a file that a whole run makes, with the answer that it writes at the end."""
    answer = module(_LISTED)
    assert not answer.failed and not answer.refused, answer
    found = below(read_events(shell(f"cat {TRACE}")), CA, BACKUPS, f"{ROOM}/secret", OUT)
    case.begin_again()
    return [event for event in found if event.call != "execve" and event.is_main]


def few(events: Sequence[Event]) -> list[Event]:
    """Some of them, spread over the whole run; the last one is the answer, after all is done."""
    step = max(1, len(events) // (FEW - 1))
    return [*events[: -step // 2 : step], events[-1]]


def killed_at(case: CACase, module: Module, events: Sequence[Event], *, whole: Whole, check: Check) -> None:
    """Kill it at each of them: nothing is half-done, and the next run does what this one was to do.

    O(whole) looks at what is there after the kill, O(check) at the next run's answer and at what is there then.
    """
    for event in events:
        case.begin_again()
        killed = module(f"{_LISTED} -e inject={event.call}:signal=KILL:when={event.nth}")
        if killed.rc != KILLED:
            raise UnsafeError(f"it was not killed at {event}, but ended with {killed}")
        with _explained(event):
            whole()
            answer = module("")
            check(answer, case.converges(answer))
    case.note("nothing: the process is gone")
    case.afterwards(f"whole after each of {len(events)} kills")
    case.next_run("each time as if nothing had been")


@contextmanager
def _explained(event: Event) -> Iterator[None]:
    try:
        yield
    except AssertionError as exc:
        raise UnsafeError(f"after a kill at {event.call} {event.path}: {exc}") from exc
