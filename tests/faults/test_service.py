# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that do not take a new pair as they should: nginx under systemd, on a host of its own."""

from __future__ import annotations

import pytest

from ..integration.machines import on
from .case import Case
from .mischief import NGINX, additional_address, new_pair_makes, stopped_service
from .targets import Service

ADDRESS_THAT_MOVED = "198.19.0.59"


def test_service_refuses_the_pair(case: Case, web: Service) -> None:
    """a service that does not start with the new pair"""
    wish = case.begin(web)
    with new_pair_makes("exit 1", wish=wish, when="Pre"):
        run = case.run()
    case.told(run, "rolled_back", "the service did not take it")
    case.ends(web, "old")
    case.converges()


def test_service_dies_later(case: Case, web: Service) -> None:
    """a service that starts, answers, and dies 3 s later"""
    later = f"systemd-run --quiet --on-active=3 --timer-property=AccuracySec=100ms systemctl kill -s KILL {NGINX}"
    wish = case.begin(web.set(prove={"hold": 6, "timeout": 10}))
    with new_pair_makes(later, wish=wish, when="Post"):
        run = case.run()
    case.told(run, "rolled_back", "the proof failed")
    case.ends(web, "old")
    case.converges()


@pytest.mark.slow
def test_service_hangs_at_its_start(case: Case, web: Service) -> None:
    """a service whose start never ends"""
    wish = case.begin(web.set(reload={"timeout": 4}))
    with new_pair_makes("sleep 600", wish=wish, when="Pre", settings="TimeoutStartSec=infinity"):
        run = case.run()
        case.told(run, "rolled_back", "the service did not take it")
        case.ends(web, "old")
    case.converges()


def test_service_accepts_and_never_answers(case: Case, web: Service) -> None:
    """a service that accepts connections and never answers"""
    wish = case.begin(web)
    with new_pair_makes(f"systemd-run --quiet systemctl kill -s STOP {NGINX}", wish=wish, when="Post"):
        run = case.run()
    case.told(run, "rolled_back", "the proof failed")
    case.ends(web, "old")
    case.converges()


def test_service_keeps_old_certificate(case: Case, web: Service) -> None:
    """a daemon that goes on serving its old certificate"""
    case.begin(web.set(reload={"method": "none", "name": None, "action": None}))
    run = case.run()
    case.told(run, "rolled_back", "another certificate than the expected one")
    case.ends(web, "old")
    case.use(web)
    case.converges()


@pytest.mark.slow
def test_service_was_stopped_before(case: Case, web: Service) -> None:
    """a service that somebody had stopped before"""
    case.begin(web)
    with stopped_service():
        run = case.run()
        case.told(run, "the unit 'nginx.service' is stopped, and is not started behind your back")
        case.ends(web, "nothing")
    case.converges()


def test_service_had_died_before(case: Case, web: Service) -> None:
    """a service that had died before"""
    case.begin(web)
    on("web", "systemctl", "kill", "-s", "KILL", NGINX)
    run = case.run("-v")
    case.told(run, f"the unit '{NGINX}' was failed before")
    case.ends(web, "new")
    case.converges()


def test_endpoint_answered_by_another_host(case: Case, web: Service) -> None:
    """a proof endpoint at which another host answers"""
    case.begin(web.set(prove={"address": ADDRESS_THAT_MOVED}))
    with additional_address("fleet", ADDRESS_THAT_MOVED):
        run = case.run()
    case.told(run, "serves another certificate than the expected one")
    case.ends(web, "old")
    case.use(web)
    case.converges()
