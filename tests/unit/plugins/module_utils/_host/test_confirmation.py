# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The previous pair stays until others have proved the new one: then it goes away, or comes back, against a real service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.confirmation import Confirmation
from ansible_collections.certfleet.tls.plugins.module_utils._host.generations import Generations
from ansible_collections.certfleet.tls.plugins.module_utils._host.transaction import Outcome
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

from .conftest import ADDRESS, Site
from .tls_service import TlsService

DISLIKED = "clients do not accept it: client: no such anchor"


@pytest.fixture
def service(site: Site) -> Iterator[TlsService]:
    """A service that runs with a pair of its own from elsewhere."""
    site.put(TestAuthority("Factory").pair(f"IP:{ADDRESS}"))
    with TlsService(site.folder) as running:
        site.port = running.port
        site.reload = {"method": "command", "command": running.reload}
        yield running


def served(site: Site) -> str | None:
    """The leaf that a client gets now."""
    assert site.port
    return look(ADDRESS, site.port, anchors=None).leaf


def names(site: Site) -> list[str]:
    return sorted(path.name for path in site.store.iterdir())


def confirmation(site: Site, said: str = DISLIKED) -> Confirmation:
    return Confirmation(site.target(said=said), by="this host")


def renew(site: Site, **changes: Any) -> tuple[Outcome, str]:
    return site.renew(keep_previous=True, **changes)


def test_the_previous_pair_stays_until_it_is_confirmed(site: Site, service: TlsService) -> None:
    outcome, certificate = renew(site)
    assert (outcome.outcome, outcome.unconfirmed) == ("installed", True)
    assert names(site) == ["0", "1", "current", "proved"]
    found = site.look()
    assert (found["unconfirmed"], found["unfinished"], found["staged"]) == (True, False, None)
    confirmed = confirmation(site, "client accepted it").confirm()
    assert (confirmed.outcome, confirmed.touched, confirmed.unconfirmed) == ("installed", False, False)
    assert (names(site), served(site), service.reloads) == (["1", "current"], certificate, 1)
    assert site.look()["unconfirmed"] is False


def test_what_others_do_not_accept_is_taken_back_and_waits_staged(site: Site, service: TlsService) -> None:
    old, files = served(site), site.served_files()
    _outcome, certificate = renew(site)
    outcome = confirmation(site).restore()
    assert (outcome.outcome, outcome.before, outcome.after) == ("rolled_back", certificate, old)
    assert outcome.said.startswith(f"{DISLIKED}. The previous pair was put back.")
    assert (served(site), site.served_files()) == (old, files)
    assert names(site) == ["0", "current", "staged"]
    staged = site.look()["staged"]
    assert staged["certificate"] == certificate
    again = site.deploy(site.order(spki=staged["spki"], certificate=None, verdict="install"))
    assert (again.outcome, served(site)) == ("installed", certificate)


def test_a_pair_that_was_the_first_is_kept(site: Site) -> None:
    outcome, certificate = renew(site)
    assert (outcome.outcome, outcome.unconfirmed) == ("installed", False)
    with TlsService(site.folder) as running:
        site.port = running.port
        kept = confirmation(site).restore()
        assert (kept.outcome, kept.touched, served(site)) == ("kept", False, certificate)
    assert "There is no earlier pair on this host to go back to" in kept.said


def test_a_service_that_cannot_follow_keeps_the_new_pair(site: Site, service: TlsService) -> None:
    _outcome, certificate = renew(site)
    site.reload = {"method": "command", "command": ["no-such-command"]}
    kept = confirmation(site).restore()
    assert (kept.outcome, kept.unconfirmed, served(site)) == ("kept", True, certificate)
    assert "no-such-command" in kept.said
    site.reload = {"method": "none"}
    assert site.look()["unconfirmed"] is True


def test_rolled_back_is_not_said_when_the_former_leaf_does_not_come_back(site: Site, service: TlsService) -> None:
    renew(site)
    service.stubborn = True
    outcome = confirmation(site).restore()
    assert (outcome.outcome, outcome.touched) == ("failed", True)
    assert "Its certificate is not served again" in outcome.said


def test_a_later_deploy_takes_the_pair_in_place_for_good(site: Site, service: TlsService) -> None:
    renew(site)
    _outcome, second = renew(site)
    assert names(site) == ["1", "2", "current", "proved"]
    service.lives, service.reloads = 0.1, 0
    failing, _third = renew(site)
    assert (failing.outcome, served(site)) == ("rolled_back", second)
    assert names(site) == ["2", "current", "staged"]
    assert site.look()["unconfirmed"] is False


def test_a_reload_keeps_what_waits_for_being_confirmed(site: Site, service: TlsService) -> None:
    renew(site)
    outcome = site.deploy(site.order(verdict="reload", spki="", certificate=None, keep_previous=True))
    assert (outcome.outcome, outcome.unconfirmed) == ("reloaded", True)
    assert names(site) == ["0", "1", "current", "proved"]
    outcome = site.deploy(site.order(verdict="reload", spki="", certificate=None))
    assert (outcome.unconfirmed, names(site)) == (False, ["1", "current"])


@pytest.mark.parametrize("previous", ["half a pair", "the same pair"])
def test_only_another_whole_pair_is_worth_keeping(site: Site, service: TlsService, previous: str) -> None:
    if previous == "half a pair":
        (site.folder / "key.pem").write_text("no key at all")
        outcome, _certificate = renew(site)
    else:
        site.renew()
        (site.folder / "key.pem").chmod(0o644)
        order = site.order(verdict="install", spki=site.look()["key_spki"], certificate=None, keep_previous=True)
        outcome = site.deploy(order)
    assert (outcome.outcome, outcome.unconfirmed) == ("installed", False)
    assert len(names(site)) == 2


def test_another_run_at_work_is_left_alone(site: Site, service: TlsService) -> None:
    _outcome, certificate = renew(site)
    with Generations.of(site.target()).holding():
        for outcome in (confirmation(site).restore(), confirmation(site).confirm()):
            assert outcome.unconfirmed is True
            assert "Another run is at work" in outcome.said
    assert served(site) == certificate


def test_a_marker_that_cannot_be_read_keeps_nothing(site: Site, service: TlsService) -> None:
    renew(site)
    (site.store / "proved").write_text("{half")
    assert site.look()["unconfirmed"] is False
    assert confirmation(site).restore().outcome == "kept"
