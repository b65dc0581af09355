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


def test_hosts_that_common_names_stand_for_are_held_after_an_upgrade(workshop: Workshop) -> None:
    hosts = {"a": "Alone.example", "b": "both.example", "below": "x.cell.example"}
    for number, (identity, host) in enumerate(hosts.items()):
        address = f"IP:198.19.1.{number + 1}"
        workshop.issue_one(identity, names=[address], common_name=host, profile="server")
    workshop.issue_one("c", names=["DNS:c.example"])
    workshop.issue_one("gateway", names=["DNS:gateway.example"])
    for no_host in ("line", "-a.example", "a-.example", "a..example", ".example", "example.", "a b.example"):
        workshop.issue_one(
            f"no{len(no_host)}{no_host[0]}",
            names=["IP:198.19.2.1"],
            shared_names=["IP:198.19.2.1"],
            common_name=no_host,
        )
    # As the older release has issued them, and has held them.
    workshop.sql("UPDATE certificates SET names = ? WHERE identity = 'c'", json.dumps(["DNS:both.example"]))
    workshop.sql("UPDATE certificates SET names = ? WHERE identity = 'gateway'", json.dumps(["DNS:*.cell.example"]))
    make_old(Path(workshop.store.ledger), version=4)
    for name, identity in (("DNS:both.example", "c"), ("DNS:*.cell.example", "gateway"), ("IP:198.19.1.1", "a")):
        workshop.sql(
            "INSERT INTO holders (authority, name, identity, shared) VALUES ('fleet', ?, ?, 0)", name, identity
        )
    workshop.install({"fingerprint": "0" * 64})
    assert workshop.sql("SELECT name, identity, shared FROM holders ORDER BY name, identity") == [
        ("DNS:*.cell.example", "gateway", 2),
        ("DNS:alone.example", "a", 0),
        ("DNS:both.example", "b", 2),
        ("DNS:both.example", "c", 2),
        ("DNS:x.cell.example", "below", 2),
        ("IP:198.19.1.1", "a", 0),
    ]
    taken = workshop.issue_one("d", names=["DNS:alone.example"])
    assert taken["error"]["code"] == "name_held"
