# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all reload methods have in common, and commands: real ones, that hang and leave things behind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.command import run
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.reload import METHODS, method_of

from .stand_in_programs import program


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "podman"}, "no reload method 'podman'"),
        ({"method": "docker"}, "needs the name of the container"),
        ({"method": "docker", "project": "x"}, "needs the name of the container, or project and service"),
        ({"method": "docker", "name": "x", "project": "x", "service": "x"}, "needs the name"),
        ({"method": "docker", "name": "-x"}, "no name that Docker knows"),
        ({"method": "docker", "name": "x", "action": "reload"}, "has the actions restart"),
        ({"method": "systemd"}, "needs the name of the unit"),
        ({"method": "systemd", "name": "--all"}, "no name of a unit"),
        ({"method": "systemd", "name": "x", "action": "stop"}, "has the actions restart, reload"),
        ({"method": "command"}, "as a list"),
        ({"method": "command", "command": "reboot"}, "as a list"),
        ({"method": "signal"}, "pid file as an absolute path"),
        ({"method": "signal", "pid_file": "run/x.pid"}, "pid file as an absolute path"),
        ({"method": "signal", "pid_file": "/run/x.pid", "signal": "KILL"}, "the signal 'KILL' is not one"),
        ({"method": "none", "name": "x"}, "takes no name"),
        ({"method": "none", "timeout": "soon"}, "reload.timeout 'soon' is no number"),
        ({"method": "none", "timeout": 0}, "out of bounds"),
        ({"method": "none", "timeout": 86400}, "out of bounds"),
    ],
)
def test_options_are_checked_before_anything_else(options: dict[str, Any], said: str) -> None:
    with pytest.raises(HostError, match=f"host-1/https: .*{said}"):
        method_of(options, where="host-1/https")


def test_every_method_has_a_name_of_its_own() -> None:
    assert sorted(METHODS) == ["command", "docker", "none", "signal", "systemd"]
    nothing = method_of(None, where="x")
    assert (nothing.check(), nothing.note(), nothing.is_running(), nothing.before_units()) == (None, None, None, [])


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_has_a_time_limit(method: str) -> None:
    needed: dict[str, dict[str, Any]] = {
        "docker": {"name": "x"},
        "systemd": {"name": "x"},
        "command": {"command": ["x"]},
        "signal": {"pid_file": "/x"},
        "none": {},
    }
    options = {"method": method, **needed[method]}
    assert method_of(options, where="x").timeout == 120
    assert method_of({**options, "timeout": "7"}, where="x").timeout == 7


def test_a_command_is_looked_for_and_its_words_are_kept(tmp_path: Path) -> None:
    gone = method_of({"method": "command", "command": ["no-such-command"]}, where="x")
    assert "'no-such-command' is not there" in str(gone.check())
    method = method_of(
        {"method": "command", "command": ["sh", "-c", "echo one; echo the cause >&2; exit 3"]}, where="x"
    )
    assert method.check() is None
    with pytest.raises(HostError, match="failed with exit code 3: the cause"):
        method.apply()


def test_a_command_that_leaves_a_daemon_behind_does_not_hang(tmp_path: Path) -> None:
    script = program(tmp_path, "start", "sleep 20 &\necho started")
    assert run([str(script)], timeout=5).text == "started\n"


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = program(tmp_path, "hang", f"sleep 30 & echo $! > {tmp_path}/child\nwait")
    with pytest.raises(HostError, match=r"did not end within 0\.5 s"):
        run([str(script)], timeout=0.5)
    assert not is_alive(int((tmp_path / "child").read_text()))


def is_alive(pid: int) -> bool:
    """Whether a process that was killed is still there after a while: dying takes a moment."""
    stat = Path(f"/proc/{pid}/stat")
    for _attempt in range(100):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        time.sleep(0.02)
    return True


def test_children_in_sessions_of_their_own_do_not_stay_behind(tmp_path: Path) -> None:
    script = program(
        tmp_path,
        "hang",
        f"setsid sh -c 'echo $$ > {tmp_path}/one; sleep 30; :' & sleep 30 & echo $! > {tmp_path}/two; wait",
    )
    method = method_of({"method": "command", "command": [str(script)], "timeout": 0.7}, where="x")
    begin = time.monotonic()
    with pytest.raises(HostError, match=r"did not end within 0\.7 s and was stopped"):
        method.apply()
    assert time.monotonic() - begin < 5
    assert not any(is_alive(int((tmp_path / name).read_text())) for name in ("one", "two"))


@pytest.mark.parametrize(
    ("command", "units"),
    [
        (["/etc/init.d/nginx", "restart"], ["nginx.service"]),
        (["service", "nginx", "restart"], ["nginx.service"]),
        (["service", "--status-all"], []),
        (["/usr/local/bin/nginx", "restart"], []),
    ],
)
def test_the_unit_of_an_init_script_is_known(command: list[str], units: list[str]) -> None:
    assert method_of({"method": "command", "command": command}, where="x").before_units() == units


def test_a_command_cannot_ask(tmp_path: Path) -> None:
    assert run(["sh", "-c", "read answer || echo nobody"], timeout=5).text == "nobody\n"
