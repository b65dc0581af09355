# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller vanishes (SIGKILL for ansible-playbook and all below it) in each step; and two of them work at once."""

from __future__ import annotations

import pytest

from ..integration.machines import robot
from .case import Case
from .mischief import settled, wait_for_promotion
from .targets import Product, Service, Target

# The steps of the flow, by the headlines of their tasks.
OF_A_SERVICE = {
    "request": "Request | Compare what is wanted, on disk and served",
    "issue": "Issue | Sign all",
    "deploy": "Deploy | Promote the pair",
}
OF_A_WAVE = {
    "record": "Record | Write the outcomes",
    "wider-proof": "Wider proof | Look with the trust store",
    "confirm": "Wider proof | Confirm what they accept",
}


def killed_at(case: Case, target: Target, headline: str) -> None:
    """Kill the controller when this task begins, and see that the next run finishes what it left."""
    case.begin(target)
    controller = case.start()
    controller.reach(headline)
    case.strike()
    controller.kill()
    case.note("nothing: the run is gone")
    settled(target)
    case.ends(target, "old", "new")
    case.converges()


@pytest.mark.parametrize("step", [pytest.param("request", marks=pytest.mark.slow), "issue", "deploy"])
def test_controller_killed(case: Case, web: Service, step: str) -> None:
    """kill -9 of the controller at the beginning of: {step}"""
    killed_at(case, web, OF_A_SERVICE[step])


@pytest.mark.parametrize("step", ["record", pytest.param("wider-proof", marks=pytest.mark.slow), "confirm"])
def test_controller_killed_in_wave(case: Case, fleet: Product, step: str) -> None:
    """kill -9 of the controller in a wave at the beginning of: {step}"""
    killed_at(case, fleet, OF_A_WAVE[step])


def test_controller_killed_after_promotion(case: Case, fleet: Product) -> None:
    """kill -9 of the controller between promotion and commit"""
    case.begin(fleet.set(mir_fleet_hold=3))
    controller = case.start()
    wait_for_promotion(fleet)
    case.strike()
    controller.kill()
    case.note("nothing: the run is gone; the host went on by itself")
    settled(fleet)
    case.ends(fleet, "old", "new")
    case.converges()


def test_controller_killed_after_upload(case: Case, a_robot: Product) -> None:
    """kill -9 of the controller while a robot applies its upload"""
    case.begin(a_robot)
    robot("robot-1", "set", "answer_delay=2")
    controller = case.start()
    controller.reach("Deploy | Upload the pair")
    case.await_new(a_robot)
    case.strike()
    controller.kill()
    robot("robot-1", "unset")
    case.note("nothing: the run is gone")
    case.ends(a_robot, "new")
    case.converges()


def test_two_runs_at_once(case: Case, fleet: Product, a_robot: Product) -> None:
    """two runs at once over the same machines"""
    case.begin(fleet, a_robot)
    both = [case.start(), case.start()]
    case.strike()
    ended = [controller.end() for controller in both]
    said = [run.output for run in ended if run.rc != 0]
    case.note(f"{len(said)} of the 2 runs report a failure" if said else "nothing: both runs end well")
    case.ends(fleet, "new")
    case.ends(a_robot, "new")
    case.converges()
