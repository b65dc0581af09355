# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units, at a stand-in for systemd that was compared with the real one (252) in the states that it plays."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.reload import Method, method_of

from .stand_in_programs import calls, systemctl


def web(**options: object) -> Method:
    return method_of({"method": "systemd", "name": "web", **options}, where="x")


@pytest.mark.parametrize("action", ["restart", "reload"])
def test_systemd_does_what_it_is_told(programs: Path, action: str) -> None:
    systemctl(programs, user="svc")
    method = web(action=action)
    assert (method.check(), method.note(), method.user(), method.is_running()) == (None, None, "svc", True)
    method.apply()
    assert calls(programs) == [f"{action} web"]


def test_a_failed_unit_is_restarted_even_where_reload_is_meant(programs: Path) -> None:
    systemctl(programs, active="failed")
    method = web(action="reload")
    assert (method.check(), method.note(), method.is_running()) == (None, "the unit 'web' was failed before", True)
    method.apply()
    assert calls(programs) == ["restart web"]


@pytest.mark.parametrize(
    ("state", "said"), [({"load": "not-found"}, "knows no unit 'web'"), ({"active": "inactive"}, "is stopped")]
)
def test_a_unit_that_is_not_there_or_stopped_is_an_obstacle(programs: Path, state: dict[str, str], said: str) -> None:
    systemctl(programs, **state)
    assert said in str(web().check())


def test_a_stopped_unit_is_not_running(programs: Path) -> None:
    systemctl(programs, active="inactive")
    assert web().is_running() is False


def test_a_unit_that_falls_over_is_an_error_although_systemctl_said_yes(programs: Path) -> None:
    systemctl(programs, after="failed", after_sub="failed")
    with pytest.raises(HostError, match=r"is failed \(failed\) after its restart"):
        web().apply()


def test_a_unit_that_systemd_starts_again_and_again_is_not_up(programs: Path) -> None:
    systemctl(programs, after="activating", after_sub="auto-restart")
    with pytest.raises(HostError, match=r"is activating \(auto-restart\) after its restart"):
        web().apply()


def test_a_unit_that_gets_credentials_does_not_read_the_files_itself(programs: Path) -> None:
    systemctl(programs, user="svc", text="LoadCredential=key:/tls/key.pem")
    assert web().user() is None


def test_without_systemd_there_is_another_method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no systemctl" in str(web().check())


def test_a_unit_is_named_in_full_where_units_are_ordered() -> None:
    assert web().before_units() == ["web.service"]
    assert web(name="web@1.service").before_units() == ["web@1.service"]


def test_a_restart_that_hangs_is_given_up_and_repeated_for_the_old_pair(programs: Path) -> None:
    systemctl(programs)
    (programs / "hang").touch()
    method = web(timeout=0.5)
    begin = time.monotonic()
    with pytest.raises(
        HostError, match=r"did not finish its restart within 0\.5 s: it is activating.*journalctl -u web"
    ):
        method.apply()
    assert time.monotonic() - begin < 5
    (programs / "hang").unlink()
    method.apply()
    assert calls(programs) == ["restart web"] * 2


def test_a_reload_that_hangs_is_ended_and_the_way_back_is_a_restart(programs: Path) -> None:
    systemctl(programs, during="reloading")
    with subprocess.Popen(["sleep", "60"]) as command:
        (programs / "control").write_text(str(command.pid))
        (programs / "hang").touch()
        method = web(timeout=0.5, action="reload")
        with pytest.raises(HostError, match=r"did not finish its reload .* Its command was ended"):
            method.apply()
        assert command.wait(5) == -9
    for file in ("hang", "active"):
        (programs / file).unlink()
    (programs / "active").write_text("active")  # as it is once its command has ended
    method.apply()
    assert calls(programs) == ["reload web", "restart web"]


def test_another_process_restarts_what_hangs_in_a_reload(programs: Path) -> None:
    systemctl(programs, active="reloading")
    web(action="reload").apply()
    assert calls(programs) == ["restart web"]
