# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others think of a new certificate: clients with their own trust stores, and Fleet of its robots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .machines import Lab, on, robot, served
from .playbook import Run, run_playbook

Overlay = Callable[[dict[str, Any]], Path]
STORE = "/mir_persistence/certificate/.certfleet-https"
ANCHOR = "/usr/local/share/ca-certificates/certfleet-fleet.crt"
_COUNT = (
    "import json, sqlite3, sys\n"
    "ledger = sqlite3.connect('file:/var/lib/certfleet/ledger.sqlite?mode=ro', uri=True)\n"
    "print(json.dumps(ledger.execute('SELECT count(*) FROM certificates WHERE identity = ?', sys.argv[1:]).fetchone()[0]))\n"
)


def certificates(identity: str) -> int:
    """How many certificates the ledger knows of a machine."""
    return int(json.loads(on("ca", "python3", "-", identity, given=_COUNT)))


def renew(host: str, name: str, *, overlay: Path | None = None, **extra: Any) -> Run:
    """Only the certificates' phase, on one machine whose common name is another than before."""
    wanted = {"mir_robot_hold": 1, "mir_fleet_hold": 1, "mir_robot_common_name": name, "mir_fleet_common_name": name}
    wanted["tls_certificate_views_timeout"] = 6
    return run_playbook(
        "playbooks/certificates.yml", limit=host, overlay=overlay, extra={**wanted, "tls_retry_now": True, **extra}
    )


def generations() -> set[str]:
    """What Fleet's host keeps beside the service's files, without what is staged."""
    return set(on("fleet", "ls", STORE).split()) - {"staged"}


@pytest.fixture
def distrusting_client(converged: Lab) -> Iterator[None]:
    """A client whose operating system does not know the fleet's anchors any more."""
    on("client", "mv", ANCHOR, "/root/anchor.crt")
    on("client", "update-ca-certificates", "--fresh")
    yield
    on("client", "mv", "/root/anchor.crt", ANCHOR)
    on("client", "update-ca-certificates", "--fresh")
    assert converged.endpoints


@pytest.fixture
def moody_fleet(converged: Lab) -> Iterator[None]:
    """A Fleet that loses robot-1 as soon as that has a new certificate."""
    robot("robot-1", "set", "fleet_view_after=unavailable")
    yield
    robot("robot-1", "unset")
    assert converged.endpoints


def test_clients_that_do_not_accept_it_bring_the_previous_pair_back(converged: Lab, distrusting_client: None) -> None:
    endpoint = converged.endpoint("fleet")
    before, known = served(endpoint), certificates("fleet")
    refused = renew("fleet", "not accepted")
    assert refused.rc != 0 and "rolled_back" in refused.output, refused.output
    assert "clients do not accept it: client:" in refused.output
    assert served(endpoint) == before
    assert certificates("fleet") == known + 1
    assert len(generations()) == 2, "the link and what it points to: the pair in place"

    waiting = renew("fleet", "not accepted", tls_retry_now=False)
    assert waiting.rc == 0 and waiting.changed == {}, waiting.output

    on("client", "cp", "/root/anchor.crt", ANCHOR)
    on("client", "update-ca-certificates", "--fresh")
    accepted = renew("fleet", "not accepted")
    assert accepted.rc == 0, accepted.output
    assert certificates("fleet") == known + 1, "the staged pair was used again"
    assert served(endpoint) != before


def test_a_client_that_is_off_leaves_the_previous_pair_until_the_next_run(converged: Lab, overlay: Overlay) -> None:
    endpoint = converged.endpoint("fleet")
    before = served(endpoint)
    done = renew("fleet", "unconfirmed", overlay=overlay({"client": {"ansible_host": "198.19.0.98"}}))
    assert done.rc == 0, done.output
    assert served(endpoint) != before
    assert len(generations()) > 2, "the previous pair is still there"

    confirmed = renew("fleet", "unconfirmed")
    assert confirmed.rc == 0 and confirmed.changed == {}, confirmed.output
    assert len(generations()) == 2


def test_what_fleet_loses_is_kept_and_said(converged: Lab, moody_fleet: None) -> None:
    before = served(converged.endpoint("robot-1"))
    run = renew("robot-1", "lost by fleet")
    assert run.rc != 0 and "robot-1/https: kept:" in run.output, run.output
    assert served(converged.endpoint("robot-1")) != before


def test_what_fleet_loses_is_removed_where_that_is_wanted(converged: Lab, moody_fleet: None) -> None:
    run = renew("robot-1", "lost again", mir_robot_on_failure="remove")
    assert run.rc != 0 and "robot-1/https: removed:" in run.output, run.output
    assert robot("robot-1", "status")["uploaded"] is False
    robot("robot-1", "unset")
    again = renew("robot-1", "found again")
    assert again.rc == 0, again.output
