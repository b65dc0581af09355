# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA host's own clock: by one that is wrong nothing is signed, since it would begin, and end, at the wrong time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._x509.clock import clock_text
from .._x509.duration import span_text
from .errors import CAError


@dataclass(frozen=True)
class Clock:
    """What the controller's clock said when it began its call (unix seconds; None: nobody told, so that nothing is compared).

    C(limit): by how many seconds this host's may differ. It has to leave room for what the call takes on its way here.
    """

    controller_time: float | None = None
    limit: int = 0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Clock:
        """Of a module's options (see the doc fragment certfleet.tls.ca.clock)."""
        return cls(options["controller_time"], options["clock_limit"])

    def refuse_wrong(self, *, now: int) -> None:
        """Raise CAError (ca_clock) where O(now), by which something is about to be signed, is too far from the controller's."""
        if self.controller_time is None:
            return
        error = int(now - self.controller_time)
        if abs(error) <= self.limit:
            return
        raise CAError(
            f"The clock of this CA host is {clock_text(error, now=self.controller_time)}, more than tls_clock_limit "
            f"({span_text(self.limit)}) allows: what it signs now would not be valid when it says so. Nothing was changed. Set its clock "
            "(or the controller's), and have it kept right, by NTP.",
            code="ca_clock",
        )


# Where a CA is used on its own host, without a controller.
UNCOMPARED = Clock()
