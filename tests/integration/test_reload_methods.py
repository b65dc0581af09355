# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which a real nginx takes up a new pair: by systemd, its init script, a signal to its pid file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..faults.targets import SERVICE, web
from .machines import Lab, on, served
from .playbook import run_playbook

METHODS: list[tuple[dict[str, Any], bool]] = [
    ({"method": "systemd", "name": "nginx", "action": "restart"}, True),
    ({"method": "systemd", "name": "nginx", "action": "reload"}, False),
    ({"method": "command", "command": ["/etc/init.d/nginx", "reload"]}, False),
    ({"method": "signal", "pid_file": "/run/nginx.pid"}, False),
]


@pytest.mark.parametrize(
    ("reload", "is_restart"), METHODS, ids=["systemd-restart", "systemd-reload", "init-script", "signal"]
)
def test_nginx_serves_the_new_pair(
    converged: Lab, overlay: Callable[[dict[str, Any]], Path], reload: dict[str, Any], is_restart: bool
) -> None:
    target = web()
    variables = target.variables(target.next_wish())
    variables["fault_certificate"]["reload"] = reload
    before, master = served(target.endpoint), on("web", "cat", "/run/nginx.pid")
    run = run_playbook(SERVICE, limit="web", overlay=overlay({"web": variables}), extra={"tls_retry_now": True})
    assert run.rc == 0, run.output
    assert served(target.endpoint) not in ("", before)
    # A reload keeps connections: the process is the same.
    assert (on("web", "cat", "/run/nginx.pid") != master) is is_restart


def test_a_pid_file_without_its_process_stops_the_run_before_anything_is_changed(
    converged: Lab, overlay: Callable[[dict[str, Any]], Path]
) -> None:
    target = web()
    variables = target.variables(target.next_wish())
    variables["fault_certificate"]["reload"] = {"method": "signal", "pid_file": "/run/nobody.pid"}
    before = served(target.endpoint)
    run = run_playbook(SERVICE, limit="web", overlay=overlay({"web": variables}), extra={"tls_retry_now": True})
    assert run.rc != 0
    assert "the pid file /run/nobody.pid does not exist, so the service is down" in " ".join(run.output.split())
    assert served(target.endpoint) == before
