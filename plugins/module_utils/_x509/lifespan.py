# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a leaf begins, and when it is to be renewed. Needs the standard library alone."""

from __future__ import annotations

import hashlib
from typing import Protocol

# How long before it is issued a certificate begins at most: clocks of devices are late more often than the CA's.
BACKDATE = 3600


class HasValidity(Protocol):
    """A leaf, or what the ledger knows of one."""

    @property
    def serial(self) -> str: ...

    @property
    def not_before(self) -> int: ...

    @property
    def not_after(self) -> int: ...


def backdated(now: int, lifetime: int) -> int:
    """When a certificate begins. A short life is not stretched by the full hour: it would be due at once."""
    return now - min(BACKDATE, lifetime // 10)


def renewal_window(leaf: HasValidity, renew_before: int | None) -> int:
    """Seconds before its end in which a leaf is to be renewed: the last third of its life unless O(renew_before) says otherwise.

    A leaf that was cut short, so that it lives no longer than that, has the last third as well: it would be due from its birth on.
    """
    life = leaf.not_after - leaf.not_before
    # It begins before it was issued, for clocks that are late: that part of its life it has never had.
    lived = life - min(BACKDATE, life // 11)
    return renew_before if renew_before and renew_before < lived else life // 3


def renewal_due_at(leaf: HasValidity, renew_before: int | None) -> int:
    """Unix seconds from which on a leaf is due: somewhere in the first half of its window, always the same for one serial.

    Certificates that were issued together are so renewed on different days, and half of the window is left for what goes wrong.
    """
    window = renewal_window(leaf, renew_before)
    digest = hashlib.sha256(leaf.serial.encode()).digest()
    share = int.from_bytes(digest[:8], "big")  # of 2 ** 64
    return leaf.not_after - window + (window * share >> 65)
