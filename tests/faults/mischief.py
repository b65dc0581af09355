# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be done to a host of the lab, and is undone when the block ends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..integration.machines import on
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


def settled(target: Target) -> None:
    """Wait until nobody works in a target's store any more; a deploy that was just sent has had the time to begin."""
    time.sleep(2)
    # flock would make a file of a folder that is not there.
    wait_until(target.name, f"[ ! -d {target.store} ] || flock -n {target.store} true")


def kill_deploy(target: Target) -> None:
    """SIGKILL for the process that works in a target's store."""
    holders = f"awk -v inode=:$(stat -c %i {target.store}) 'index($6, inode) {{print $5}}' /proc/locks"
    on(target.name, "sh", "-c", f"kill -9 $({holders})")


@contextmanager
def client_without_anchors() -> Iterator[None]:
    """The client trusts what its distribution trusts, and no longer the fleet's CA."""
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    as_installed = "cat /usr/share/ca-certificates/mozilla/*.crt > /run/as-installed.pem"
    on("client", "sh", "-c", f"{as_installed}; mount --bind /run/as-installed.pem {bundle}")
    try:
        yield
    finally:
        on("client", "umount", bundle)


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
    on("web", "sh", "-c", f"{copy}; mount -t tmpfs -o mode=0755 tmpfs {WEB_FOLDER}; cp -a {ASIDE}/. {WEB_FOLDER}/")
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
def stopped_service() -> Iterator[None]:
    """nginx does not run."""
    on("web", "systemctl", "stop", NGINX)
    try:
        yield
    finally:
        on("web", "systemctl", "start", NGINX)


@contextmanager
def additional_address(host: str, address: str) -> Iterator[None]:
    """A host answers at another address of the lab's network as well."""
    on(host, "ip", "address", "add", f"{address}/24", "dev", "eth0")
    try:
        yield
    finally:
        on(host, "ip", "address", "del", f"{address}/24", "dev", "eth0")


@contextmanager
def without_ssh(host: str) -> Iterator[None]:
    """No connection over ssh, and those that exist are cut."""
    on(host, "sh", "-c", "systemctl stop ssh.service; kill -9 $(pgrep -x sshd) 2>/dev/null || true")
    try:
        yield
    finally:
        on(host, "systemctl", "start", "ssh.service")


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


def _docker(*arguments: str) -> None:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
