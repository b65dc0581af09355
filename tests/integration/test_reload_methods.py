# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each reload method with a real service: predicted, applied, left alone, and repaired when the service is stale.

nginx on host `web` for all but Docker; for that, two containers on host `fleet` with the labels that compose gives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .machines import Lab, lab_command, on, served
from .playbook import Run, run_playbook

METHODS = {
    "systemd-reload": {"method": "systemd", "name": "nginx", "action": "reload"},
    "systemd-restart": {"method": "systemd", "name": "nginx", "action": "restart"},
    "init-script": {"method": "command", "command": ["/etc/init.d/nginx", "reload"]},
    "signal": {"method": "signal", "pid_file": "/run/nginx.pid", "signal": "HUP"},
}
REPLICAS = {"plant-portal-1": 8443, "plant-portal-2": 8444}


@dataclass(frozen=True)
class Service:
    """A service of the lab that reads cert.pem and key.pem in a folder."""

    host: str
    folder: str
    address: str
    ports: tuple[int, ...]
    reload: str

    def served(self) -> set[str]:
        """Fingerprints of what its ports serve."""
        return {served({"address": self.address, "port": port, "server_name": self.address}) for port in self.ports}

    def installed(self) -> str:
        """Fingerprint of the certificate on disk."""
        path = f"{self.folder}/cert.pem"
        shown = on(self.host, "openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256")
        return shown.strip().partition("=")[2]

    def is_a_pair(self) -> bool:
        """Whether the key on disk belongs to the certificate on disk."""
        of_certificate = on(self.host, "openssl", "x509", "-in", f"{self.folder}/cert.pem", "-noout", "-pubkey")
        return of_certificate == on(self.host, "openssl", "pkey", "-in", f"{self.folder}/key.pem", "-pubout")

    def make_stale(self) -> None:
        """Let it load another pair, and put the right files back behind its back."""
        script = (
            f"cd {self.folder} && mv cert.pem cert.right && mv key.pem key.right && openssl req -x509 -newkey ec -pkeyopt "
            "ec_paramgen_curve:P-256 -nodes -subj /CN=stale -days 9 -keyout key.pem -out cert.pem 2>/dev/null && "
            f"{self.reload} && sleep 1 && mv cert.right cert.pem && mv key.right key.pem"
        )
        on(self.host, "sh", "-c", script)

    def run(self, name: str, method: dict[str, Any], *arguments: str, **options: Any) -> Run:
        """Apply the role with a name of its own for each test, so that something is due."""
        certificate = {
            "name": "https",
            "identity": f"{self.host}-{self.ports[0]}",
            "subject_alt_names": [f"DNS:{name}.plant.example", f"IP:{self.address}"],
            "where": {"certificate": f"{self.folder}/cert.pem", "key": f"{self.folder}/key.pem"},
            "reload": method,
            "prove": {"address": self.address, "port": self.ports[0], "hold": 1, "timeout": 4},
        }
        extra = {"target": self.host, "certificate": certificate, **options}
        run = run_playbook("tests/integration/reload_method.yml", *arguments, extra=extra)
        assert run.rc == 0, run.output
        return run


NGINX = Service("web", "/etc/nginx/tls", "198.19.0.50", (443,), "systemctl reload nginx")
PORTAL = Service(
    "fleet", "/srv/plant/tls", "198.19.0.20", tuple(REPLICAS.values()), f"docker restart {' '.join(REPLICAS)}"
)


def said(run: Run) -> dict[str, str]:
    """What the playbook's last task says: verdict, reasons, outcome."""
    words = run.task("Say what became of it").replace('"', " ").split()
    return {key: value for key, equals, value in (word.partition("=") for word in words) if equals}


def main_process() -> str:
    """The process id of nginx's master."""
    return on("web", "cat", "/run/nginx.pid").strip()


