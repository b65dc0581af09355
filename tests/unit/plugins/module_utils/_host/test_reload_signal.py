# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals to the process of a pid file: real processes, and every pid file that must not be believed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host import reload_signal
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.reload import Method, method_of


class Daemon:
    """A process that writes what it was told beside its pid file; C(EXIT) as its argument makes it end at a signal."""

    def __init__(self, folder: Path, *, ends: bool = False) -> None:
        self.pid_file, self.told = folder / "daemon.pid", folder / "told"
        self.told.touch()
        script = "\n".join(
            f"trap 'echo {name} >> {self.told}; {'exit 1' if ends else ':'}' {name}" for name in ("HUP", "USR1")
        )
        # A shell cannot catch what was ignored before it began, as nohup does with SIGHUP.
        heedful = ["env", "--default-signal=HUP,USR1"]
        self.process = subprocess.Popen(
            [*heedful, "sh", "-c", f"{script}\necho $$ > {self.pid_file}\nwhile :; do sleep 0.05; done"]
        )
        while not (self.pid_file.exists() and self.pid_file.read_text()):
            time.sleep(0.01)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_signal, "SETTLE", 0.3)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path)
    yield running
    running.end()


def told(folder: Path, **options: object) -> Method:
    return method_of({"method": "signal", "pid_file": str(folder / "daemon.pid"), **options}, where="x")


@pytest.mark.parametrize("name", ["HUP", "USR1"])
def test_the_process_of_the_pid_file_is_signalled(daemon: Daemon, tmp_path: Path, name: str) -> None:
    method = told(tmp_path, signal=name)
    assert (method.check(), method.note(), method.is_running()) == (None, None, True)
    method.apply()
    assert daemon.told.read_text() == f"{name}\n"


def test_hup_is_what_daemons_expect(daemon: Daemon, tmp_path: Path) -> None:
    told(tmp_path).apply()
    assert daemon.told.read_text() == "HUP\n"


def test_a_daemon_that_ends_at_the_signal_is_an_error(tmp_path: Path) -> None:
    running = Daemon(tmp_path, ends=True)
    try:
        with pytest.raises(HostError, match=r"After the signal SIGHUP the service .* runs no more"):
            told(tmp_path).apply()
    finally:
        running.end()


def spoilt(text: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.write_text(text)

    return spoil


def is_link(path: Path) -> None:
    path.with_name("elsewhere").write_text(path.read_text())
    path.unlink()
    path.symlink_to("elsewhere")


def is_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def is_ours(path: Path) -> None:
    path.write_text(str(os.getpid()))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "does not exist, so the service is down"),
        (spoilt(""), "holds no process number"),
        (spoilt("12 34"), "holds no process number"),
        (spoilt("-1"), "holds no process number"),
        (spoilt("1" * 40), "holds no process number"),
        (spoilt("1\n"), "names process 1, which cannot be the service"),
        (spoilt("0"), "names process 0"),
        (is_ours, "cannot be the service"),
        (spoilt("999999999"), "does not live, so the service is down. Start it"),
        (lambda path: path.chmod(0o666), "everybody may write it"),
        (is_link, "cannot be read"),
        (is_pipe, "no plain file"),
    ],
)
def test_a_pid_file_that_cannot_be_believed_is_an_obstacle(
    daemon: Daemon, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(daemon.pid_file)
    method = told(tmp_path)
    assert said in str(method.check())
    assert method.is_running() is False
    with pytest.raises(HostError, match="SIGHUP could not be sent"):
        method.apply()
    assert daemon.told.read_text() == ""


def test_a_process_that_has_ended_but_was_not_noticed_is_dead(daemon: Daemon, tmp_path: Path) -> None:
    daemon.process.kill()
    time.sleep(0.1)
    assert "does not live" in str(told(tmp_path).check())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_user_cannot_have_processes_of_others_signalled(daemon: Daemon, tmp_path: Path) -> None:
    os.chown(daemon.pid_file, 65534, 65534)
    assert "belongs to user 65534, but names process" in str(told(tmp_path).check())


@pytest.mark.parametrize(
    ("groups", "units"),
    [
        ("0::/system.slice/mosquitto.service\n", ["mosquitto.service"]),
        ("9:name=systemd:/docker/1f/system.slice/nginx.service\n1:cpu:/docker/1f\n", ["nginx.service"]),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", []),
    ],
)
def test_the_unit_of_the_process_is_known_by_its_control_group(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, units: list[str]
) -> None:
    real = Path.read_text
    place = f"/proc/{daemon.process.pid}/cgroup"
    monkeypatch.setattr(Path, "read_text", lambda path, *rest: groups if str(path) == place else real(path, *rest))
    assert told(tmp_path).before_units() == units


def test_a_service_that_is_down_has_no_unit_that_is_known(tmp_path: Path) -> None:
    assert told(tmp_path).before_units() == []
