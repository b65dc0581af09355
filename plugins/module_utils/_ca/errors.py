# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of this package: what, where, why, and the next step, as a sentence; and a code for programs."""

from __future__ import annotations


class CAError(Exception):
    """Something about the CA as a whole. C(code) is one word that callers may compare."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ItemError(CAError):
    """Something about one request of a batch: the others go on."""
