# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host dies, or the deploy on it does, between promotion and commit: it goes back by itself."""

from __future__ import annotations

from .case import Case
from .mischief import boot_host, client_without_anchors, kill_deploy, kill_host, wait_for_promotion
from .targets import Product, Service


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
    case.converges()


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
    run = case.converges("-v")
    case.told(run, "went back")


def test_deploy_killed(case: Case, web: Service) -> None:
    """the deploy killed on the host between promotion and commit; its time limit is 5 s"""
    case.begin(web.set(prove={"hold": 20}, watchdog={"limit": 5}))
    controller = case.start()
    wait_for_promotion(web)
    case.await_new(web)
    case.strike()
    kill_deploy(web)
    run = controller.end()
    case.told(run, "What is in place is wholly old or wholly new")
    case.ends(web, "old", within=30)
    case.use(web)
    case.converges()


def test_client_does_not_trust(case: Case, fleet: Product) -> None:
    """a client that does not accept the new certificate of MiR Fleet"""
    case.begin(fleet)
    with client_without_anchors():
        run = case.run()
    case.told(run, "rolled_back", "clients do not accept it")
    case.ends(fleet, "old")
    case.converges()
