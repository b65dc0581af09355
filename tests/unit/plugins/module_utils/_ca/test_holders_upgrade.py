# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that several machines had before the ledger knew who holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .test_ledger import make_old
from .workshop import DAY, Workshop, request


def test_what_several_have_in_an_older_ledger_is_shared_by_them(workshop: Workshop) -> None:
    both, alone, wild = "DNS:line.plant.example", "DNS:a.plant.example", "DNS:*.cell.example"
    below = "DNS:c.cell.example"
    everybody = {"a": [both, alone], "b": [both], "gateway": [wild], "c": [below]}
    for identity, names in everybody.items():
        # As the older release has issued them: it asked nobody.
        workshop.issue_one(identity, names=[f"DNS:{identity}.example"])
        workshop.sql("UPDATE certificates SET names = ? WHERE identity = ?", json.dumps(names), identity)
    make_old(Path(workshop.store.ledger), version=2)
    workshop.now += 80 * DAY

    def renew(*identities: str, **changes: Any) -> list[str]:
        """issued, or the code of the error"""
        asked = [request(identity, names=everybody[identity], **changes) for identity in identities]
        answers = workshop.issue(*asked)["certificates"]
        return [answers[item["id"]].get("error", {"code": "issued"})["code"] for item in asked]

    assert renew(*everybody) == ["issued"] * 4
    shared = dict(workshop.sql("SELECT name || ' ' || identity, shared FROM holders WHERE name LIKE '%._%.example'"))
    assert (shared[f"{both} a"], shared[f"{both} b"], shared[f"{alone} a"]) == (2, 2, 0)
    assert (shared[f"{wild} gateway"], shared[f"{below} c"]) == (2, 2)
    everybody["d"] = [both]
    assert renew("d") == ["name_held"]
    # Who has said that it shares the name must go on saying so.
    assert renew("a", shared_names=[both], common_name="said") == ["issued"]
    assert renew("b", common_name="again") == ["issued"]
    assert renew("a", common_name="unsaid") == ["name_held"]
