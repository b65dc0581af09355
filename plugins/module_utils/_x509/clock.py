# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two clocks that differ, for people."""

from __future__ import annotations

from .duration import span_text
from .parse import iso


def clock_text(error: int, *, now: float) -> str:
    """C(2 h 5 min behind the controller's (it says …, the controller …))."""
    side = "ahead of" if error > 0 else "behind"
    return f"{span_text(abs(error))} {side} the controller's (it says {iso(now + error)}, the controller {iso(now)})"
