# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be done to a host of the lab, and is undone when the block ends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..integration.machines import lab_command, on
from .targets import WEB_FOLDER, Target

NGINX = "nginx.service"
ASIDE = "/root/pairs-before-the-fault"


def wait_until(host: str, condition: str, *, timeout: int = 60) -> None:
    """Wait on a host until a shell's test is true; it is asked fifty times a second, on the host itself."""
    script = f"i=0; until {condition}; do i=$((i+1)); [ $i -lt {timeout * 50} ] || exit 1; sleep 0.02; done"
    on(host, "sh", "-c", script)


def wait_for_promotion(target: Target, *, timeout: int = 60) -> None:
    """Wait until the service's paths read a pair that nobody has committed yet."""
    current = f"$(readlink {target.store}/current)"
    wait_until(target.name, f'grep -q "\\"next\\": {current}," {target.store}/unfinished 2>/dev/null', timeout=timeout)


@contextmanager
def new_pair_makes(action: str, *, wish: str, when: str, settings: str = "") -> Iterator[None]:
    """nginx does O(action) (shell) before or after its start (O(when): Pre, Post) when its leaf holds this name."""
    command = f"if openssl x509 -in {WEB_FOLDER}/cert.pem -noout -text | grep -q {wish}; then {action}; fi"
    text = f"[Service]\n{settings}\nExecStart{when}=/bin/sh -c '{command}'\n"
    folder = f"/run/systemd/system/{NGINX}.d"
    on("web", "sh", "-c", f"mkdir -p {folder}; cat > {folder}/fault.conf; systemctl daemon-reload", given=text)
    try:
        yield
    finally:
        on("web", "sh", "-c", f"rm -r {folder}; systemctl daemon-reload")


@contextmanager
def small_disk() -> Iterator[None]:
    """nginx's pairs on a file system of their own, which leave_room() makes small."""
    copy = f"rm -rf {ASIDE}; cp -a {WEB_FOLDER} {ASIDE}"
    on("web", "sh", "-c", f"{copy}; mount -t tmpfs tmpfs {WEB_FOLDER}; cp -a {ASIDE}/. {WEB_FOLDER}/")
    try:
        yield
    finally:
        back = f"find {WEB_FOLDER} -mindepth 1 -delete; cp -a {ASIDE}/. {WEB_FOLDER}/; rm -rf {ASIDE}"
        on("web", "sh", "-c", f"{copy}; umount {WEB_FOLDER}; {back}")


def leave_room(files: int | None) -> None:
    """Room for so many more files on the small disk; None: for all that there may be."""
    used = int(on("web", "df", "--output=iused", WEB_FOLDER).splitlines()[1])
    on("web", "mount", "-o", f"remount,nr_inodes={used + (1000 if files is None else files)}", WEB_FOLDER)


@contextmanager
def read_only() -> Iterator[None]:
    """nginx's pairs cannot be written."""
    on("web", "sh", "-c", f"mount --bind {WEB_FOLDER} {WEB_FOLDER}; mount -o remount,ro,bind {WEB_FOLDER}")
    try:
        yield
    finally:
        on("web", "umount", WEB_FOLDER)


@contextmanager
def firewall(host: str, *rules: str) -> Iterator[None]:
    """Rules of nftables on a host: C('input tcp dport 22 reject with tcp reset'), C('nat …') for locally made connections."""
    chains = {
        "input": "chain input { type filter hook input priority -200; ",
        "nat": "chain nat { type nat hook output priority -200; ",
    }
    text = "table inet fault {\n"
    for chain, head in chains.items():
        chosen = [rule.partition(" ")[2] for rule in rules if rule.startswith(f"{chain} ")]
        text += head + "\n".join(["", *chosen, "}"]) + "\n" if chosen else ""
    on(host, "nft", "-f", "-", given=text + "}\n")
    try:
        yield
    finally:
        on(host, "nft", "delete", "table", "inet", "fault")


def kill_host(host: str) -> None:
    """Every process of the host ends at once."""
    _docker("kill", f"certfleet-{host}")


def boot_host(host: str) -> None:
    """Start it again, and wait until ssh answers."""
    _docker("start", f"certfleet-{host}")
    begin = time.monotonic()
    while on(host, "systemctl", "is-active", "ssh.service", check=False).strip() != "active":
        assert time.monotonic() - begin < 60, f"{host} did not boot"
        time.sleep(0.2)


def repair_lab() -> None:
    """What is amiss after a fault is mended as `make lab-up` does."""
    lab_command("up")


def _docker(*arguments: str) -> None:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
