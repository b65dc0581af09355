# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger answered, as lines for people."""

from __future__ import annotations

from typing import Any

from ansible_collections.certfleet.tls.plugins.filter.inquiry_lines import inquiry_lines

CERTIFICATE: dict[str, Any] = {
    "identity": "robot-1",
    "name": "https",
    "authority": "fleet",
    "profile": "server",
    "names": ["DNS:robot-1.plant.example", "IP:198.19.1.11"],
    "serial": "6335",
    "state": "issued",
    "not_after": "2027-02-20T04:54:02Z",
}


def test_lines_of_all_kinds() -> None:
    deployed = {"outcome": "installed", "at": "2026-11-22T04:54:11Z", "said": ""}
    revoked = {"state": "revoked", "revocation_reason": "superseded", "common_name": "robot-1", "outcome": deployed}
    refusal = {
        "identity": "robot-2",
        "name": "https",
        "code": "name_held",
        "count": 3,
        "first_at": "2026-11-20T02:00:11Z",
        "message": "held by robot-1",
    }
    told = inquiry_lines(
        {
            "certificates": [CERTIFICATE, {**CERTIFICATE, **revoked}, {**CERTIFICATE, "state": "expired"}],
            "refusals": [refusal],
            "exported": {"path": "/root/all.jsonl", "changed": False, "lines": {"certificate": 3, "pin": 4}},
        }
    )
    deploy = "serial 6335 | installed 2026-11-22T04:54:11Z"
    names = "DNS:robot-1.plant.example IP:198.19.1.11"
    assert told == [
        f"robot-1/https | fleet server | {names} | issued, until 2027-02-20T04:54:02Z | serial 6335 | never deployed",
        f"robot-1/https | fleet server | {names} CN:robot-1 | revoked (superseded), until 2027-02-20T04:54:02Z | {deploy}",
        f"robot-1/https | fleet server | {names} | expired, ended 2027-02-20T04:54:02Z | serial 6335 | never deployed",
        "robot-2/https | refused (name_held) 3 times since 2026-11-20T02:00:11Z | held by robot-1",
        "/root/all.jsonl: 7 lines, as before",
        "certificates: 3, refusals: 1",
    ]


def test_nothing_found() -> None:
    assert inquiry_lines({"certificates": [], "refusals": []}) == ["certificates: 0, refusals: 0"]
