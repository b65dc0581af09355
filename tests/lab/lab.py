# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: `lab.py up | down | info | reset | exec`. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import sys

from certfleet_lab import description, docker, engine, hosts, identity, network, packages, places, topology
from certfleet_lab.errors import LabError
from certfleet_lab.lock import machine_lock
from certfleet_lab.progress import say, seconds


def up() -> None:
    """Install what is missing, start what is not running, mend what is broken, leave the rest alone."""
    with machine_lock():
        packages.install_missing()
        engine.ensure_running()
        hosts.ensure_all(lab=identity.ensure())
    members = (*topology.HOSTS, *topology.DEVICES)
    for member in members:
        say(f"  {member.name:<10} {member.ipv4:<14} {member.ipv6}")
    say(f"the lab is up: {len(topology.HOSTS)} hosts, {len(topology.DEVICES)} devices, {seconds():.0f} s")


def reset(names: list[str]) -> None:
    """The hosts as they left the factory; images and keys stay."""
    chosen = [host for host in topology.HOSTS if host.name in names or not names]
    with machine_lock():
        engine.ensure_running()
        lab = identity.ensure()
        ours = {container.name for container in hosts.of_labs()}
        hosts.remove([host.container for host in chosen if host.container in ours])
        if topology.CA in chosen:
            places.ANCHORS.unlink(missing_ok=True)
        hosts.ensure_all(lab=lab)
    say(f"back in the factory's state: {', '.join(host.name for host in chosen)}, {seconds():.0f} s")


def down(*, purge: bool) -> None:
    """Stop and remove everything that lab-up started, whichever checkout did it."""
    with machine_lock():
        if engine.answers():
            hosts.remove([container.name for container in hosts.of_labs()])
            network.remove()
        engine.stop()
        identity.wipe()
        if purge and engine.our_process() is None:
            places.remove_machine_state()
    kept = "nothing is kept" if purge else f"images stay cached in {places.MACHINE} (remove them with `down --purge`)"
    say(f"the lab is down; {kept}")


def info() -> None:
    """One JSON object on standard output."""
    print(json.dumps(description.describe(), indent=2))


def execute(name: str, command: list[str]) -> None:
    """Replace this process by a command inside a host, as root."""
    host = next(host for host in topology.HOSTS if host.name == name)
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    arguments = ["docker", "exec", "--interactive", *terminal, host.container, *(command or ["bash"])]
    os.execvpe("docker", arguments, {**os.environ, **docker.ENGINE})


def parse() -> argparse.Namespace:
    names = [host.name for host in topology.HOSTS]
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help=up.__doc__)
    commands.add_parser("info", help=info.__doc__)
    down_parser = commands.add_parser("down", help=down.__doc__)
    down_parser.add_argument("--purge", action="store_true", help="remove the cached images and downloads as well")
    reset_parser = commands.add_parser("reset", help=reset.__doc__)
    reset_parser.add_argument("hosts", nargs="*", metavar="HOST", help=f"of {', '.join(names)} (default: all)")
    exec_parser = commands.add_parser("exec", help=execute.__doc__)
    exec_parser.add_argument("host", choices=names)
    exec_parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    given = parser.parse_args()
    unknown = sorted(set(getattr(given, "hosts", [])) - set(names))
    if unknown:
        parser.error(f"no host of the lab: {', '.join(unknown)} (there are {', '.join(names)})")
    return given


def main() -> int:
    given = parse()
    # Where dockerd and ip lie, whatever the caller's PATH.
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    try:
        if given.command == "up":
            up()
        elif given.command == "reset":
            reset(given.hosts)
        elif given.command == "down":
            down(purge=given.purge)
        elif given.command == "info":
            info()
        else:
            execute(given.host, given.argv)
    except LabError as exc:
        say(f"ERROR: {exc}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; `make lab-up` goes on from here, `make lab-down` cleans up")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
