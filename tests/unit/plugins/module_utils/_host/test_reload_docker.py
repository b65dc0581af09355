# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers, by name and as services of a compose project, at a stand-in for Docker."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.reload import Method, method_of

from .stand_in_programs import calls, container, docker, dockers, program

WEB = {"method": "docker", "name": "web"}
SERVICE = {"method": "docker", "project": "plant", "service": "web"}
FILES = ["/tls/c", "/tls/k", "/tls/.certfleet-x"]


def the(options: dict[str, Any], files: list[str] | None = None) -> Method:
    return method_of(options, where="x", files=files or FILES)


def test_docker_restarts_a_running_container(programs: Path) -> None:
    docker(programs)
    method = the(WEB)
    assert (method.check(), method.note(), method.user()) == (None, None, None)
    method.apply()
    assert calls(programs) == ["restart web"]


@pytest.mark.parametrize(
    ("name", "state", "said"),
    [
        ("nope", {}, r"no container 'nope' on this host \(containers that run: db, web\)"),
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
    method = the({**WEB, "name": name})
    obstacle = method.check()
    assert obstacle is not None
    assert re.search(said, obstacle)
    assert not method.is_running()


def test_a_container_that_died_by_itself_may_need_just_this(programs: Path) -> None:
    docker(programs, Status="exited", ExitCode=1)
    method = the(WEB)
    assert (method.check(), method.is_running()) == (None, True)
    assert method.note() == "the container 'web' was exited before (exit code 1)"


def test_a_container_that_does_not_come_back_is_an_error(programs: Path) -> None:
    docker(programs, broken=True)
    with pytest.raises(HostError, match="'web' is exited after its restart"):
        the(WEB).apply()


def test_a_restart_that_hangs_is_given_up(programs: Path) -> None:
    docker(programs)
    (programs / "hang").touch()
    begin = time.monotonic()
    with pytest.raises(HostError, match=r"'docker restart web' did not end within 0\.5 s.*docker logs web"):
        the({**WEB, "timeout": 0.5}).apply()
    assert time.monotonic() - begin < 5


def test_a_container_must_be_able_to_follow_the_links(programs: Path, tmp_path: Path) -> None:
    for folder in ("certs", "private"):
        (tmp_path / folder).mkdir()
    certs, private = tmp_path / "certs", tmp_path / "private"
    apart = [str(certs / "c.pem"), str(private / "k.pem"), str(private / ".certfleet-x")]
    docker(programs, mounts=[{"Source": str(certs)}, {"Source": str(private)}])
    obstacle = the(WEB, apart).check()
    assert obstacle is not None
    assert f"mounts the folder of {certs}/c.pem, but not {private}" in obstacle
    docker(programs, mounts=[{"Source": str(tmp_path)}])
    assert the(WEB, apart).check() is None
    docker(programs, mounts=[])
    assert the(WEB, apart).check() is None


def test_without_docker_there_is_no_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no docker command on this host, so the container 'web'" in str(the(WEB).check())
    assert the(WEB).is_running() is None


def test_a_docker_that_cannot_be_asked_is_an_obstacle(programs: Path) -> None:
    program(programs, "docker", "echo 'permission denied' >&2; exit 1")
    assert "docker cannot be asked for the container 'web': permission denied" in str(the(WEB).check())


@pytest.mark.parametrize(("user", "judged"), [("", None), ("app", None), ("1000:1000", "1000"), ("0", "0")])
def test_a_containers_user_counts_only_as_a_number(programs: Path, user: str, judged: str | None) -> None:
    docker(programs, user=user)
    assert the(WEB).user() == judged


def test_all_replicas_of_a_service_that_run_are_restarted(programs: Path) -> None:
    dockers(
        programs,
        container("plant-web-1"),
        container("plant-web-2", Status="exited", ExitCode=1),
        container("plant-web-3", Status="exited", ExitCode=0),
        container("plant-web-run-1", labels={"com.docker.compose.oneoff": "True"}),
    )
    method = the(SERVICE)
    assert (method.check(), method.is_running()) == (None, True)
    assert method.note() == (
        "the container 'plant-web-2' was exited before (exit code 1); "
        "the container 'plant-web-3' was exited before (exit code 0)"
    )
    method.apply()
    assert calls(programs) == ["restart plant-web-1 plant-web-2"]


def test_a_replica_that_we_restarted_is_brought_back_however_it_ended(programs: Path) -> None:
    dockers(programs, container("plant-web-1"), container("plant-web-2", Status="exited"))
    method = the(SERVICE)
    method.apply()
    dockers(programs, container("plant-web-1", Status="exited"), container("plant-web-2", Status="exited"))
    method.apply()
    assert calls(programs) == ["restart plant-web-1"] * 2


def test_a_service_that_is_not_there_or_stopped_is_an_obstacle(programs: Path) -> None:
    dockers(programs)
    assert "there is no service 'plant/web' on this host (containers that run: db, web)" in str(the(SERVICE).check())
    dockers(programs, container("plant-web-1", Status="exited"))
    assert "'plant/web' is exited, and is not started behind your back" in str(the(SERVICE).check())
    with pytest.raises(HostError, match="none to restart"):
        the(SERVICE).apply()
    dockers(programs, container("plant-web-1"))
    assert "no service 'plant/db'" in str(the({**SERVICE, "service": "db"}).check())


def test_the_engine_starts_before_its_containers_and_is_not_woken(programs: Path) -> None:
    assert the(WEB).before_units() == ["docker.service"]
