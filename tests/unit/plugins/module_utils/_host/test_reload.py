# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reload methods. Docker and systemd are stand-ins on the PATH that answer as the real ones do; the lab has those."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.command import run
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.reload import METHODS, method_of


def program(folder: Path, name: str, script: str) -> Path:
    """A command on the PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def docker(folder: Path, **state: Any) -> None:
    """A Docker with one container, web; restarting it makes it run, unless it is broken."""
    broken = state.pop("broken", False)
    mounts = state.pop("mounts", [])
    user = state.pop("user", "")
    answer = [{"State": {"Status": "running", "ExitCode": 0, **state}, "Mounts": mounts, "Config": {"User": user}}]
    (folder / "state.json").write_text(json.dumps(answer))
    answer[0]["State"]["Status"] = "exited" if broken else "running"
    (folder / "after.json").write_text(json.dumps(answer))
    program(
        folder,
        "docker",
        f"""case "$1 $4" in
"inspect web") cat {folder}/state.json;;
inspect*) echo 'Error: No such container' >&2; exit 1;;
"ps "*) echo web; echo db;;
*) echo "$@" >> {folder}/calls; cp {folder}/after.json {folder}/state.json;;
esac""",
    )


def systemctl(folder: Path, *, after: str = "active", load: str = "loaded", user: str = "", **state: str) -> None:
    """A systemd with one unit."""
    active = state.get("active", "active")
    (folder / "active").write_text(active)
    program(
        folder,
        "systemctl",
        f"""case $1 in
