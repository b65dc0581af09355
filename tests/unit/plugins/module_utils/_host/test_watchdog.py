# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host does by itself after a run that was killed, with the watchdog's program really run by another Python."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host import transaction
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.generations import Generations
from ansible_collections.certfleet.tls.plugins.module_utils._host.service import Service
from ansible_collections.certfleet.tls.plugins.module_utils._host.transaction import Outcome
from ansible_collections.certfleet.tls.plugins.module_utils._host.watchdog import MARGIN, Places, Settings, Watchdog
from ansible_collections.certfleet.tls.plugins.module_utils._host.watchdog_program import program
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

from .conftest import ADDRESS, Site, served
from .interruption import Killed, struck
from .small_systemd import SmallSystemd
from .tls_service import TlsService


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallSystemd:
    return SmallSystemd(tmp_path / "systemd", monkeypatch)


def renew(site: Site, systemd: SmallSystemd, **changes: Any) -> tuple[Outcome, str]:
    """A whole run under the watchdog's eyes."""
    site.places = systemd.places
    return site.renew(watchdog={"method": "systemd"}, **changes)


def killed_before(site: Site, systemd: SmallSystemd, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends where it calls a method, as a kill would."""

    def die(*_arguments: Any, **_options: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, die)
        with pytest.raises(Killed):
            renew(site, systemd)


def test_a_deploy_that_ends_leaves_nothing_armed(site: Site, service: TlsService, systemd: SmallSystemd) -> None:
    outcome, certificate = renew(site, systemd)
    assert (outcome.outcome, served(site)) == ("installed", certificate)
    assert [call[0] for call in systemd.calls()] == ["systemd-run", "systemctl"]
    assert systemd.is_clean()
    service.stubborn = True
    outcome, _certificate = renew(site, systemd)
    assert (outcome.outcome, served(site)) == ("rolled_back", certificate)
    assert systemd.is_clean()


def test_it_is_armed_before_the_promotion(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = site.served_files()
    killed_before(site, systemd, Generations, "promote", monkeypatch)
    assert site.served_files() == files
    (unit,) = systemd.units()
    text = unit.read_text()
    assert os.readlink(unit) == str(Path(systemd.places.units) / unit.name)
    assert "WantedBy=multi-user.target" in text
    assert "Type=oneshot" in text
    folder = next(Path(systemd.places.state).iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder)] == [0o700, 0o700]
    assert "PRIVATE KEY" not in (folder / "plan.json").read_text()
    (run,) = systemd.calls()
    limit = 120 + 0.6 + 0.2 + MARGIN
    assert f"--on-active={limit:g}s" in run
    assert "--timer-property=AccuracySec=1s" in run


@pytest.mark.parametrize("occasion", ["limit", "boot"])
def test_a_run_that_is_killed_before_its_proof_is_taken_back(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch, occasion: str
) -> None:
    old, files = served(site), site.served_files()
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    assert served(site) != old
    assert site.look()["unfinished"] is True
    (done,) = [systemd.elapse()] if occasion == "limit" else systemd.boot()
    assert done.returncode == 0, done.communicate()
    assert (served(site), site.served_files()) == (old, files)
    assert systemd.is_clean()
    found = site.look()
    assert found["unfinished"] is False
    assert "ended before it was proved" in found["went_back"]["why"]
    assert ("180.8 s" in found["went_back"]["why"]) is (occasion == "limit")
    assert ("is again served" in found["went_back"]["why"]) is (occasion == "limit")
    # The pair waits for another try, which costs no certificate.
    assert found["staged"]["certificate"] is not None
    outcome = site.deploy(site.order(spki=found["staged"]["spki"], certificate=None, verdict="install"))
    assert outcome.outcome == "installed"
    assert site.look()["went_back"] is None


def test_what_an_earlier_run_left_unproved_is_not_what_is_gone_back_to(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = served(site)
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    unproved = served(site)
    service.lives, service.reloads = 0.1, 0
    outcome, _certificate = renew(site, systemd)
    assert (outcome.outcome, outcome.before, outcome.after) == ("rolled_back", unproved, old)
    assert served(site) == old


@pytest.mark.parametrize("occasion", ["limit", "boot"])
@pytest.mark.parametrize(
    "where", [(Generations, "promote"), (Generations, "_point"), (Generations, "prune"), (Watchdog, "disarm")]
)
def test_killed_at_any_step_the_host_is_wholly_old_or_wholly_new(
    site: Site,
    service: TlsService,
    systemd: SmallSystemd,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[Any, str],
    occasion: str,
) -> None:
    files = site.served_files()
    killed_before(site, systemd, *where, monkeypatch)
    is_proved = where[1] in ("prune", "disarm")
    new = site.served_files()
    (done,) = [systemd.elapse()] if occasion == "limit" else systemd.boot()
    assert done.returncode == 0, done.communicate()
    assert site.served_files() == (new if is_proved else files)
    assert (site.look()["went_back"] is None) is (where[1] != "_point")
    assert systemd.is_clean()
    # Useless keys are gone, whoever was in the middle of what.
    generations = [path.name for path in site.store.iterdir() if path.name.isdigit()]
    assert len(generations) == (1 if where[1] != "promote" else 0)
    assert renew(site, systemd)[0].outcome == "installed"


def test_killed_at_a_write_of_a_run_the_watchdog_or_the_next_run_ends_well(
    site: Site, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(TestAuthority("Factory").pair(f"IP:{ADDRESS}"))
    with struck(None) as seen:
        assert renew(site, systemd)[0].outcome == "installed"
    # Each seventh: the other tests of kills go through all of them, without a watchdog.
    for number in range(0, len(seen), 7):
        old = site.served_files()
        staged = site.request()
        order = site.order(spki=staged["spki"], certificate=site.issue(staged), watchdog={"method": "systemd"})
        with struck(number):
            with contextlib.suppress(Killed):
                site.deploy(order)
        new = site.served_files()
        is_proved = new != old and not site.look()["unfinished"]
        for done in systemd.boot() if number % 2 else [systemd.elapse() for _timer in systemd.timers()]:
            assert done.returncode == 0, (number, done.communicate())
        assert site.look()["unfinished"] is False, number
        assert site.served_files() == (new if is_proved else old), number
        assert renew(site, systemd)[0].outcome == "installed", number
        assert systemd.is_clean(), number


def test_it_waits_for_a_run_that_lives(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    store = Generations.of(site.target())
    with store.holding():
        waiting = systemd.elapse(wait=False)
        time.sleep(0.5)
        assert waiting.poll() is None
        new = site.served_files()
        # That run proves it after all.
        store.settle()
    assert waiting.wait(20) == 0
    assert "nothing to put back" in (waiting.communicate()[1])
    assert site.served_files() == new
    assert systemd.is_clean()


def test_at_boot_nothing_waits_for_a_run_and_nothing_is_decided_while_the_limit_runs(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    files = site.served_files()
    with Generations.of(site.target()).holding():
        (done,) = systemd.boot()
    assert done.returncode == 0
    assert site.served_files() == files
    assert systemd.units()


def test_the_next_run_replaces_what_is_armed(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    assert len(systemd.timers()) == len(systemd.units()) == 1
    outcome, certificate = renew(site, systemd)
    assert (outcome.outcome, served(site)) == ("installed", certificate)
    assert systemd.is_clean()


def test_two_certificates_have_a_watchdog_each(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Site(tmp_path / "other", site.authority)
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    assert renew(other, systemd)[0].outcome == "installed"
    assert len(systemd.timers()) == len(systemd.units()) == 1
    killed_before(other, systemd, transaction.Transaction, "_commit", monkeypatch)
    assert len(systemd.timers()) == len(systemd.units()) == 2


@pytest.mark.parametrize("trouble", ["systemd-run", "read-only", "full"])
def test_without_a_watchdog_nothing_is_promoted(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    old, files = served(site), site.served_files()
    if trouble == "systemd-run":
        systemd.fails("systemd-run")
    elif trouble == "read-only":
        Path(systemd.places.units).rmdir()
        Path(systemd.places.units).write_text("no folder")
        monkeypatch.setattr(Watchdog, "obstacle", lambda _self: None)
    else:
        Path(systemd.places.state).write_text("no folder")
    outcome, _certificate = renew(site, systemd)
    assert (outcome.outcome, outcome.touched) == ("failed", False)
    assert "The watchdog could not be armed, so nothing was changed" in outcome.said
    assert (served(site), site.served_files(), service.reloads) == (old, files, 0)
    assert not systemd.timers()
    # What was staged waits for another try, a copy of the key does not.
    assert not [path for path in site.store.iterdir() if path.name.isdigit()]


def test_a_watchdog_that_cannot_be_disarmed_is_told_and_finds_nothing_to_do(
    site: Site, service: TlsService, systemd: SmallSystemd
) -> None:
    systemd.fails("systemctl")
    outcome, certificate = renew(site, systemd)
    assert (outcome.outcome, served(site)) == ("installed", certificate)
    assert "could not be disarmed" in outcome.said
    (Path(systemd.folder) / "state/systemctl fails").unlink()
    assert systemd.elapse().returncode == 0
    assert served(site) == certificate
    assert systemd.is_clean()


def test_a_pair_that_was_the_first_is_taken_out_again(
    site: Site, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    assert None not in site.served_files()
    assert systemd.elapse().returncode == 0
    assert site.served_files() == (None, None)
    assert "took it out again" in site.look()["went_back"]["why"]


def test_a_service_that_does_not_follow_is_told(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = site.served_files()
    reload = tmp_path / "reload"
    reload.write_text(f"#!/bin/sh\nexec touch {service.reload[1]}\n")
    reload.chmod(0o755)
    site.reload = {"method": "command", "command": [str(reload)]}
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    reload.write_text("#!/bin/sh\nexit 7\n")
    assert systemd.elapse().returncode == 0
    assert site.served_files() == old
    assert "exit code 7" in site.look()["went_back"]["why"]
    assert "is not again served" in site.look()["went_back"]["why"]


def test_a_store_that_is_gone_is_nobodys_business(
    site: Site, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed_before(site, systemd, Generations, "promote", monkeypatch)
    site.folder.rename(tmp_path / "away")
    assert systemd.elapse().returncode == 0
    assert systemd.is_clean()
    assert not site.folder.exists()


def test_files_that_cannot_be_put_back_are_tried_again_at_boot(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = site.served_files()
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    marker = site.store / "unfinished"
    text = marker.read_text()
    marker.write_text("{half")
    done = systemd.elapse()
    assert (done.returncode, "tried again when the host starts" in done.communicate()[1]) == (1, True)
    assert systemd.units()
    marker.write_text(text)
    assert [done.returncode for done in systemd.boot()] == [0]
    assert site.served_files() == old


def test_units_that_read_the_pair_at_boot_come_after_it(site: Site, systemd: SmallSystemd) -> None:
    watchdog = Watchdog(str(site.folder / 'a "b" %h $x'), places=systemd.places)
    watchdog.arm(
        {}, b"", limit=5, files=[str(site.folder / "key.pem")], before=["nginx.service", "a b", "x\nExecStart=y"]
    )
    text = systemd.units()[0].read_text()
    assert "Before=nginx.service\n" in text
    assert text.count("ExecStart=") == 1
    assert "%%h" in text
    assert f'RequiresMountsFor="{watchdog.folder}" "{site.folder}"' in text


def test_at_boot_a_service_that_starts_later_is_not_waited_for(
    site: Site, service: TlsService, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before(site, systemd, transaction.Transaction, "_commit", monkeypatch)
    (plan,) = Path(systemd.places.state).glob("*/plan.json")
    plan.write_text(plan.read_text().replace('"method": "command"', '"method": "systemd", "name": "nginx"'))
    plan.write_text(plan.read_text().replace(f'"command": ["touch", "{service.reload[1]}"]', '"action": "restart"'))
    before = len(systemd.calls())
    assert [done.returncode for done in systemd.boot()] == [0]
    assert [call[1] for call in systemd.calls()[before:]] == ["is-active"]
    assert site.look()["went_back"] is not None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"limit": 190}, "Give at least 190.2 s"),
        ({"limit": "soon"}, "is no number"),
        ({"limit": float("nan")}, "Give at least"),
        ({"method": "cron"}, "Choose one of systemd, none"),
        ({"time": 5}, "no field time"),
    ],
)
def test_settings_that_make_no_sense_are_errors(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(HostError, match=said):
        Settings.from_dict(settings, longest=190.2, where="host-1/https")


def test_the_limit_is_what_a_deploy_may_take_and_some_more(site: Site) -> None:
    site.port = 443
    longest = Service.of(site.target(reload={"method": "none", "timeout": 30})).longest()
    assert longest == pytest.approx(30.8)
    assert Settings.from_dict(None, longest=longest, where="x") == Settings("systemd", longest + MARGIN)
    assert Settings.from_dict({"limit": "31", "method": ""}, longest=longest, where="x") == Settings("systemd", 31)


def test_a_host_where_it_cannot_work_is_refused(
    site: Site, systemd: SmallSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def obstacle(**changes: str) -> str:
        return str(Watchdog(str(site.store), places=Places(**{**vars(systemd.places), **changes})).obstacle())

    assert obstacle() == "None"
    assert "tls_certificate_watchdog: none" in obstacle(booted=str(site.folder / "gone"))
    assert "read-only" in obstacle(units=str(site.folder / "gone"))
    assert site.look()["blocked"] is None
    if not os.path.isdir("/run/systemd/system"):
        assert "systemd does not run this host" in str(site.look(watchdog={})["blocked"])
    monkeypatch.setenv("PATH", str(site.folder))
    assert "systemd does not run this host" in obstacle()


def test_the_program_is_made_of_the_sources_of_this_process() -> None:
    import io
    import zipfile

    packed = zipfile.ZipFile(io.BytesIO(program()))
    names = packed.namelist()
    assert program() == program()
    assert "certfleet_watchdog/_host/watchdog_run.py" in names
    assert "certfleet_watchdog/_probe/tls.py" in names
    assert not [name for name in names if "ansible" in name or "_x509" in name]
    source = Path(transaction.__file__).with_name("generations.py").read_text(encoding="utf-8")
    assert packed.read("certfleet_watchdog/_host/generations.py").decode() == source
