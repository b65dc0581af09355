# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps what it makes.

MACHINE is shared by all checkouts on a machine: the engine, its images, the lock. STATE belongs to this checkout and
is ignored by git: what Ansible needs to come in, and the public halves of what the robots show.
"""

from __future__ import annotations

import shutil
from pathlib import Path

LAB = Path(__file__).resolve().parent.parent
CHECKOUT = LAB.parent.parent
HOST_RECIPES = LAB / "hosts"
ROBOT_EMULATOR = LAB / "robots"
INVENTORY = CHECKOUT / "inventories" / "lab" / "hosts.yml"
LOGINS = CHECKOUT / "inventories" / "lab" / "group_vars"

STATE = LAB / ".state"
LAB_ID = STATE / "lab-id"
SSH_KEY = STATE / "ssh" / "operator"
KNOWN_HOSTS = STATE / "known_hosts"
SPKI = STATE / "spki"
ANCHORS = STATE / "anchors.pem"

MACHINE = Path("/var/lib/certfleet-lab")
LOCK = MACHINE / "lock"
DOCKER_DATA = MACHINE / "docker"
ENGINE_LOG = MACHINE / "dockerd.log"
DOWNLOADS = MACHINE / "downloads"
# What is being built; emptied at every lab-up, since one that was interrupted leaves its pieces.
WORK = MACHINE / "work"
# What the hosts *are*: their SSH host keys and the robots' built-in keys. They survive the rebuilding of one host, and
# stay out of the checkout, where no private key but the operator's is to be found.
HOST_KEYS = MACHINE / "host-keys"

RUN = Path("/run/certfleet-lab")
ENGINE_PID = RUN / "dockerd.pid"
ENGINE_EXEC_ROOT = RUN / "docker"
ENGINE_SOCKET = Path("/var/run/docker.sock")


def remove_machine_state() -> None:
    """Remove what all checkouts share; the engine must be stopped."""
    for folder in (DOCKER_DATA, DOWNLOADS, WORK):
        shutil.rmtree(folder, ignore_errors=True)
    ENGINE_LOG.unlink(missing_ok=True)
