# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is who in the lab: its id, the operator's SSH key, the hosts' SSH keys, the robots' built-in keys.

All of it is made at the first lab-up of a lab and stays the same until lab-down, also for hosts that are rebuilt: a
device keeps its built-in key through a factory reset.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from pathlib import Path

from . import places, topology
from .command import run
from .errors import LabError
from .progress import say
from .waiting import side_by_side

OF_LAB = places.HOST_KEYS / "lab-id"


def lab_id() -> str | None:
    """The id of this checkout's lab; None when this checkout has none."""
    try:
        return places.LAB_ID.read_text().strip() or None
    except FileNotFoundError:
        return None


def ensure() -> str:
    """Make what is missing; the lab's id. Anything incomplete is made anew, as a new lab."""
    known = lab_id()
    if known is not None and _complete(known):
        return known
    say("making the lab's keys (SSH, built-in certificates of the robots)")
    wipe()
    for folder in (places.SSH_KEY.parent, places.SPKI):
        folder.mkdir(parents=True)
    places.STATE.chmod(0o700)
    places.HOST_KEYS.mkdir(mode=0o700, parents=True)
    new = str(uuid.uuid4())
    _ssh_key(places.SSH_KEY, "operator of the certfleet lab")
    side_by_side(_ssh_host_key, topology.HOSTS)
    side_by_side(_built_in_certificate, topology.DEVICES)
    _write_known_hosts()
    OF_LAB.write_text(f"{new}\n")
    # Last, so that it stands for a complete lab.
    places.LAB_ID.write_text(f"{new}\n")
    return new


def wipe() -> None:
    """Forget this checkout's lab, and the keys of whichever lab the machine holds."""
    for folder in (places.STATE, places.HOST_KEYS):
        shutil.rmtree(folder, ignore_errors=True)


def _complete(known: str) -> bool:
    needed = [
        OF_LAB,
        places.SSH_KEY,
        places.KNOWN_HOSTS,
        *(ssh_host_key(host) for host in topology.HOSTS),
        *(path for device in topology.DEVICES for path in built_in_pair(device)),
        *(places.SPKI / device.name for device in topology.DEVICES),
    ]
    return all(path.is_file() for path in needed) and OF_LAB.read_text().strip() == known


def ssh_host_key(host: topology.Host) -> Path:
    """Where the private SSH host key of a host lies; the public one is beside it (.pub)."""
    return places.HOST_KEYS / f"{host.name}.ssh"


def built_in_pair(device: topology.Device) -> tuple[Path, Path]:
    """Where a device's built-in certificate and key lie."""
    return places.HOST_KEYS / f"{device.name}.cert.pem", places.HOST_KEYS / f"{device.name}.key.pem"


def _ssh_key(path: Path, comment: str) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], timeout=20)


def _ssh_host_key(host: topology.Host) -> None:
    _ssh_key(ssh_host_key(host), host.name)


def _write_known_hosts() -> None:
    lines = []
    for host in topology.HOSTS:
        kind, key = ssh_host_key(host).with_suffix(".ssh.pub").read_text().split()[:2]
        lines.append(f"{host.name},{host.name}.{topology.DOMAIN},{host.ipv4},{host.ipv6} {kind} {key}\n")
    places.KNOWN_HOSTS.write_text("".join(lines))


def _built_in_certificate(device: topology.Device) -> None:
    """A self-signed certificate as such products make them: no names, valid for twenty years."""
    certificate, key = built_in_pair(device)
    run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7300"),
            *("-subj", f"/O=Mobile Industrial Robots/CN={device.name} built-in"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        timeout=30,
    )
    key.chmod(0o600)
    public = run(["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"], timeout=20).stdout
    (places.SPKI / device.name).write_text(f"{hashlib.sha256(public).hexdigest()}\n")


def login(device: topology.Device) -> tuple[str, str]:
    """User name and password of a device's REST API, from the lab's inventory."""
    group, prefix = {"mir_robot": ("mir_robots", "mir_robot"), "mir_fleet": ("mir_fleet", "mir_fleet")}[device.product]
    path = places.LOGINS / f"{group}.json"
    try:
        values = json.loads(path.read_text())
        return values[f"{prefix}_username"], values[f"{prefix}_password"]
    except (OSError, ValueError, KeyError) as exc:
        raise LabError(
            f"The login of {device.name} cannot be read from {path}: {exc}. It needs {prefix}_username and "
            f"{prefix}_password; restore it with git."
        ) from exc
