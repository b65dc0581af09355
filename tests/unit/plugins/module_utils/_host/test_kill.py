# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that is killed at any operation on files, in a whole deploy with its watchdog, confirmation and going back.

After each kill the service's paths read a wholly old or a wholly new pair, a promotion that nobody has decided has its watchdog
armed, and what follows (the time limit, the next start of the host, the next run) converges and leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host import openssl, transaction, watchdog
from ansible_collections.certfleet.tls.plugins.module_utils._host.command import Ran, run
from ansible_collections.certfleet.tls.plugins.module_utils._host.confirmation import Confirmation
from ansible_collections.certfleet.tls.plugins.module_utils._host.generations import Generations
from ansible_collections.certfleet.tls.plugins.module_utils._host.service import Service
from ansible_collections.certfleet.tls.plugins.module_utils._host.staging import stage
from ansible_collections.certfleet.tls.plugins.module_utils._host.transaction import Outcome, Transaction
from ansible_collections.certfleet.tls.plugins.module_utils._host.watchdog import Places, Watchdog
from ansible_collections.certfleet.tls.plugins.module_utils._host.watchdog_run import fire
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, TestAuthority

from .conftest import ADDRESS
from .killing import killed

Files = tuple["str | None", "str | None"]
NOTHING: Files = (None, None)


@pytest.fixture(scope="module")
def pairs(authority: TestAuthority) -> dict[str, Pair]:
    return {label: authority.pair(f"IP:{ADDRESS}") for label in ("older", "old", "new")}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same questions to openssl about the same files are asked once: some thousand runs are made here."""
    answers: dict[tuple[str, ...], Ran] = {}

    def remembered(argv: Sequence[str], *, stdin: bytes | None = None, **options: Any) -> Ran:
        if "-out" in argv or "req" in argv:
            return run(argv, stdin=stdin, **options)
        texts = [Path(word).read_bytes() if Path(word).is_file() else word.encode() for word in argv]
        key = tuple(hashlib.sha256(text).hexdigest() for text in (*texts, stdin or b""))
        if key not in answers:
            answers[key] = run(argv, stdin=stdin, **options)
        return answers[key]

    monkeypatch.setattr(openssl, "run", remembered)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(transaction, "program", lambda: b"the watchdog's program")
    bring_in = Service.bring_in

    def noted(service: Service, leaf: str, **options: Any) -> tuple[dict[str, Any] | None, str | None]:
        answer = bring_in(service, leaf, **options)
        proved_of(Path(service.store.root)).touch()
        return answer

    monkeypatch.setattr(Service, "bring_in", noted)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that is possible: the disk would take most of the time."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as found:
        yield Path(found)


@pytest.fixture
def host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which hosts are made, and a systemd for all of them that knows the timers that run."""
    timers = folder / "timers"
    timers.mkdir()

    def systemd(argv: Sequence[str], **_options: Any) -> Ran:
        if argv[0] == "systemd-run":
            name = next(word.partition("=")[2] for word in argv if word.startswith("--unit="))
            (timers / f"{name}.timer").touch()
        elif argv[1] == "stop":
            (timers / argv[2]).unlink(missing_ok=True)
        return Ran(tuple(argv), 0 if argv[1] != "is-active" or (timers / argv[-1]).exists() else 3, b"", "")

    monkeypatch.setattr(watchdog, "run", systemd)
    monkeypatch.setattr(watchdog, "is_there", lambda _name: True)
    (folder / "hosts").mkdir()
    return folder / "hosts"


def proved_of(store: Path) -> Path:
    """A file that is there from the proof of a new pair on."""
    return store.parent.parent.with_suffix(".proved")


