# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys against a real TLS service on loopback: what clients get afterwards, and what is said."""

from __future__ import annotations

import errno
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host import command
from ansible_collections.certfleet.tls.plugins.module_utils._host.endpoint import Endpoint
from ansible_collections.certfleet.tls.plugins.module_utils._host.generations import Generations
from ansible_collections.certfleet.tls.plugins.module_utils._host.reload_command import Command
from ansible_collections.certfleet.tls.plugins.module_utils._host.service import Service
from ansible_collections.certfleet.tls.plugins.module_utils._host.staging import stage
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_bundle
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

from .conftest import ADDRESS, Site, served
from .tls_service import TlsService


def leaves(site: Site) -> list[str]:
    """Names of the generations that are kept."""
    return sorted(path.name for path in site.store.iterdir())


def test_a_new_pair_is_installed_and_proved(site: Site, service: TlsService) -> None:
    before = served(site)
    outcome, certificate = site.renew()
    assert (outcome.outcome, outcome.before, outcome.after) == ("installed", before, certificate)
    assert outcome.proof is not None
    expected = {"by": "this host", "endpoint": f"{ADDRESS}:{service.port}", "ok": True}
    assert expected.items() <= outcome.proof.items()
    assert all(outcome.proof[what] is True for what in ("leaf", "chain", "name", "time"))
    assert served(site) == certificate
    assert service.reloads == 1
    assert leaves(site) == ["1", "current"]
    certificate_file, key_file = site.folder / "cert.pem", site.folder / "key.pem"
    assert str(certificate_file.readlink()) == ".certfleet-https/current/certificate.pem"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(certificate_file.stat().st_mode) == 0o644
    assert [leaf.pem for leaf in parse_bundle(certificate_file.read_text())] == [certificate, site.authority.chain]


def test_a_look_after_an_installation_finds_nothing_wrong(site: Site, service: TlsService) -> None:
    _outcome, certificate = site.renew()
    found = site.look()
    assert found["certificate"] == certificate
    assert found["served"]["trusted"] is True
    assert (found["blocked"], found["staged"], found["unfinished"], found["deviations"]) == (None, None, False, [])


def test_a_service_that_keeps_the_old_certificate_is_rolled_back(site: Site, service: TlsService) -> None:
    old, files = served(site), site.served_files()
    service.stubborn = True
    outcome, _certificate = site.renew()
    assert (outcome.outcome, outcome.before, outcome.after) == ("rolled_back", old, old)
    assert outcome.proof is not None and outcome.proof["ok"] is False
    assert "another certificate" in outcome.said
    assert site.served_files() == files
    assert leaves(site) == ["0", "current", "staged"]


def test_a_rolled_back_pair_stays_staged_and_is_installed_later(site: Site, service: TlsService) -> None:
    service.stubborn = True
    outcome, certificate = site.renew()
    staged = site.look()["staged"]
    assert staged["certificate"] == certificate
    service.stubborn = False
    outcome = site.deploy(site.order(verdict="install", spki=staged["spki"], certificate=None))
    assert outcome.outcome == "installed"
    assert served(site) == certificate


def test_a_service_that_dies_after_its_reload_is_rolled_back(site: Site, service: TlsService) -> None:
    old = served(site)
    service.lives = 0.1
    outcome, _certificate = site.renew()
    assert outcome.outcome == "rolled_back"
    assert "no more" in outcome.said
    assert served(site) == old


def test_a_reload_that_fails_puts_the_old_pair_back(site: Site, service: TlsService, tmp_path: Path) -> None:
    old, files = served(site), site.served_files()
    once = tmp_path / "reload"
    once.write_text(f"#!/bin/sh\ntest -e {once}.again && exec touch {service.reload[1]}\ntouch {once}.again\nexit 3\n")
    once.chmod(0o755)
    site.reload = {"method": "command", "command": [str(once)]}
    outcome, _certificate = site.renew()
    assert outcome.outcome == "rolled_back"
    assert "exit code 3" in outcome.said
    assert (served(site), site.served_files()) == (old, files)


def test_rolled_back_is_not_said_when_the_old_leaf_does_not_come_back(site: Site, service: TlsService) -> None:
    site.reload = {"method": "command", "command": ["false"]}
    site.port = None
    outcome, _certificate = site.renew()
    assert outcome.outcome == "failed" or "With the former files" not in outcome.said
    assert outcome.outcome == "failed"


