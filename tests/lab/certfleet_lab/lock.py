# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab command at a time on a machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from . import places
from .errors import LabError
from .progress import say
from .waiting import wait_for

WAIT = 300.0


@contextmanager
def machine_lock() -> Iterator[None]:
    """Hold the machine's lock; it is freed by the kernel however this process ends."""
    if os.geteuid() != 0:
        raise LabError("The lab needs root: it makes networks and runs a container engine. Run it as root (sudo).")
    places.MACHINE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with places.LOCK.open("a+") as lock:

        def held_by_another() -> str | None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                return lock.read().strip() or "unknown"
            return None

        other = held_by_another()
        if other is not None:
            say(f"waiting for another lab command (process {other}), at most {WAIT:.0f} s")
            other = wait_for(held_by_another, timeout=WAIT)
        if other is not None:
            raise LabError(
                f"Another lab command (process {other}) has held {places.LOCK} for {WAIT:.0f} s. "
                f"Look at it with `ps {other}`, end it if it hangs, then try again."
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        # Programs started from here (the engine above all) outlive us and must not inherit the lock.
        os.set_inheritable(lock.fileno(), False)
        yield
