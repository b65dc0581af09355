# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time, in the whole CA host."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .durable import PRIVATE_FILE, explained
from .errors import CAError

LOCK_FILE = "lock"
WAIT = 60.0
_PAUSE = 0.02


@contextmanager
def locked(
    directory: str,
    *,
    wait: float = WAIT,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the CA's lock; after O(wait) seconds of waiting for another writer, give up with an error.

    The kernel lets go of it when the process ends, however it ends: there is no stale lock to clear.
    """
    path = os.path.join(directory, LOCK_FILE)
    with explained("open the lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        _acquire(descriptor, path, wait=wait, clock=clock, sleep=sleep)
        with explained("write the lock", path):
            # For whoever waits in vain: who is it that holds the lock?
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(
    descriptor: int, path: str, *, wait: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    deadline = clock() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as exc:
            if clock() >= deadline:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
                raise CAError(
                    f"Another process (id {holder}) has been writing to the CA for {wait:.0f} s: {path} is locked. "
                    "Nothing was changed. See what that process does on the CA host, then run again.",
                    code="locked",
                ) from exc
        sleep(_PAUSE)
