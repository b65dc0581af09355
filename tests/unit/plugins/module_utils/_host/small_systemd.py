# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of systemd as the watchdog asks for, as programs on the PATH. Time limits and boots happen when a test says so."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.watchdog import Places

_PROGRAM = """\
import json, os, pathlib, sys

state = pathlib.Path({state!r})
name, argv = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with (state / "calls").open("a") as stream:
    stream.write(json.dumps([name, *argv]) + "\\n")
if (state / f"{{name}} fails").exists():
    sys.exit("it does not want to")
timers = state / "timers"
if name == "systemd-run":
    unit = next(word for word in argv if word.startswith("--unit=")).partition("=")[2]
    if (timers / unit).exists():
        sys.exit(f"Unit {{unit}}.service was already loaded or has a fragment file.")
    (timers / unit).write_text(json.dumps([word for word in argv if not word.startswith("--")]))
elif argv[0] == "stop":
    gone = [(timers / unit.rpartition(".")[0]) for unit in argv[1:]]
    found = [path for path in gone if path.exists()]
    for path in set(found):
        path.unlink()
    sys.exit(0 if len(found) == len(gone) else 5)
elif argv[0] == "is-active":
    sys.exit(0 if (timers / argv[-1].rpartition(".")[0]).exists() else 3)
else:
    sys.exit(f"nothing is known of {{argv}}")
"""


class SmallSystemd:
    """Takes the place of systemctl and systemd-run for as long as a test lasts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name in ("units", "lib", "booted", "bin", "state/timers"):
            (folder / name).mkdir(parents=True)
        self.places = Places(str(folder / "units"), str(folder / "lib/certfleet-watchdog"), str(folder / "booted"))
        text = _PROGRAM.format(state=str(folder / "state"))
        for name in ("systemctl", "systemd-run"):
            program = folder / "bin" / name
            program.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")

    def fails(self, name: str) -> None:
        """From now on this program says no."""
        (self.folder / "state" / f"{name} fails").touch()

    def calls(self) -> list[list[str]]:
        """How systemctl and systemd-run were called."""
        path = self.folder / "state/calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def timers(self) -> list[Path]:
        """Time limits that run."""
        return sorted((self.folder / "state/timers").iterdir())

    def units(self) -> list[Path]:
        """Units that the next boot would start."""
        return sorted((self.folder / "units").glob("multi-user.target.wants/*"))

    def is_clean(self) -> bool:
        """Whether nothing is armed, and nothing of a watchdog is left."""
        places = (Path(self.places.units), Path(self.places.state))
        left = [path for place in places for path in place.rglob("*") if not path.is_dir() or path.is_symlink()]
        return not (left or self.timers())

    def elapse(self, *, wait: bool = True) -> subprocess.Popen[str]:
        """The one time limit is over: what it starts is really run, by a Python that knows nothing of us."""
        (timer,) = self.timers()
        argv = json.loads(timer.read_text())
        timer.unlink()
        return _start(argv, wait=wait)

    def boot(self) -> list[subprocess.Popen[str]]:
        """The host starts anew: time limits are forgotten, what is enabled is really run."""
        for timer in self.timers():
            timer.unlink()
        done = []
        for unit in self.units():
            text = unit.read_text(encoding="utf-8")
            condition = re.search(r"^ConditionPathExists=(.+)$", text, re.MULTILINE)
            started = re.search(r"^ExecStart=(.+)$", text, re.MULTILINE)
            assert condition and started
            if Path(condition[1]).exists():
                done.append(_start(shlex.split(started[1]), wait=True))
        return done


def _start(argv: list[str], *, wait: bool) -> subprocess.Popen[str]:
    # As systemd starts it: nothing of this process's environment but the PATH, which the plan knows as well.
    process = subprocess.Popen(
        argv, env={"PATH": "/usr/bin:/bin"}, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if wait:
        process.wait(60)
    return process
