# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from .workshop import Workshop


@pytest.fixture
def empty(tmp_path: Path) -> Workshop:
    """A host without any CA."""
    return Workshop(tmp_path)


@pytest.fixture
def workshop(empty: Workshop) -> Workshop:
    """A host with the authority fleet."""
    empty.create()
    return empty