@dataclass
class Host:
    """One host with one certificate, and all that a run and its watchdog keep on it."""

    base: Path
    authority: TestAuthority
    pairs: dict[str, Pair]
    paths: dict[str, Path] = field(init=False)

    def __post_init__(self) -> None:
        for folder in ("tls", "units", "state"):
            (self.base / folder).mkdir(parents=True)
        self.paths = {"certificate": self.base / "tls/cert.pem", "key": self.base / "tls/key.pem"}
        self.places = Places(str(self.base / "units"), str(self.base / "state"), str(self.base))
        self.watchdog = Watchdog(self.store.root, places=self.places)
        self.plan = Path(self.watchdog.folder, "plan.json")
        self.timer = self.base.parent.parent / "timers" / f"{self.watchdog.name}-limit.timer"

    def wanted(self, **changes: Any) -> dict[str, Any]:
        where = {role: str(path) for role, path in self.paths.items()}
        common = {"identity": "host-1", "name": "https", "where": where, "anchors": self.authority.anchors}
        return {**common, "reload": {"method": "none"}, **changes}

    @property
    def store(self) -> Generations:
        """As a new process sees it."""
        return Generations.of(self.wanted())

    def files(self, label: str) -> Files:
        """What the service's paths read with this pair."""
        pair = self.pairs[label]
        return pair.certificate + pair.chain, pair.key

    def read(self) -> Files:
        certificate, key = (path.read_text() if path.exists() else None for path in self.paths.values())
        return certificate, key

    def put(self, label: str) -> None:
        """Regular files, as an installer leaves them."""
        for path, text in zip(self.paths.values(), self.files(label)):
            path.write_text(text or "")
        self.paths["key"].chmod(0o600)

    def stage(self, label: str) -> None:
        """The key of a pair, as if it had been made here."""
        store = self.store
        with store.holding():
            store.make_staged()
        staged = Path(store.staged_path("key"))
        staged.write_text(self.pairs[label].key)
        staged.chmod(0o600)

    def deploy(self, label: str, **changes: Any) -> Outcome:
        pair = self.pairs[label]
        order = {"verdict": "issue", "spki": pair.leaf.spki, "certificate": pair.certificate}
        return Transaction({**self.wanted(), **order, "chain": pair.chain, **changes}, places=self.places).run()

    def fire(self, *, at_boot: bool) -> None:
        """What the watchdog does, if there is one."""
        if at_boot:
            self.timer.unlink(missing_ok=True)
        if self.plan.exists():
            fire(json.loads(self.plan.read_text()), at_boot=at_boot)

    def leftovers(self) -> list[str]:
        """What is neither the service's links, nor the pair in place, nor the folders that stay."""
        store = Path(self.store.root)
        stays = {store, store / "current", *self.paths.values(), self.base / "units/multi-user.target.wants"}
        stays |= {self.base / folder for folder in ("tls", "units", "state")}
        current = store / (store / "current").readlink() if (store / "current").is_symlink() else None
        found = [path for path in self.base.rglob("*") if current not in (path, path.parent) and path not in stays]
        return sorted(str(path.relative_to(self.base)) for path in found) + [
            timer.name for timer in [self.timer] if timer.exists()
        ]


# What a host is like before, and what is done to it


def regular_files(host: Host) -> None:
    """A service with files of its own."""
    host.put("old")
    host.stage("new")


def ours(host: Host) -> None:
    """A service with a pair of ours."""
    host.put("older")
    host.stage("old")
    assert host.deploy("old").outcome == "installed"
    host.stage("new")


def nothing(host: Host) -> None:
    """A service that has no pair yet."""
    host.stage("new")


def on_trial(host: Host) -> None:
    """A run that has ended between promotion and commit."""
    ours(host)
    once = host.base.with_suffix(".once")
    script = f"test -e {once} || {{ touch {once}; kill -9 $PPID; }}"
    assert killed(lambda: host.deploy("new", reload={"method": "command", "command": ["sh", "-c", script]}), None)
    assert host.store.is_unfinished()


def unconfirmed(host: Host) -> None:
    """A service whose previous pair is kept until others have looked."""
    ours(host)
    assert host.deploy("new", keep_previous=True).unconfirmed


def unconfirmed_again(host: Host) -> None:
    """The same, with a further pair that is due."""
    host.put("older")
    host.stage("old")
    assert host.deploy("old", keep_previous=True).unconfirmed
    host.stage("new")


def install(host: Host) -> None:
    assert host.deploy("new").outcome == "installed"


def install_keeping_previous(host: Host) -> None:
    assert host.deploy("new", keep_previous=True).outcome == "installed"


def install_and_fail(host: Host) -> None:
    assert host.deploy("new", reload={"method": "command", "command": ["false"]}).outcome == "failed"


def install_keeping_previous_and_fail(host: Host) -> None:
    order: dict[str, Any] = {"keep_previous": True, "reload": {"method": "command", "command": ["false"]}}
    assert host.deploy("new", **order).outcome == "failed"


def confirm(host: Host) -> None:
    assert Confirmation(host.wanted(said="Others accept it.")).confirm().outcome == "installed"


def restore(host: Host) -> None:
    assert Confirmation(host.wanted(said="Others do not accept it.")).restore().outcome == "rolled_back"


def go_back_after_the_limit(host: Host) -> None:
    host.fire(at_boot=False)


def request(host: Host) -> None:
    stage(host.wanted(subject_alt_names=[f"IP:{ADDRESS}"]))


