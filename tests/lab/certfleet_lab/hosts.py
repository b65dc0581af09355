# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts: made, started, repaired, removed. What is well is left alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from . import health, host_files, images, network, places, topology
from .docker import docker, inspect, lines
from .errors import LabError
from .progress import say
from .waiting import side_by_side, wait_for

LAB_LABEL = "certfleet.lab"
CHECKOUT_LABEL = "certfleet.checkout"
RECIPE_LABEL = "certfleet.recipe"
BOOT = 90.0
SYSTEMD_HIERARCHY = Path("/sys/fs/cgroup/systemd")

# --privileged is neither needed nor granted everywhere; these are what systemd and nftables need.
PRIVILEGES = (
    *("--cap-add", "NET_ADMIN", "--cap-add", "SYS_ADMIN"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec,mode=1777"),
    *("--sysctl", "net.ipv6.conf.all.disable_ipv6=0"),
)


@dataclass(frozen=True)
class Container:
    """A container that a lab made."""

    name: str
    lab: str
    checkout: str


def of_labs() -> list[Container]:
    """All containers that labs of any checkout made, running or not."""
    shown = "\t".join(["{{.Names}}", *(f'{{{{.Label "{label}"}}}}' for label in (LAB_LABEL, CHECKOUT_LABEL))])
    listed = lines("ps", "--all", "--filter", f"label={LAB_LABEL}", "--format", shown)
    return [Container(*line.split("\t")) for line in listed]


def remove(names: list[str]) -> None:
    """Remove containers with their volumes."""
    if names:
        docker("rm", "--force", "--volumes", *names, timeout=90)


def remove_of_other_labs(lab: str) -> None:
    """Remove what another checkout, or an earlier lab of this one, left."""
    others = [container for container in of_labs() if container.lab != lab]
    if others:
        checkouts = sorted({container.checkout for container in others})
        say(f"replacing the lab of {', '.join(checkouts)}")
        remove([container.name for container in others])


def ensure(host: topology.Host, *, lab: str) -> None:
    """One host, there and well. Mended in steps: start it, restart its units, build it anew."""
    image = images.ensure_host(host.name)
    found = inspect("container", host.container)
    if found is not None and found["Config"]["Labels"].get(LAB_LABEL) is None:
        raise LabError(
            f"A container {host.container} exists that no lab made. Rename or remove it "
            f"(docker rename {host.container} …), then run lab-up again."
        )
    fresh = False
    if found is None or found["Config"]["Labels"].get(RECIPE_LABEL) != _recipe(host, image):
        if found is not None:
            say(f"{host.name}: its recipe changed")
        _make(host, image, lab=lab)
        fresh = True
    elif not found["State"]["Running"]:
        say(f"{host.name}: stopped, starting it")
        if docker("start", host.container, check=False).returncode != 0:
            _make(host, image, lab=lab)
            fresh = True
    else:
        problem = health.problem_of(host)
        if problem is None:
            return
        say(f"{host.name}: {problem}; restarting its units")
        docker("exec", host.container, "lab-repair", timeout=60, check=False)
    _wait_until_well(host, image, lab=lab, fresh=fresh)


def _wait_until_well(host: topology.Host, image: str, *, lab: str, fresh: bool) -> None:
    problem = wait_for(lambda: health.problem_of(host), timeout=BOOT if fresh else BOOT / 4)
    if problem is not None and not fresh:
        say(f"{host.name}: still {problem}; building it anew")
        _make(host, image, lab=lab)
        problem = wait_for(lambda: health.problem_of(host), timeout=BOOT)
    if problem is not None:
        raise LabError(
            f"{host.name} was started but is not well after {BOOT:.0f} s: {problem}. "
            f"Look inside with `python3 tests/lab/lab.py exec {host.name} journalctl -b --no-pager`."
        )
    say(f"{host.name}: up")


def _make(host: topology.Host, image: str, *, lab: str) -> None:
    say(f"{host.name}: booting")
    docker("rm", "--force", "--volumes", host.container, timeout=60, check=False)
    docker(
        *("create", "--name", host.container, "--hostname", host.name),
        *("--label", f"{LAB_LABEL}={lab}", "--label", f"{CHECKOUT_LABEL}={places.CHECKOUT}"),
        *("--label", f"{RECIPE_LABEL}={_recipe(host, image)}"),
        *("--ip", host.ipv4, "--ip6", host.ipv6),
        *_arguments(host),
        image,
    )
    docker("cp", "-", f"{host.container}:/", stdin=host_files.archive_for(host))
    docker("start", host.container)


def _arguments(host: topology.Host) -> list[str]:
    arguments = ["--network", topology.NETWORK, *PRIVILEGES, *host.arguments]
    for name, address in topology.names_for_hosts_file():
        arguments += ["--add-host", f"{name}:{address}"]
    if SYSTEMD_HIERARCHY.is_dir():
        # Control groups version 1: systemd needs its hierarchy writable. Not in a namespace of its own: there it would
        # take the top of the hierarchy for its own, as would the next host's, and each would tidy up the others' groups.
        arguments += ["--cgroupns=host", "--volume", f"{SYSTEMD_HIERARCHY}:{SYSTEMD_HIERARCHY}:rw"]
    else:
        arguments.append("--cgroupns=private")
    return arguments


def _recipe(host: topology.Host, image: str) -> str:
    devices = repr(topology.DEVICES) if host is topology.GATEWAY else ""
    logins = "".join(path.read_text() for path in sorted(places.LOGINS.glob("*.json"))) if devices else ""
    parts = " ".join((image, host.ipv4, host.ipv6, *_arguments(host), devices, logins))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def ensure_all(*, lab: str) -> None:
    """The network and all hosts, side by side."""
    remove_of_other_labs(lab)
    if not network.is_right():
        remove([container.name for container in of_labs()])
        network.make()
    network.ensure_routes()
    images.clear_work()
    images.ensure_machine()
    side_by_side(lambda host: ensure(host, lab=lab), topology.HOSTS)