def test_a_first_pair_that_is_not_proved_is_taken_out_again(site: Site) -> None:
    with TlsService(site.folder, stubborn=True) as running:
        site.port, site.reload = running.port, {"method": "command", "command": running.reload}
        outcome, _certificate = site.renew()
    assert outcome.outcome == "failed"
    assert "There was no pair before, so the files are gone again." in outcome.said
    assert "Nothing was served before." in outcome.said
    assert sorted(path.name for path in site.folder.iterdir()) == [".certfleet-https"]


def test_a_first_pair_is_installed(site: Site) -> None:
    with TlsService(site.folder) as running:
        site.port, site.reload = running.port, {"method": "command", "command": running.reload}
        outcome, certificate = site.renew()
        assert (outcome.outcome, outcome.before, served(site)) == ("installed", None, certificate)


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("other key", "does not belong to the key"),
        ("other name", "mismatch"),
        ("expired", "expired"),
        ("no chain", "unable to get local issuer certificate"),
        ("foreign", "unable to get local issuer certificate"),
        ("key gone", "Neither the staged key nor"),
        ("no anchors", "anchors are not known"),
    ],
)
def test_what_clients_would_refuse_never_reaches_the_service(
    site: Site, service: TlsService, flaw: str, said: str
) -> None:
    old, files = served(site), site.served_files()
    staged = site.request()
    changes: dict[str, Any] = {}
    certificate = site.issue(staged)
    if flaw == "other key":
        certificate = site.authority.pair(f"IP:{ADDRESS}").certificate
    elif flaw == "other name":
        certificate = site.issue(staged, name="DNS:other.example")
    elif flaw == "expired":
        site.put(site.authority.pair(f"IP:{ADDRESS}", not_before=-9, not_after=-1))
        staged = {"spki": site.look()["key_spki"]}
        certificate, changes, files = None, {"verdict": "install"}, site.served_files()
    elif flaw == "no chain":
        changes = {"chain": ""}
    elif flaw == "foreign":
        changes = {"anchors": TestAuthority("Other").anchors}
    elif flaw == "key gone":
        staged = {"spki": "00" * 32}
    else:
        changes = {"anchors": None}
    outcome = site.deploy(site.order(spki=staged["spki"], certificate=certificate, **changes))
    assert outcome.outcome == "failed"
    assert said in outcome.said
    assert "Nothing was changed" in outcome.said
    assert (served(site), site.served_files(), service.reloads) == (old, files, 0)
    assert not outcome.touched


def test_a_stale_service_is_reloaded_with_the_files_as_they_are(site: Site, service: TlsService) -> None:
    pair = site.put(site.authority.pair(f"IP:{ADDRESS}"))
    outcome = site.deploy(site.order(verdict="reload", spki="", certificate=None))
    assert (outcome.outcome, served(site)) == ("reloaded", pair.certificate)


def test_a_service_that_does_not_follow_a_reload_is_reported(site: Site, service: TlsService) -> None:
    site.put(site.authority.pair(f"IP:{ADDRESS}"))
    service.stubborn = True
    outcome = site.deploy(site.order(verdict="reload", spki="", certificate=None))
    assert outcome.outcome == "failed"
    assert "Now another certificate is served" in outcome.said


def test_an_installation_of_the_pair_in_use_mends_links_and_modes(site: Site, service: TlsService) -> None:
    pair = site.put(site.authority.pair(f"IP:{ADDRESS}"))
    (site.folder / "key.pem").chmod(0o644)
    found = site.look()
    assert f"{site.folder}/key.pem has mode 0644, should be 0600" in found["deviations"]
    outcome = site.deploy(site.order(verdict="install", spki=found["key_spki"], certificate=None))
    assert (outcome.outcome, served(site)) == ("installed", pair.certificate)
    assert site.look()["deviations"] == []
    assert service.reloads == 1


def test_modes_alone_are_mended_without_a_restart(site: Site, service: TlsService) -> None:
    _outcome, certificate = site.renew()
    (site.folder / "key.pem").chmod(0o644)
    outcome = site.deploy(site.order(verdict="install", spki=site.look()["key_spki"], certificate=None))
    assert (outcome.outcome, served(site), service.reloads) == ("installed", certificate, 1)
    assert "the service was not disturbed" in outcome.said
    assert site.look()["deviations"] == []


def test_intermediates_have_a_file_of_their_own_where_that_is_wanted(site: Site, service: TlsService) -> None:
    site.where["chain"] = str(site.folder / "chain.pem")
    outcome, certificate = site.renew(prove=None)
    assert outcome.outcome == "installed"
    assert (site.folder / "cert.pem").read_text() == certificate
    assert (site.folder / "chain.pem").read_text() == site.authority.chain
    assert site.look()["chain"] == site.authority.chain


