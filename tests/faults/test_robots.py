# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Robots that do not answer an upload as documented. Nobody has a copy of their old key."""

from __future__ import annotations

import pytest

from ..integration.machines import robot
from .case import Case
from .mischief import client_without_anchors
from .targets import Product

NAME = "robot-1"


def takes_it(case: Case, target: Product, *switches: str) -> None:
    """The robot has the new certificate in the end, whatever it said, and that is found."""
    case.begin(target)
    robot(NAME, "set", *switches)
    run = case.run("-v")
    assert run.rc == 0, run.output
    case.told(run, "serves the expected certificate", "outcome: installed")
    case.ends(target, "new")
    robot(NAME, "unset")
    case.converges()


def fails(case: Case, target: Product, *switches: str, told: tuple[str, str], ends: str) -> None:
    """The robot has it not, and the operator is told so."""
    case.begin(target)
    robot(NAME, "set", *switches)
    run = case.run()
    case.told(run, *told)
    case.ends(target, ends)
    robot(NAME, "unset")
    case.converges()


def test_robot_ignores_the_upload(case: Case, a_robot: Product) -> None:
    """a robot that answers 200 and serves its old certificate"""
    fails(
        case,
        a_robot,
        "upload=ignore",
        "upload_status=200",
        told=("failed: The upload was accepted twice", "The former certificate is still served"),
        ends="old",
    )


def test_robot_says_500_and_applies(case: Case, a_robot: Product) -> None:
    """a robot that answers 500 and has applied the upload"""
    takes_it(case, a_robot, "upload=error_applied")


def test_robot_cuts_the_connection(case: Case, a_robot: Product) -> None:
    """a robot that cuts the connection in the middle of the upload"""
    fails(
        case,
        a_robot,
        "reset=body",
        told=("failed: 198.19.1.11:443: the connection broke", "The former certificate is still served"),
        ends="old",
    )


@pytest.mark.slow
def test_robot_cuts_the_answer(case: Case, a_robot: Product) -> None:
    """a robot that applies the upload and cuts the connection in the middle of its answer"""
    takes_it(case, a_robot, "reset=after")


def test_robot_reboots(case: Case, a_robot: Product) -> None:
    """a robot that reboots upon the upload, and is away for 8 s"""
    takes_it(case, a_robot.set(mir_robot_api={"wait": {"timeout": 30, "interval": 0.5}}), "reboot=8")


@pytest.mark.slow
def test_robot_answers_after_40_s(case: Case, a_robot: Product) -> None:
    """a robot that answers an upload after 40 s"""
    takes_it(case, a_robot.set(mir_robot_api={}), "answer_delay=40")


@pytest.mark.slow
def test_robot_relapses(case: Case, a_robot: Product) -> None:
    """a robot that goes back to its built-in certificate 2 s after the upload"""
    fails(
        case,
        a_robot.set(mir_robot_hold=4),
        "revert=2",
        told=("failed: The upload was accepted twice", "The expected certificate was served, but after 2 s no more"),
        ends="built-in",
    )


def test_client_does_not_trust_a_robot(case: Case, a_robot: Product) -> None:
    """a client that does not accept a robot's new certificate (on_failure: remove)"""
    case.begin(a_robot.set(mir_robot_on_failure="remove"))
    with client_without_anchors():
        run = case.run()
    case.told(run, "removed: ", "clients do not accept it")
    case.ends(a_robot, "built-in")
    case.converges()
