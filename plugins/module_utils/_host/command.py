# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs: always a list of arguments, never a shell, never a prompt, never without a time limit."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import HostError

_SAID = 400
# Seconds in which a killed process is gone.
_LAST = 5.0


class TimedOutError(HostError):
    """A program did not end in time, and was ended with all that it had started."""


@dataclass(frozen=True)
class Ran:
    """What a program answered. C(out) is bytes, since some of it is DER."""

    argv: tuple[str, ...]
    rc: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode("utf-8", "replace")

    @property
    def said(self) -> str:
        """The end of what it complained about, on one line."""
        lines = [line.strip() for line in (self.err or self.text).splitlines() if line.strip()]
        return (" / ".join(lines[-3:]) or f"exit code {self.rc}, no message")[-_SAID:]


def run(argv: Sequence[str], *, timeout: float = 30, stdin: bytes | None = None) -> Ran:
    """Run a program. Raises HostError when it is not there, TimedOutError when it does not end within O(timeout) seconds.

    Its output goes to files, not pipes: a daemon that a restart leaves behind would hold a pipe open for ever.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write(stdin or b"")
        given.seek(0)
        try:
            # A session of its own: no terminal that it could ask for a passphrase, and a group that can be ended whole.
            process = subprocess.Popen(
                list(argv),
                stdin=given,
                stdout=out,
                stderr=err,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as exc:
            raise HostError(
                f"The command '{argv[0]}' cannot be run: {exc.strerror}. Install it, or correct its path."
            ) from exc
        try:
            rc = _wait(process, timeout=timeout)
        except subprocess.TimeoutExpired as exc:
            raise TimedOutError(
                f"The command '{' '.join(argv)}' did not end within {timeout:g} s{_given_up(process)}"
            ) from exc
        out.seek(0)
        err.seek(0)
        return Ran(tuple(argv), rc, out.read(), err.read().decode("utf-8", "replace"))


def _wait(process: subprocess.Popen[bytes], *, timeout: float) -> int:
    """The exit code, at the moment of its end. With a time limit C(wait) looks again and again, up to 50 ms apart, which for programs
    of a few milliseconds is most of the time. Raises TimeoutExpired.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # a kernel before 5.3, or a Python that was built on one
        return process.wait(timeout=timeout)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(timeout * 1000):
            raise subprocess.TimeoutExpired(process.args, timeout)
    finally:
        os.close(descriptor)
    return process.wait()


def is_there(program: str) -> bool:
    """Whether a program can be found and run."""
    return shutil.which(program) is not None


def _given_up(process: subprocess.Popen[bytes]) -> str:
    """End it, and say whether that was possible: what another user runs (by sudo) is not ours to end, nor to wait for."""
    others = end_whole(process.pid)
    try:
        process.wait(timeout=_LAST)
    except subprocess.TimeoutExpired:
        others = others or [process.pid]
    if not others:
        return " and was stopped."
    named = ", ".join(str(pid) for pid in others)
    return f" and could not be stopped: process {named} goes on. Look at it on the host; another user's takes become."


def end_whole(pid: int) -> list[int]:
    """Kill a process and all that it started and did not let go of, whatever sessions they made for themselves.

    Answers those that are another user's: these may not be ended, and go on.
    """
    # Stopped first, so that none of them starts another one while they are counted.
    family: list[int] = []
    waiting = [pid]
    while waiting:
        member = waiting.pop()
        if member not in family:
            _send(member, signal.SIGSTOP)
            family.append(member)
            waiting += _children(member)
    return [member for member in family if not _send(member, signal.SIGKILL)]


def _children(pid: int) -> list[int]:
    """Its children, and the members of the group that it leads."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name stands in brackets, and may hold anything.
                _state, parent, group = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue  # it has just ended
            if pid in (int(parent), int(group)) and int(entry.name) != pid:
                found.append(int(entry.name))
    return found


def _send(pid: int, number: signal.Signals) -> bool:
    """Whether that was allowed; one that has ended is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True
