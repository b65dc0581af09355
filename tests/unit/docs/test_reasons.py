# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on reasons knows every code that a run can show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import VERDICTS
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import BAD_OUTCOMES, GOOD_OUTCOMES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "docsite" / "rst" / "reasons.rst").read_text()
# How codes are written where they arise: of reasons, errors, refusals and deferrals.
WRITTEN = (
    re.compile(r'\bReason\(\s*"(\w+)"'),
    re.compile(r'\bcode="(\w+)"'),
    re.compile(r'\b_refused_as\("(\w+)"'),
    re.compile(r'\bCACallError\(\s*"(\w+)"'),
    re.compile(r'"code": "(\w+)"'),
)


def codes() -> Iterator[tuple[str, str]]:
    """(code, file) of everything that the plugins can say."""
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        text = path.read_text()
        for pattern in WRITTEN:
            yield from ((code, path.name) for code in pattern.findall(text))


def test_every_code_is_explained() -> None:
    found = set(codes())
    assert {"expiring", "not_permitted", "clock", "name_held", "half_ca", "ca_unreachable", "window"} <= {
        code for code, _file in found
    }
    assert sorted(item for item in found if f"``{item[0]}``" not in PAGE) == []


def test_every_verdict_and_outcome_is_explained() -> None:
    words = {*VERDICTS, *BAD_OUTCOMES, *GOOD_OUTCOMES, "deferred", "absent", "not_tried"}
    assert sorted(word for word in words if f"``{word}``" not in PAGE) == []


def test_nothing_is_explained_that_is_never_said() -> None:
    explained = set(re.findall(r"^   \* - (``.+``)$", PAGE, flags=re.MULTILINE))
    listed = {code for cell in explained for code in re.findall(r"``(\w+)``", cell)}
    said = {code for code, _file in codes()} | BAD_OUTCOMES | GOOD_OUTCOMES | {"deferred", "absent", "not_tried"}
    assert sorted(listed - said) == []


def test_the_playbooks_that_it_names_are_there() -> None:
    named = set(re.findall(r"playbooks/(\w+\.yml)", PAGE))
    assert sorted(name for name in named if not (ROOT / "playbooks" / name).is_file()) == []
