# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that read their files again at a signal, found by their pid file."""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

from .errors import HostError
from .reload_method import Method

SIGNALS = ("HUP", "USR1", "USR2")
_MOST = 64
# A daemon that cannot live with its new files has ended by then.
SETTLE = 1.0


class Signal(Method):
    """A signal to the process of a pid file."""

    NAME = "signal"
    OPTIONS = frozenset({"pid_file", "signal"})
    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def validate(self, *, where: str) -> None:
        """A plain path, and a signal at which daemons read their files."""
        self.pid_file = str(self.options.get("pid_file") or "")
        if not os.path.isabs(self.pid_file) or os.path.normpath(self.pid_file) != self.pid_file:
            raise HostError(
                f"{where}: the reload method 'signal' needs the daemon's pid file as an absolute path. Write reload:"
                " {pid_file: /run/….pid}."
            )
        name = str(self.options.get("signal", SIGNALS[0]))
        if name not in SIGNALS:
            raise HostError(
                f"{where}: the signal '{name}' is not one at which daemons read their files. Choose one of"
                f" {', '.join(SIGNALS)}."
            )
        self.signal = signal.Signals[f"SIG{name}"]

    def obstacle(self) -> str | None:
        """The pid file names a living process that may be meant."""
        self._pid()
        return None

    def is_running(self) -> bool | None:
        """Whether the pid file names a living process."""
        return self.check() is None

    def before_units(self) -> list[str]:
        """The unit that the process belongs to, by its control group."""
        try:
            groups = Path(f"/proc/{self._pid()}/cgroup").read_text("utf-8", "replace")
        except (HostError, OSError):
            return []
        found = re.search(r":(?:name=systemd)?:\S*?/([^/\s]+\.service)", groups)
        return [found[1]] if found else []

    def apply(self) -> None:
        """Send it, and see that the daemon lives on."""
        try:
            pid = self._pid()
        except HostError as exc:
            raise HostError(f"The signal {self.signal.name} could not be sent: {exc}") from exc
        try:
            os.kill(pid, self.signal)
        except OSError as exc:
            raise HostError(
                f"The signal {self.signal.name} to process {pid} of {self.pid_file} failed: {exc.strerror}. Look"
                " whether the service runs; run with become."
            ) from exc
        self.sleep(min(SETTLE, self.timeout))
        try:
            self._pid()
        except HostError as exc:
            raise HostError(
                f"After the signal {self.signal.name} the service of {self.pid_file} runs no more: {exc}"
            ) from exc

    def _pid(self) -> int:
        """The process to signal. Raises HostError that says what is wrong with the pid file, and the next step."""
        text, owner = self._read()
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise HostError(
                f"the pid file {self.pid_file} holds no process number. Restart the service, or correct reload.pid_file."
            )
        pid = int(text)
        if pid <= 1 or pid in (os.getpid(), os.getppid()):
            raise HostError(
                f"the pid file {self.pid_file} names process {pid}, which cannot be the service. Look what wrote it."
            )
        user = _user_of(pid)
        if user is None:
            raise HostError(
                f"the process {pid} of {self.pid_file} does not live, so the service is down. Start it, or correct"
                " reload.pid_file."
            )
        if owner not in (0, os.geteuid(), user):
            raise HostError(
                f"the pid file {self.pid_file} belongs to user {owner}, but names process {pid} of user {user}: whoever"
                " may write it chooses who is signalled. Look what wrote it, or use another reload method."
            )
        return pid

    def _read(self) -> tuple[str, int]:
        """(text, owner) of the pid file, which nobody else may write."""
        try:
            # A link or pipe in its place would be a way to have any process signalled, or to make us wait.
            descriptor = os.open(self.pid_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as exc:
            why = "does not exist, so the service is down" if isinstance(exc, FileNotFoundError) else "cannot be read"
            raise HostError(
                f"the pid file {self.pid_file} {why} ({exc.strerror}). Start the service, or correct reload.pid_file."
            ) from exc
        with os.fdopen(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & stat.S_IWOTH:
                raise HostError(
                    f"the pid file {self.pid_file} is no plain file, or everybody may write it. Correct it, or use"
                    " another reload method."
                )
            return stream.read(_MOST).decode("ascii", "replace").strip(), found.st_uid


def _user_of(pid: int) -> int | None:
    """The user of a process; None when it does not live, or has ended and only waits to be noticed."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
        return None if state in "ZX" else os.stat(f"/proc/{pid}").st_uid
    except (OSError, IndexError):
        return None
