# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python imports this at its start when the folder is in its path: its clock then goes SECONDS_LATER fast (see playbook.later)."""

from __future__ import annotations

import os
import time

_SECONDS = int(os.environ.get("SECONDS_LATER", "0"))
_time = time.time


def _later() -> float:
    return _time() + _SECONDS


time.time = _later
