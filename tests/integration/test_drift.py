# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way in which the fleet drifts: one run names the reason and repairs it, the next one finds nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .machines import Lab, log_mark, on, requests_since, robot, served
from .playbook import Run, later, site

CERTIFICATE = "/mir_persistence/certificate/cert.pem"
KEY = "/mir_persistence/certificate/key.pem"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def repaired(host: str, *, endpoints: int = 1, **options: Any) -> Run:
    """Run on one host: something changed, all is proved, and a further run has nothing to do."""
    run = site("--diff", limit=host, **options)
    assert run.rc == 0, run.output
    assert run.changed, run.output
    assert run.proved == (endpoints, endpoints)
    again = site(limit=host, **{key: value for key, value in options.items() if key not in ("extra", "environment")})
    assert again.rc == 0, again.output
    assert again.changed == {}
    return run


def pair_matches() -> bool:
    """Whether Fleet's key belongs to its certificate, as openssl sees it."""
    of_certificate = on("fleet", "openssl", "x509", "-in", CERTIFICATE, "-noout", "-pubkey")
    return of_certificate == on("fleet", "openssl", "pkey", "-in", KEY, "-pubout")


def test_certificate_file_deleted(converged: Lab) -> None:
    before = served(converged.endpoint("fleet"))
    on("fleet", "rm", CERTIFICATE)
    run = repaired("fleet")
    assert "installed (missing)" in run.row("fleet")
    assert pair_matches()
    assert served(converged.endpoint("fleet")) != before


def test_key_replaced(converged: Lab) -> None:
    on(
        "fleet",
        "sh",
        "-c",
        f"rm {KEY}; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {KEY} 2>/dev/null",
    )
    run = repaired("fleet")
    assert "key_mismatch" in run.row("fleet")
    assert pair_matches()
    assert converged.endpoint("fleet")["port"] == 443


def test_anchor_gone_from_the_bundle(converged: Lab) -> None:
    root = on("ca", "cat", "/var/lib/certfleet/authorities/fleet/root.pem")
    line = root.splitlines()[1]
    forget = (
        "import re, sys\n"
        f"text = open('{BUNDLE}').read()\n"
        "blocks = re.findall(r'-----BEGIN.+?END CERTIFICATE-----\\n', text, re.S)\n"
        f"open('{BUNDLE}', 'w').write(''.join(block for block in blocks if '{line}' not in block))\n"
    )
    on("client", "python3", "-", given=forget)
    assert line not in on("client", "cat", BUNDLE)
    run = repaired("client", endpoints=0)
    assert "client" in run.changed
    assert line in on("client", "cat", BUNDLE)
    assert converged.endpoints


def test_robot_back_on_its_own_certificate(converged: Lab) -> None:
    robot("robot-1", "factory")
    before = served(converged.endpoint("robot-1"))
    run = repaired("robot-1")
    assert "installed (missing)" in run.row("robot-1")
    assert served(converged.endpoint("robot-1")) != before


def test_traefik_serves_the_old_certificate_although_the_files_are_new(converged: Lab) -> None:
    # The files of an older generation are put back for the time of a restart: Traefik loads them, then the right ones return.
    right = served(converged.endpoint("fleet"))
    folder = "/mir_persistence/certificate"
    script = (
        f"cd {folder} && mkdir /tmp/right && cp -a . /tmp/right/ && rm cert.pem key.pem && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=old -days 9 -keyout key.pem -out cert.pem "
        "2>/dev/null && docker restart fleet_traefik >/dev/null && sleep 3 && rm cert.pem key.pem && "
        "cp -a /tmp/right/cert.pem /tmp/right/key.pem . && rm -r /tmp/right"
    )
    on("fleet", "sh", "-c", script)
    assert served(converged.endpoint("fleet")) != right
    run = repaired("fleet")
    assert "reloaded (not_served)" in run.row("fleet")
    assert served(converged.endpoint("fleet")) == right


@pytest.mark.parametrize("host", ["fleet", "robot-2"])
def test_leaf_in_its_renewal_window(converged: Lab, host: str) -> None:
    before = served(converged.endpoint(host))
    # A leaf of 90 days is due between its 60th and 75th day. Machines of the lab stay in the present.
    run = repaired(host, environment=later(76 * 86400), extra={"tls_clock_limit": "80d"})
    assert "installed (expiring)" in run.row(host)
    assert served(converged.endpoint(host)) != before


@pytest.mark.parametrize(
    ("host", "variable"), [("fleet", "mir_fleet_subject_alt_names"), ("robot-3", "mir_robot_subject_alt_names")]
)
def test_names_changed_in_the_inventory(
    converged: Lab, overlay: Callable[[dict[str, Any]], Path], host: str, variable: str
) -> None:
    endpoint = converged.endpoint(host)
    other = [f"DNS:{host}.plant.example", f"DNS:{host}.new.plant.example", f"IP:{endpoint['address']}"]
    run = repaired(host, overlay=overlay({host: {variable: other}}))
    assert "installed (names_changed)" in run.row(host)
    back = repaired(host)
    assert "installed (names_changed)" in back.row(host)
    assert f"-DNS:{host}.new.plant.example" in back.output


def test_file_modes_changed(converged: Lab) -> None:
    before = served(converged.endpoint("fleet"))
    on("fleet", "chmod", "0644", KEY)
    run = repaired("fleet")
    assert "installed (mode_changed)" in run.row("fleet")
    assert on("fleet", "stat", "-L", "-c", "%a %U", KEY).split() == ["600", "root"]
    assert served(converged.endpoint("fleet")) == before


def test_an_impostor_gets_neither_login_nor_key(converged: Lab) -> None:
    robot("robot-2", "set", "impostor=on")
    try:
        mark = log_mark()
        run = site(limit="mir_robots")
        assert run.failed >= {"robot-2"}
        assert "untrusted" in run.row("robot-2")
        assert run.proved == (len(converged.robots) - 1, len(converged.robots))
        assert [item for item in requests_since(mark) if item["authorization"] or item["method"] == "POST"] == []
    finally:
        robot("robot-2", "unset")
    again = site(limit="robot-2")
    assert (again.rc, again.changed, again.proved) == (0, {}, (1, 1)), again.output
    assert converged.endpoints
