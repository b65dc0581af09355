# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine must have installed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .command import run
from .errors import LabError
from .progress import say

# program -> Debian's package that brings it
NEEDED = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
}
# Another apt-get may be at work: wait for it.
PATIENT = ("-o", "DPkg::Lock::Timeout=90")
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


def install_missing() -> None:
    """Install, by apt, the packages whose programs are not there."""
    missing = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    if missing:
        install(missing)


def install(names: list[str]) -> None:
    """Install packages from the distribution that apt is configured with."""
    if shutil.which("apt-get") is None:
        raise LabError(
            f"This machine lacks {', '.join(names)} and has no apt-get to install them. "
            "The lab runs on Debian or Ubuntu; install these programs by hand elsewhere."
        )
    say(f"installing {', '.join(names)} (apt)")
    hint = "Check the machine's apt sources and network, then run lab-up again."
    run(["apt-get", *PATIENT, "update", "-q"], timeout=120, env=QUIET, hint=hint)
    # An installation that was interrupted blocks every further one.
    run(["dpkg", "--configure", "-a"], timeout=120, env=QUIET, hint=hint)
    install_now = ["apt-get", *PATIENT, "install", "-q", "-y", "--no-install-recommends", *names]
    run(install_now, timeout=240, env=QUIET, hint=hint)


def mirror() -> str:
    """The address of the distribution's mirror that apt is configured with."""
    for source in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if not source.is_file():
            continue
        for line in source.read_text(errors="replace").splitlines():
            words = line.split("#")[0].split()
            candidates = words[1:] if words[:1] in (["URIs:"], ["deb"]) else []
            for word in candidates:
                if "://" in word and word.rstrip("/").endswith("/debian"):
                    return word
    raise LabError(
        "No Debian mirror was found in /etc/apt/sources.list or /etc/apt/sources.list.d (an address that ends in "
        "/debian). The lab's hosts are made from it: add a deb source for Debian to apt, then run lab-up again."
    )


def python_with_pip() -> str:
    """A Python interpreter that has pip; Debian's is installed when none has."""
    candidates = [sys.executable, shutil.which("python3") or "", "/usr/bin/python3"]
    for candidate in dict.fromkeys(filter(None, candidates)):
        if run([candidate, "-m", "pip", "--version"], timeout=30, check=False).returncode == 0:
            return candidate
    install(["python3-pip"])
    return "/usr/bin/python3"