def test_two_runs_at_once_do_not_meet(site: Site, service: TlsService) -> None:
    from ansible_collections.certfleet.tls.plugins.module_utils._host.where import Where

    staged = site.request()
    order = site.order(spki=staged["spki"], certificate=site.issue(staged))
    with Generations("https", Where.from_dict(site.where, where="test"), is_pair=lambda *_paths: True).holding():
        outcome = site.deploy(order)
    assert (outcome.outcome, outcome.touched) == ("not_tried", False)
    assert "Another run is at work" in outcome.said
    assert site.deploy(order).outcome == "installed"


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """The next call finds a full disk; the ones after it find what it has been before."""
    works = getattr(owner, name)

    def failing(*_arguments: Any, **_options: Any) -> Any:
        monkeypatch.setattr(owner, name, works)
        raise FULL

    monkeypatch.setattr(owner, name, failing)


@pytest.mark.parametrize("when", ["reload", "proof"])
def test_whatever_breaks_after_the_promotion_leads_back(
    site: Site, service: TlsService, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, files = served(site), site.served_files()
    fail_once(monkeypatch, *((Command, "apply") if when == "reload" else (Endpoint, "prove")))
    outcome, _certificate = site.renew()
    assert (outcome.outcome, outcome.touched) == ("rolled_back", True)
    assert "No space left" in outcome.said
    assert (served(site), site.served_files(), leaves(site)) == (old, files, ["0", "current", "staged"])


def test_what_breaks_on_the_way_back_is_said(site: Site, service: TlsService, monkeypatch: pytest.MonkeyPatch) -> None:
    files = site.served_files()

    def full(*_arguments: Any, **_options: Any) -> Any:
        raise FULL

    monkeypatch.setattr(Command, "apply", full)
    monkeypatch.setattr(Endpoint, "serves_again", full)
    outcome, _certificate = site.renew()
    assert (outcome.outcome, outcome.touched, site.served_files()) == ("failed", True, files)
    assert "Nothing was changed" not in outcome.said
    assert site.look()["unfinished"] is False


def test_nothing_was_changed_is_not_said_of_a_pair_on_trial(
    site: Site, service: TlsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, Service, "bring_in")
    outcome, certificate = site.renew()
    assert (outcome.outcome, outcome.touched, site.look()["unfinished"]) == ("failed", True, True)
    assert "A pair that is not proved may be in place: the next run decides it." in outcome.said
    assert "Nothing was changed" not in outcome.said
    # Nor is it said of a run that changes nothing because of what an earlier one has left.
    fail_once(monkeypatch, Generations, "add")
    outcome, _certificate = site.renew()
    assert (outcome.outcome, outcome.touched) == ("failed", False)
    assert "Nothing was changed" in outcome.said
    assert (site.served_files()[0] or "").startswith(certificate)


def test_a_reload_that_may_not_be_ended_leads_back(
    site: Site, service: TlsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of sudo: its process is another user's."""
    old, files, started = served(site), site.served_files(), []

    def denied(pid: int, _signal: int) -> None:
        started.append(pid)
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(command, "_LAST", 0.1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", denied)
        site.reload = {"method": "command", "command": ["sleep", "30"], "timeout": 0.2}
        outcome, _certificate = site.renew()
    for pid in set(started):
        os.kill(pid, signal.SIGKILL)
    assert (outcome.outcome, outcome.touched) == ("rolled_back", True)
    assert f"could not be stopped: process {started[0]} goes on." in outcome.said
    assert (served(site), site.served_files()) == (old, files)


def test_a_key_is_reused_until_its_pair_is_in_service(site: Site, service: TlsService) -> None:
    first, second = site.request(), site.request(name="DNS:host-1.example")
    assert first["spki"] == second["spki"]
    assert first["csr"] != second["csr"]
    assert site.request(key_type="rsa-2048")["spki"] != first["spki"]
    outcome, _certificate = site.renew()
    assert outcome.outcome == "installed"
    assert site.request()["spki"] != site.look()["key_spki"]


def test_staged_key_that_somebody_else_may_have_is_not_used_again(site: Site) -> None:
    first = site.request()["spki"]
    assert stage(site.target(), avoid=["00" * 32])["spki"] == first
    assert stage(site.target(), avoid=[first])["spki"] != first
