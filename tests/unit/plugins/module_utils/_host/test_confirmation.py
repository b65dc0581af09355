# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The previous pair stays until others have proved the new one: then it goes away, or comes back, against a real service."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host import pem
from ansible_collections.certfleet.tls.plugins.module_utils._host.confirmation import Confirmation
from ansible_collections.certfleet.tls.plugins.module_utils._host.generations import Generations
from ansible_collections.certfleet.tls.plugins.module_utils._host.transaction import Outcome, Transaction
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

from .conftest import ADDRESS, Site, served
from .tls_service import TlsService

DISLIKED = "clients do not accept it: client: no such anchor"


def names(site: Site) -> list[str]:
    return sorted(path.name for path in site.store.iterdir())


def confirmation(site: Site, said: str = DISLIKED) -> Confirmation:
    return Confirmation(site.target(said=said), by="this host")


def _die(*_arguments: Any, **_options: Any) -> None:
    raise KeyboardInterrupt


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
    assert (confirmed.before, confirmed.after) == (certificate, certificate)
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


def test_a_later_deploy_keeps_what_was_confirmed_last_and_goes_back_to_what_is_in_place(
    site: Site, service: TlsService
) -> None:
    old, files = served(site), site.served_files()
    renew(site)
    outcome, second = renew(site)
    assert (outcome.unconfirmed, names(site)) == (True, ["0", "2", "current", "proved"])
    service.lives, service.reloads = 0.1, 0
    failing, third = renew(site)
    assert (failing.outcome, failing.unconfirmed, served(site)) == ("rolled_back", True, second)
    assert names(site) == ["0", "2", "current", "proved", "staged"]
    assert site.look()["unconfirmed"] is True
    service.lives = None
    again = site.deploy(site.order(spki=site.look()["staged"]["spki"], certificate=third, keep_previous=True))
    assert (again.outcome, again.unconfirmed, served(site)) == ("installed", True, third)
    assert (confirmation(site).restore().outcome, served(site)) == ("rolled_back", old)
    assert site.served_files() == files


def test_a_later_deploy_that_keeps_nothing_takes_the_pair_in_place_for_good(site: Site, service: TlsService) -> None:
    renew(site)
    outcome, _second = site.renew()
    assert (outcome.unconfirmed, names(site)) == (False, ["2", "current"])


@pytest.mark.parametrize("repair", ["mode", "links"])
def test_a_repair_of_a_pair_that_waits_keeps_what_was_confirmed_last(
    site: Site, service: TlsService, repair: str
) -> None:
    old = served(site)
    _outcome, certificate = renew(site)
    if repair == "mode":
        (site.folder / "key.pem").chmod(0o644)
    else:
        for path in (site.folder / "key.pem", site.folder / "cert.pem"):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
    order = site.order(verdict="install", spki=site.look()["key_spki"], certificate=None, keep_previous=True)
    outcome = site.deploy(order)
    assert (outcome.outcome, outcome.unconfirmed, served(site)) == ("installed", True, certificate)
    assert len(names(site)) == 4
    assert (confirmation(site).restore().outcome, served(site)) == ("rolled_back", old)


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
            assert (outcome.outcome, outcome.unconfirmed, outcome.touched) == ("not_tried", True, False)
            assert "Another run is at work" in outcome.said
    assert served(site) == certificate


@pytest.mark.parametrize("step", ["confirm", "restore"])
@pytest.mark.parametrize("other", ["died before its proof", "proved another pair"])
def test_what_others_say_of_a_pair_says_nothing_of_another_runs(
    site: Site, service: TlsService, step: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _outcome, certificate = renew(site)
    expected = pem.fingerprint(certificate)
    with monkeypatch.context() as patched:
        if other == "died before its proof":
            patched.setattr(Transaction, "_commit", _die)
            with pytest.raises(KeyboardInterrupt):
                renew(site)
            # Even of the very pair: it is not decided yet.
            expected = pem.fingerprint(site.look()["certificate"])
        else:
            renew(site)
    before, files = names(site), site.served_files()
    late = Confirmation(site.target(said=DISLIKED, expected=expected), by="this host")
    outcome = late.confirm() if step == "confirm" else late.restore()
    assert (outcome.outcome, outcome.unconfirmed, outcome.touched) == ("not_tried", True, False)
    assert outcome.said.startswith(f"{DISLIKED}. Another run ")
    assert (names(site), site.served_files()) == (before, files)


def test_the_pair_that_others_have_looked_at_is_the_one_that_goes(site: Site, service: TlsService) -> None:
    _outcome, certificate = renew(site)
    expected = pem.fingerprint(certificate)
    confirmed = Confirmation(site.target(said="client accepted it", expected=expected), by="this host").confirm()
    assert (confirmed.outcome, confirmed.after, confirmed.unconfirmed) == ("installed", certificate, False)


@pytest.mark.parametrize(("begin", "end", "why"), [(-9, -1, "expired"), (1, 9, "not yet valid")])
def test_a_previous_pair_that_nobody_accepts_at_this_time_is_not_put_back(
    site: Site, begin: int, end: int, why: str
) -> None:
    site.put(TestAuthority("Factory").pair(f"IP:{ADDRESS}", not_before=begin, not_after=end))
    with TlsService(site.folder) as running:
        site.port, site.reload = running.port, {"method": "command", "command": running.reload}
        _outcome, certificate = renew(site)
        kept = confirmation(site).restore()
        assert (kept.outcome, kept.unconfirmed, kept.touched) == ("kept", True, False)
        assert "clients would not accept it either" in kept.said
        assert why in kept.said
        assert served(site) == certificate


def test_a_previous_pair_of_ours_that_the_anchors_know_no_more_is_not_put_back(site: Site, service: TlsService) -> None:
    retired, site.authority = site.authority, TestAuthority("Retired")
    site.renew()
    site.authority = retired
    _outcome, certificate = renew(site)
    kept = confirmation(site).restore()
    assert (kept.outcome, kept.unconfirmed, served(site)) == ("kept", True, certificate)
    assert "clients would not accept it either (unable to get local issuer certificate)" in kept.said
    # Where the anchors that we know of accept neither, the former is as good as it was.
    blind = Confirmation(site.target(said=DISLIKED, anchors=TestAuthority("Other").anchors), by="this host")
    assert blind.restore().outcome == "rolled_back"


def test_a_marker_that_cannot_be_read_keeps_nothing(site: Site, service: TlsService) -> None:
    renew(site)
    (site.store / "proved").write_text("{half")
    assert site.look()["unconfirmed"] is False
    assert confirmation(site).restore().outcome == "kept"