show) echo LoadState={load}; echo ActiveState=$(cat {folder}/active); echo User={user};;
cat) echo '{state.get("text", "[Service]")}';;
*) echo "$@" >> {folder}/calls; printf {after} > {folder}/active;;
esac""",
    )


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "podman"}, "no reload method 'podman'"),
        ({"method": "docker"}, "needs the name of the container"),
        ({"method": "docker", "name": "x", "action": "reload"}, "has the actions restart"),
        ({"method": "systemd"}, "needs the name of the unit"),
        ({"method": "systemd", "name": "x", "action": "stop"}, "has the actions restart, reload"),
        ({"method": "command"}, "as a list"),
        ({"method": "command", "command": "reboot"}, "as a list"),
        ({"method": "none", "name": "x"}, "takes no name"),
    ],
)
def test_options_are_checked_before_anything_else(options: dict[str, Any], said: str) -> None:
    with pytest.raises(HostError, match=f"host-1/https: .*{said}"):
        method_of(options, where="host-1/https")


def test_every_method_has_a_name_of_its_own() -> None:
    assert sorted(METHODS) == ["command", "docker", "none", "systemd"]
    assert method_of(None, where="x").check() is None


def test_docker_restarts_a_running_container(programs: Path) -> None:
    docker(programs)
    method = method_of({"method": "docker", "name": "web"}, where="x", files=["/tls/c", "/tls/k", "/tls/.certfleet-x"])
    assert (method.check(), method.note(), method.user()) == (None, None, None)
    method.apply()
    assert calls(programs) == ["restart web"]


@pytest.mark.parametrize(
    ("name", "state", "said"),
    [
        ("nope", {}, r"no container 'nope' on this host \(running: db, web\)"),
        ("web", {"Status": "exited", "ExitCode": 0}, "is exited, and is not started behind your back"),
        ("web", {"Status": "exited", "ExitCode": 137}, "is exited"),
        ("web", {"Status": "created"}, "is created"),
        ("web", {"Status": "paused"}, "is paused"),
    ],
)
def test_a_container_that_is_not_there_or_stopped_is_an_obstacle(
    programs: Path, name: str, state: dict[str, Any], said: str
) -> None:
    docker(programs, **state)
    obstacle = method_of({"method": "docker", "name": name}, where="x", files=["/a/c", "/a/k", "/a/s"]).check()
    assert obstacle is not None
    assert re.search(said, obstacle)


def test_a_container_that_died_by_itself_may_need_just_this(programs: Path) -> None:
    docker(programs, Status="exited", ExitCode=1)
    method = method_of({"method": "docker", "name": "web"}, where="x", files=["/a/c", "/a/k", "/a/s"])
    assert method.check() is None
    assert method.note() == "the container 'web' was exited before (exit code 1)"


def test_a_container_that_does_not_come_back_is_an_error(programs: Path) -> None:
    docker(programs, broken=True)
    with pytest.raises(HostError, match="is exited after its restart"):
        method_of({"method": "docker", "name": "web"}, where="x").apply()


def test_a_container_must_be_able_to_follow_the_links(programs: Path, tmp_path: Path) -> None:
    for folder in ("certs", "private"):
        (tmp_path / folder).mkdir()
    certs, private = tmp_path / "certs", tmp_path / "private"
    apart = [str(certs / "c.pem"), str(private / "k.pem"), str(private / ".certfleet-x")]
    method = {"method": "docker", "name": "web"}
    docker(programs, mounts=[{"Source": str(certs)}, {"Source": str(private)}])
    obstacle = method_of(method, where="x", files=apart).check()
    assert obstacle is not None
    assert f"mounts the folder of {certs}/c.pem, but not {private}" in obstacle
    docker(programs, mounts=[{"Source": str(tmp_path)}])
    assert method_of(method, where="x", files=apart).check() is None
    docker(programs, mounts=[])
    assert method_of(method, where="x", files=apart).check() is None


def test_a_container_without_docker_is_an_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no docker command" in str(method_of({"method": "docker", "name": "web"}, where="x").check())
    assert "no systemctl" in str(method_of({"method": "systemd", "name": "web"}, where="x").check())


@pytest.mark.parametrize(("user", "judged"), [("", None), ("app", None), ("1000:1000", "1000"), ("0", "0")])
def test_a_containers_user_counts_only_as_a_number(programs: Path, user: str, judged: str | None) -> None:
    docker(programs, user=user)
    assert method_of({"method": "docker", "name": "web"}, where="x").user() == judged


@pytest.mark.parametrize("action", ["restart", "reload"])
def test_systemd_does_what_it_is_told(programs: Path, action: str) -> None:
    systemctl(programs, user="svc")
    method = method_of({"method": "systemd", "name": "web", "action": action}, where="x")
    assert (method.check(), method.note(), method.user()) == (None, None, "svc")
    method.apply()
    assert calls(programs) == [f"{action} web"]


def test_a_failed_unit_is_restarted_even_where_reload_is_meant(programs: Path) -> None:
    systemctl(programs, active="failed")
    method = method_of({"method": "systemd", "name": "web", "action": "reload"}, where="x")
    assert (method.check(), method.note()) == (None, "the unit 'web' was failed before")
    method.apply()
    assert calls(programs) == ["restart web"]


@pytest.mark.parametrize(
    ("state", "said"), [({"load": "not-found"}, "knows no unit 'web'"), ({"active": "inactive"}, "is stopped")]
)
def test_a_unit_that_is_not_there_or_stopped_is_an_obstacle(programs: Path, state: dict[str, str], said: str) -> None:
    systemctl(programs, **state)
    assert said in str(method_of({"method": "systemd", "name": "web"}, where="x").check())


def test_a_unit_that_falls_over_is_an_error_although_systemctl_said_yes(programs: Path) -> None:
    systemctl(programs, after="failed")
    with pytest.raises(HostError, match="is failed after its restart"):
        method_of({"method": "systemd", "name": "web"}, where="x").apply()


def test_a_unit_that_gets_credentials_does_not_read_the_files_itself(programs: Path) -> None:
    systemctl(programs, user="svc", text="LoadCredential=key:/tls/key.pem")
    assert method_of({"method": "systemd", "name": "web"}, where="x").user() is None


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
    child = int((tmp_path / "child").read_text())
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_command_cannot_ask(tmp_path: Path) -> None:
    assert run(["sh", "-c", "read answer || echo nobody"], timeout=5).text == "nobody\n"
