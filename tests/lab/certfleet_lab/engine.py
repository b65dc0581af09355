# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine: started when none runs, stopped by its process id when it was ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from . import places, topology
from .command import output, run
from .docker import docker
from .errors import LabError
from .progress import say
from .waiting import wait_for

# Benchmark addresses (RFC 2544), so that nothing of the lab ever meets a real network.
ARGUMENTS = (
    "dockerd",
    "--bip=198.18.0.1/16",
    "--fixed-cidr=198.18.0.0/16",
    f"--data-root={places.DOCKER_DATA}",
    f"--exec-root={places.ENGINE_EXEC_ROOT}",
    f"--pidfile={places.ENGINE_PID}",
    f"--host=unix://{places.ENGINE_SOCKET}",
)
# What marks a firewall rule as an engine's.
OF_ENGINES = ("DOCKER", "docker0", f" {topology.BRIDGE} ")
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
EMPTY_FIREWALL = {
    "filter": "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n",
    "nat": "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n",
}


def answers() -> bool:
    """Whether an engine, ours or not, answers."""
    if not places.ENGINE_SOCKET.exists() or shutil.which("docker") is None:
        return False
    return docker("version", "--format", "{{.Server.Version}}", timeout=10, check=False).returncode == 0


def our_process() -> int | None:
    """The process id of the engine that a lab (of any checkout) started, if it lives."""
    try:
        pid = int(places.ENGINE_PID.read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if str(places.DOCKER_DATA).encode() in arguments else None


def ensure_running() -> None:
    """Use the engine that runs, or start one."""
    if answers():
        return
    pid = our_process()
    if pid is not None:
        say(f"the engine (process {pid}) does not answer yet")
        if wait_for(lambda: None if answers() else "silent", timeout=15) is None:
            return
        stop()
    _remove_leftovers()
    _remember_firewall()
    _start()


def _start() -> None:
    say("starting the container engine (dockerd)")
    places.RUN.mkdir(mode=0o700, parents=True, exist_ok=True)
    with places.ENGINE_LOG.open("wb") as log:
        process = subprocess.Popen(
            ARGUMENTS, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/"
        )

    def not_up() -> str | None:
        if process.poll() is not None:
            raise LabError(f"dockerd ended with status {process.returncode}. {_log_tail()}")
        return None if answers() else "it does not answer"

    problem = wait_for(not_up, timeout=60)
    if problem is not None:
        raise LabError(f"dockerd was started (process {process.pid}), but {problem} after 60 s. {_log_tail()}")


def _log_tail() -> str:
    last = places.ENGINE_LOG.read_text(errors="replace").splitlines()[-5:]
    return f"The end of {places.ENGINE_LOG}: " + " | ".join(last)


def _remove_leftovers() -> None:
    """A machine whose processes were all ended keeps pid files, sockets and bridges; dockerd trips over them."""
    if our_process() is None:
        places.ENGINE_PID.unlink(missing_ok=True)
    _end_containerd()
    _unmount()
    with contextlib.suppress(FileNotFoundError):
        places.ENGINE_SOCKET.unlink()
    if Path("/sys/class/net/docker0").exists():
        run(["ip", "link", "delete", "docker0"], timeout=10, check=False)


def _end_containerd() -> None:
    """containerd is dockerd's child; it may have outlived a dockerd that was killed."""
    pid_file = places.ENGINE_EXEC_ROOT / "containerd" / "containerd.pid"
    try:
        pid = int(pid_file.read_text())
        mine = str(places.ENGINE_EXEC_ROOT).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        mine = False
    if mine:
        _end(pid, patience=5)
    pid_file.unlink(missing_ok=True)


def _unmount() -> None:
    """Layers, namespaces and the data root itself stay mounted when an engine was killed."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for target in reversed(mounted):
        if any(Path(target).is_relative_to(top) for top in (places.DOCKER_DATA, places.ENGINE_EXEC_ROOT)):
            run(["umount", "--lazy", target], timeout=20, check=False)


def _remove_empty_groups() -> None:
    """Control groups of containers inside a host outlive the host; those without processes can be removed."""
    for folder in sorted(Path("/sys/fs/cgroup").glob("*/docker/**/"), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()


def stop() -> None:
    """Stop the engine if a lab started it, by its process id, and put the firewall back as it was."""
    pid = our_process()
    if pid is None:
        if answers():
            say("the container engine was not started by the lab: left running")
        return
    say(f"stopping the container engine (process {pid})")
    _end(pid, patience=40)
    _remove_leftovers()
    _remove_empty_groups()
    _restore_firewall()
    shutil.rmtree(places.RUN)


def _end(pid: int, *, patience: float) -> None:
    process = Path(f"/proc/{pid}")

    def alive() -> str | None:
        # A child of ours stays as a zombie until it is waited for.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return "alive" if process.exists() else None

    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_for(alive, timeout=patience) is None:
            return
    raise LabError(f"Process {pid} of the container engine cannot be ended. Look at it with `ps {pid}`.")


def _remember_firewall() -> None:
    """The engine writes rules and switches forwarding on; keep what was there before it."""
    saved = places.RUN / "iptables-before"
    if saved.exists():
        return
    places.RUN.mkdir(mode=0o700, parents=True, exist_ok=True)
    rules = output(["iptables-save"], timeout=10).splitlines()
    if any(line.startswith(":DOCKER-USER ") for line in rules):
        # Of an engine that was killed: its rules are not what was there before.
        rules = [line for line in rules if not any(mark in line for mark in OF_ENGINES)]
        rules = [line.replace(":FORWARD DROP", ":FORWARD ACCEPT") for line in rules]
    saved.write_text("".join(f"{line}\n" for line in rules))
    (places.RUN / "ip-forward-before").write_text(IP_FORWARD.read_text())


def _restore_firewall() -> None:
    saved = places.RUN / "iptables-before"
    if not saved.exists():
        return
    rules = saved.read_text()
    rules += "".join(empty for table, empty in EMPTY_FIREWALL.items() if f"*{table}\n" not in rules)
    run(["iptables-restore"], timeout=10, stdin=rules.encode())
    IP_FORWARD.write_text((places.RUN / "ip-forward-before").read_text())
