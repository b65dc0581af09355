# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for people, with the seconds since the start."""

from __future__ import annotations

import sys
import threading
import time

_started = time.monotonic()
_one_line_at_a_time = threading.Lock()


def say(message: str) -> None:
    """Print one line of progress; standard error, so that standard output stays free for results."""
    with _one_line_at_a_time:
        sys.stderr.write(f"lab {time.monotonic() - _started:6.1f} s  {message}\n")
        sys.stderr.flush()


def seconds() -> float:
    """Seconds since the start."""
    return time.monotonic() - _started
