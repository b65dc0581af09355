# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a machine came out of a run, in one word."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.plugin_utils._standing import deferral_of, standing_of, standings_text


def request(*entries: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"certificates": [{"id": f"r/{n}", **entry} for n, entry in enumerate(entries)], **fields}


def deploy(*outcomes: str) -> dict[str, Any]:
    return {"certificates": [{"id": f"r/{n}", "outcome": outcome} for n, outcome in enumerate(outcomes)]}


DUE, FINE = {"verdict": "issue"}, {"verdict": "none"}
LATER = {"verdict": "issue", "deferred": {"code": "window", "message": "opens at 22:00"}}


@pytest.mark.parametrize(
    ("title", "requested", "deployed", "check_mode", "standing"),
    [
        ("the run did not come to it", None, None, False, "not tried"),
        ("away", request(absent=True), None, False, "absent"),
        ("the request failed", request(failed=True), None, False, "failed"),
        ("the request failed, said later", request(problems=["no DNS name"]), None, False, "failed"),
        ("nothing due", request(FINE), None, False, "old"),
        ("no certificates wanted", request(), None, False, "old"),
        ("done", request(DUE), deploy("installed"), False, "new"),
        ("gone back", request(DUE), deploy("rolled_back"), False, "rolled back"),
        ("the worst counts", request(DUE, DUE), deploy("installed", "failed"), False, "failed"),
        ("new beats old", request(DUE, FINE), deploy("reloaded"), False, "new"),
        ("put off", request(LATER), None, False, "deferred"),
        ("refused", request({"verdict": "refuse"}, problems=["who is it"]), None, False, "refused"),
        ("would be done", request(DUE), None, True, "due"),
        ("a wave that never came", request(DUE), None, False, "not tried"),
        ("the CA was away", request(DUE), deploy("not_tried"), False, "not tried"),
    ],
)
def test_standing(title: str, requested: Any, deployed: Any, check_mode: bool, standing: str) -> None:
    assert standing_of(requested, deployed, check_mode=check_mode) == standing, title


def test_four_hundred_machines_are_a_few_lines() -> None:
    standings = {f"robot-{n}": "old" for n in range(398)} | {"a": "new", "b": "deferred"}
    lines = standings_text(standings, {"b": "outside its window"})
    assert lines == [
        "old: 398 (robot-0, robot-1, robot-2, robot-3, robot-4, robot-5, robot-6, robot-7 and 390 more)",
        "new: 1 (a)",
        "deferred: 1 (b)",
        "deferred: b: outside its window",
    ]


def test_the_first_deferral_is_told() -> None:
    assert deferral_of(request(FINE, LATER)) == LATER["deferred"]
    assert deferral_of(request(FINE)) is None
    busy = {"certificates": [{"id": "a/x", "outcome": "deferred", "said": "the robot is at work"}]}
    assert deferral_of(request(FINE), busy) == {"code": "window", "message": "the robot is at work"}


def test_after_a_failure_it_is_told_what_went_wrong() -> None:
    reasons = [{"code": "missing", "message": "none is served; this has failed once"}]
    told = deferral_of(request({"deferred": {"code": "backoff", "message": "left alone"}, "reasons": reasons}))
    assert told == {"code": "backoff", "message": "left alone; missing: none is served; this has failed once"}
