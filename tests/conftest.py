# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Property tests are bounded and say the same on every machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("certfleet", max_examples=60, deadline=None, derandomize=True, database=None)
settings.load_profile("certfleet")