def goes_all_the_way(service: Service, name: str, method: dict[str, Any]) -> None:
    """Check mode, apply, apply again, drift, repaired."""
    before = service.served()
    predicted = service.run(name, method, "--check")
    assert predicted.changed, predicted.output
    assert said(predicted)["verdict"] == "issue"
    assert service.served() == before
    applied = service.run(name, method)
    assert said(applied)["outcome"] == "installed", applied.output
    assert service.served() == {service.installed()} != before
    assert service.is_a_pair()
    again = service.run(name, method)
    assert again.changed == {}, again.output
    service.make_stale()
    assert service.served() != {service.installed()}
    repaired = service.run(name, method)
    assert (said(repaired)["reasons"], said(repaired)["outcome"]) == ("not_served", "reloaded"), repaired.output
    assert service.served() == {service.installed()}


@pytest.fixture(scope="module")
def authority(lab: Lab) -> Lab:
    """A CA, and host web with the pair that an administrator made."""
    lab_command("reset", "web")
    done = run_playbook("playbooks/ca.yml")
    assert done.rc == 0, done.output
    return lab


@pytest.fixture
def portal(authority: Lab) -> Iterator[Lab]:
    """Two replicas of a compose service with a self-signed pair."""
    version = on("fleet", "cat", "/opt/mir-fleet/traefik-version").strip()
    labels = "--label com.docker.compose.project=plant --label com.docker.compose.service=portal"
    script = (
        f"mkdir -p {PORTAL.folder} && cd {PORTAL.folder} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
        "-nodes -subj /CN=portal -days 9 -keyout key.pem -out cert.pem 2>/dev/null"
    )
    for name, port in REPLICAS.items():
        script += (
            f" && docker run --detach --name {name} {labels} --publish {port}:443 --volume "
            f"{PORTAL.folder}:/mir_persistence/certificate --volume /opt/mir-fleet/traefik:/etc/traefik:ro traefik:{version}"
        )
    try:
        on("fleet", "sh", "-c", script)
        yield authority
    finally:
        on("fleet", "docker", "rm", "--force", *REPLICAS)
        on("fleet", "rm", "-r", "/srv/plant")


@pytest.mark.usefixtures("authority")
@pytest.mark.parametrize("name", METHODS)
def test_method(name: str) -> None:
    process = main_process()
    goes_all_the_way(NGINX, name, METHODS[name])
    # Only a restart is a new process: the method did what it says, and no more.
    assert (main_process() != process) == (name == "systemd-restart")


@pytest.mark.usefixtures("portal")
def test_all_replicas_of_a_compose_service() -> None:
    goes_all_the_way(PORTAL, "portal", {"method": "docker", "project": "plant", "service": "portal"})


@pytest.mark.usefixtures("authority")
def test_nobody_told_the_service_so_the_old_pair_is_put_back_and_the_new_one_used_later() -> None:
    NGINX.run("before", METHODS["systemd-reload"])
    before = NGINX.served()
    run = NGINX.run("none", {"method": "none"})
    assert said(run)["outcome"] == "rolled_back", run.output
    assert NGINX.served() == {NGINX.installed()} == before
    assert NGINX.is_a_pair()
    later = NGINX.run("none", METHODS["systemd-reload"], tls_retry_now=True)
    assert (said(later)["verdict"], said(later)["outcome"]) == ("install", "installed"), later.output
    assert NGINX.served() == {NGINX.installed()} != before


@pytest.mark.usefixtures("authority")
def test_the_factory_forgets_all_of_it() -> None:
    units = "systemctl list-unit-files --no-legend 'certfleet*'; ls -A /etc/nginx/tls /var/lib | grep -i certfleet"
    lab_command("reset", "web")
    assert on("web", "sh", "-c", units, check=False) == ""
    assert "CN = web" in on("web", "openssl", "x509", "-in", f"{NGINX.folder}/cert.pem", "-noout", "-subject")
    assert on("web", "stat", "-c", "%F", f"{NGINX.folder}/cert.pem", f"{NGINX.folder}/key.pem") == "regular file\n" * 2
    assert NGINX.served() == {NGINX.installed()}
