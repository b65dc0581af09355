# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts on which a pair cannot be written as it should."""

from __future__ import annotations

import pytest

from ..integration.machines import on
from .case import Case
from .mischief import leave_room, read_only, small_disk
from .targets import Service

# How many files a deploy makes until it makes this one.
PLACES = {"key": 1, "key-beside-its-certificate": 4, "link-that-promotes": 7}


@pytest.mark.parametrize("file", PLACES)
def test_disk_full(case: Case, web: Service, file: str) -> None:
    """no space left on the device for the {file}"""
    with small_disk():
        case.begin(web)
        leave_room(PLACES[file])
        run = case.run()
        case.told(run, "No space left on device")
        case.ends(web, "old")
        leave_room(None)
        case.converges()


def test_read_only(case: Case, web: Service) -> None:
    """a target that is mounted read-only"""
    case.begin(web)
    with read_only():
        run = case.run()
    case.told(run, "cannot be written to by user 0: it is mounted read-only")
    case.ends(web, "old")
    case.converges()


@pytest.mark.slow
def test_wrong_owner(case: Case, web: Service) -> None:
    """a folder of pairs that belongs to another user"""
    case.begin(web)
    on("web", "chown", "www-data", str(web.store))
    try:
        run = case.run()
        case.told(run, "belongs to user ", "who could exchange keys in it")
        case.ends(web, "old")
    finally:
        on("web", "chown", "root", str(web.store))
    case.converges()


def test_unknown_owner(case: Case, web: Service) -> None:
    """files that shall belong to a user whom the host does not know"""
    case.begin(web.set(where={"owner": "nobody-by-this-name"}))
    run = case.run()
    case.told(run, "The owner 'nobody-by-this-name'", "is not known on this host")
    case.ends(web, "old")
    case.use(web)
    case.converges()