# (what it is like, what is done, at how many operations at the least, what comes afterwards besides the next run)
SCENARIOS: list[tuple[Callable[[Host], None], Callable[[Host], None], int, tuple[str, ...]]] = [
    (nothing, install, 70, ("time limit",)),
    (regular_files, install, 90, ("", "time limit")),
    (ours, install, 70, ("", "time limit", "boot")),
    (ours, install_keeping_previous, 70, ("time limit",)),
    (ours, install_and_fail, 70, ("", "time limit")),
    (unconfirmed_again, install_keeping_previous, 70, ("time limit",)),
    (unconfirmed_again, install_keeping_previous_and_fail, 70, ("boot",)),
    (unconfirmed, confirm, 4, ("",)),
    (unconfirmed, restore, 20, ("",)),
    (on_trial, go_back_after_the_limit, 15, ("time limit", "boot")),
    (regular_files, request, 3, ("",)),
]
CASES = [
    pytest.param(start, work, least, then, id=f"{start.__name__}-{work.__name__}{f'-{then}' if then else ''}")
    for start, work, least, afterwards in SCENARIOS
    for then in afterwards
]
MOST = 400


@pytest.mark.parametrize(("start", "work", "least", "afterwards"), CASES)
def test_killed_at_any_operation(
    start: Callable[[Host], None],
    work: Callable[[Host], None],
    least: int,
    afterwards: str,
    host: Path,
    authority: TestAuthority,
    pairs: dict[str, Pair],
) -> None:
    one = Host(host / "host-1", authority, pairs)
    start(one)
    as_it_was = Snapshot(one)
    old = NOTHING if start is nothing else one.files("old")
    is_decided_before = one.read() == one.files("new") and not one.store.is_unfinished()
    number, is_killed = 0, True
    while is_killed and number < MOST:
        proved_of(Path(one.store.root)).unlink(missing_ok=True)
        is_killed = killed(lambda: work(one), number)
        assert_whole(one, old, f"killed before operation {number}")
        if one.read() == one.files("new") and not one.store.is_unfinished():
            assert is_decided_before or proved_of(Path(one.store.root)).exists(), f"operation {number}: not proved"
        if afterwards:
            assert_watchdog_ends_it(one, old, at_boot=afterwards == "boot")
        if start is unconfirmed_again:
            kept = one.store.kept()
            assert kept is not None, f"killed before operation {number}: what others last confirmed is lost"
            assert Path(one.store.path(kept.previous or 0, "key")).read_text() == pairs["older"].key
        assert one.deploy("new").outcome == "installed"
        assert one.read() == one.files("new")
        assert one.leftovers() == [], f"killed before operation {number}"
        as_it_was.restore()
        number += 1
    assert least < number < MOST


class Snapshot:
    """What a host is like, to begin again."""

    def __init__(self, host: Host) -> None:
        self._host, self._copy = host, host.base.with_suffix(".before")
        self._is_ticking = host.timer.exists()
        shutil.copytree(host.base, self._copy, symlinks=True)

    def restore(self) -> None:
        """All of it again."""
        shutil.rmtree(self._host.base)
        shutil.copytree(self._copy, self._host.base, symlinks=True)
        if self._is_ticking:
            self._host.timer.touch()


def assert_whole(host: Host, old: Files, when: str) -> None:
    """Old or new as a whole; and nothing is on trial without a watchdog that ends the trial, now or at the next start."""
    assert host.read() in (old, host.files("new")), when
    if host.store.is_unfinished():
        enabled = host.base / "units/multi-user.target.wants" / f"{host.watchdog.name}.service"
        assert enabled.exists(), when
        assert host.plan.exists(), when
        assert host.timer.exists(), when


def assert_watchdog_ends_it(host: Host, old: Files, *, at_boot: bool) -> None:
    """What was on trial is old again, what was decided stays, and the watchdog is gone."""
    was_armed, was_on_trial, before = host.plan.exists(), host.store.is_unfinished(), host.read()
    host.fire(at_boot=at_boot)
    assert host.read() == (old if was_on_trial else before)
    if was_armed:
        assert host.store.unfinished() is None
        assert not Path(host.watchdog.folder).exists()
        assert list((host.base / "units").rglob("*.service")) == []
        assert not [path for path in host.base.rglob("*") if "certfleet-new" in path.name]
        # A staged key waits for a retry; once it is in service its copy is of no use.
        if host.read() == host.files("new"):
            assert not Path(host.store.staged_folder).exists()
