# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA host goes away while a run needs it."""

from __future__ import annotations

from .case import Case
from .mischief import without_ssh
from .targets import Product


def test_ca_gone_before_issue(case: Case, fleet: Product, a_robot: Product) -> None:
    """the CA unreachable from the issue step on"""
    case.begin(fleet, a_robot)
    controller = case.start()
    controller.reach("Request | Compare what is wanted")
    with without_ssh("ca"):
        case.strike()
        run = controller.end()
    assert run.rc != 0, "nothing that was due is passed over in silence"
    case.told(run, "not_tried: ", "the CA host 'ca' cannot be reached")
    case.ends(fleet, "old")
    case.ends(a_robot, "old")
    case.converges()


def test_ca_gone_while_it_signs(case: Case, fleet: Product) -> None:
    """the connection to the CA cut while it signs"""
    case.begin(fleet)
    controller = case.start()
    controller.reach("Issue | Sign all")
    with without_ssh("ca"):
        case.strike()
        run = controller.end()
    assert run.rc != 0, "nothing that was due is passed over in silence"
    case.told(run, "not_tried: ", "the CA host 'ca'")
    case.ends(fleet, "old", "new")
    case.converges()


def test_ca_gone_before_record(case: Case, fleet: Product) -> None:
    """the CA unreachable when the outcomes shall be recorded"""
    case.begin(fleet)
    controller = case.start()
    controller.reach("Deploy | Promote the pair")
    with without_ssh("ca"):
        case.strike()
        run = controller.end()
    case.told(run, "The outcomes are not in the ledger")
    case.ends(fleet, "new")
    case.converges()
