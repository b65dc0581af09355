# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host dies, or the deploy on it does, between promotion and commit: it goes back by itself."""

from __future__ import annotations

from .case import Case
from .mischief import boot_host, client_without_anchors, kill_deploy, kill_host, settled, wait_for_promotion
from .targets import Product, Service

# What the next run says.
WENT_BACK = "A run brought a new pair into place and ended before it was proved"


def test_host_killed_and_booted(case: Case, web: Service) -> None:
    """a host killed between promotion and commit, then booted"""
    case.begin(web.set(prove={"hold": 20}))
    controller = case.start()
    wait_for_promotion(web)
    case.await_new(web)
    case.strike()
    kill_host("web")
    run = controller.end()
    case.told(run, "the connection to the host was lost")
    boot_host("web")
    case.ends(web, "old", within=60)
    case.use(web)
    case.told(case.converges("-v"), WENT_BACK)


def test_fleet_killed_and_booted(case: Case, fleet: Product) -> None:
    """MiR Fleet's host killed between promotion and commit, then booted"""
    case.begin(fleet.set(mir_fleet_hold=20))
    controller = case.start()
    wait_for_promotion(fleet)
    case.await_new(fleet)
    case.strike()
    kill_host("fleet")
    controller.end()
    boot_host("fleet")
    case.ends(fleet, "old", within=60)
    case.use(fleet)
    case.told(case.converges("-v"), WENT_BACK)


def test_deploy_killed(case: Case, web: Service) -> None:
    """the deploy killed on the host between promotion and commit; its time limit is 10 s"""
    case.begin(web.set(reload={"timeout": 2}, prove={"hold": 6, "timeout": 2}, watchdog={"limit": 10}))
    controller = case.start()
    wait_for_promotion(web)
    case.await_new(web)
    case.strike()
    kill_deploy(web)
    run = controller.end()
    case.told(run, "the host goes back by itself")
    case.ends(web, "old", within=30)
    settled(web)
    case.use(web)
    case.told(case.converges("-v"), WENT_BACK)


def test_client_does_not_trust(case: Case, fleet: Product) -> None:
    """a client that does not accept the new certificate of MiR Fleet"""
    case.begin(fleet)
    with client_without_anchors():
        run = case.run()
    case.told(run, "rolled_back", "clients do not accept it")
    case.ends(fleet, "old")
    case.converges()
