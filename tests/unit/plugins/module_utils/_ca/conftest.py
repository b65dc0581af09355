# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .company import Company
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


@pytest.fixture
def make_empty(tmp_path: Path) -> Callable[[], Workshop]:
    """One host without any CA after the other."""
    numbers = iter(range(1000))

    def make() -> Workshop:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return Workshop(folder)

    return make


@pytest.fixture
def make_workshop(make_empty: Callable[[], Workshop]) -> Callable[[], Workshop]:
    """One host with the authority fleet after the other."""

    def make() -> Workshop:
        workshop = make_empty()
        workshop.create()
        return workshop

    return make


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    return Company(tmp_path_factory.mktemp("company") / "ca")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Company:
    return Company(tmp_path_factory.mktemp("stranger") / "ca", name="Stranger")
