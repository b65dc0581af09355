# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Through an SSH jump host, with the C(ssh) command and its C(-W).

A login takes a quarter of a second, and a proof looks once a second, so all connections of one way share a login: the first
ssh leaves a master behind, which the others use over a socket in a private folder. The master is told to exit when the way is
closed. Should this process be killed before, the master ends by itself: a few seconds after its last connection.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence

from .connection import TunnelError, remaining
from .errors import ProbeError
from .http_connect import destination

_LONGEST_SOCKET_PATH = 70  # ssh adds a suffix of 17 characters while it makes it, and the limit is 104 to 108
_MASTER_IDLE = 15
_LOGIN_STEP = 0.01
# First come, first served among ssh's options: nothing that a user or a file adds changes these.
_FIXED = (
    "BatchMode=yes",  # never ask for anything
    "StrictHostKeyChecking=yes",
    "NoHostAuthenticationForLocalhost=no",
    "UpdateHostKeys=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "ClearAllForwardings=yes",
    "ControlMaster=auto",
    f"ControlPersist={_MASTER_IDLE}",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "LogLevel=VERBOSE",
)
# sshd drops logins at random when too many begin at a time (MaxStartups).
_BUSY = re.compile(r"kex_exchange_identification: |Connection (?:closed|reset) by .* \[preauth\]|Exceeded MaxStartups")
_OPEN_FAILED = re.compile(r"open failed: (.+)")
_PROXY_AWAY = re.compile(
    r"ssh: connect to host|Could not resolve hostname|Connection timed out|timed out during banner exchange|"
    r"Connection (?:closed|reset)|kex_exchange_identification|Broken pipe|not responding"
)
_NOISE = re.compile(r"Authenticated to |Transferred: |Bytes per second: |Stdio forwarding request failed|@@@|\s*$")


class SshForward:
    """A way (C(connection.Way)) through a jump host. One connection at a time: the next one ends the former."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str,
        options: Sequence[str],
        text: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._host, self._port, self._user, self._options, self.text = host, port, user, tuple(options), text
        self._sleep = sleep
        self._folder = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._logged = 0
        self._where = ""

    def connect(self, address: str, port: int, *, deadline: float) -> socket.socket:
        """A connection from the jump host to the endpoint. Whether that one answers is only seen when it is used.

        Raises TunnelError when there is no way to the jump host.
        """
        self._where = destination(address, port)
        while True:
            connection = self._start()
            try:
                self._await_login(deadline)
                connection.settimeout(remaining(deadline))
                return connection
            except TunnelError:
                connection.close()
                if not _BUSY.search(self._log()):
                    raise
                pause = random.SystemRandom().uniform(0.1, 0.6)
                if time.monotonic() + pause > deadline:
                    raise
                self._sleep(pause)

    def explain(self, exc: OSError) -> OSError:
        """What ssh says of the latest connection, when it was cut."""
        if isinstance(exc, TunnelError) or self._process is None or not _is_cut(exc):
            return exc
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return exc
        if self._process.returncode == 0:
            return exc
        return self._fault() or exc

    def close(self) -> None:
        """End the connection and the master."""
        self._hang_up()
        if not self._folder:
            return
        if os.path.exists(self._control):
            command = [*self._command(), "-O", "exit", "--", self._host]
            with contextlib.suppress(subprocess.TimeoutExpired):  # it ends by itself then
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = ""

    @property
    def _control(self) -> str:
        return os.path.join(self._folder, "c")

    @property
    def _log_file(self) -> str:
        return os.path.join(self._folder, "log")

    def _command(self) -> list[str]:
        control = self._control.replace("%", "%%")
        fixed = [f"-o{option}" for option in (*_FIXED, f"ControlPath={control}")]
        user = ["-l", self._user] if self._user else []
        return ["ssh", "-a", "-x", "-T", *fixed, "-p", str(self._port), *user, *self._options]

    def _start(self) -> socket.socket:
        """The ssh of one connection: our end of its input and output."""
        self._hang_up()
        if not self._folder:
            self._folder = _private_folder()
        self._logged = os.path.getsize(self._log_file) if os.path.exists(self._log_file) else 0
        ours, theirs = socket.socketpair()
        # -E: the master lets go of standard error, and it alone hears why an endpoint could not be reached.
        command = [*self._command(), "-E", self._log_file, "-W", self._where, "--", self._host]
        # A jump host before the jump host has an ssh of its own, to which our options do not go: without a terminal and a
        # program for it, that one cannot ask either.
        environment = {**os.environ, "LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"}
        try:
            with theirs, open(self._log_file, "ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=log.fileno(),
                    env=environment,
                    start_new_session=True,
                )
        except FileNotFoundError as exc:
            ours.close()
            raise ProbeError(
                f"The command ssh is not there, which the way through {self.text} needs. Install the package openssh-client "
                "on the machine that looks at the endpoint."
            ) from exc
        return ours

    def _await_login(self, deadline: float) -> None:
        """The master's socket appears when the jump host has let us in."""
        process = self._process
        while process is not None and not os.path.exists(self._control):
            try:
                process.wait(timeout=min(_LOGIN_STEP, remaining(deadline)))
            except subprocess.TimeoutExpired:
                continue
            except TimeoutError as exc:
                self._hang_up()
                raise self._away("The login does not end in time.") from exc
            raise self._fault() or self._away(f"ssh ended with {process.returncode}.")

    def _hang_up(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _log(self) -> str:
        """What ssh and its master have said since the latest connection began."""
        try:
            with open(self._log_file, encoding="utf-8", errors="replace") as stream:
                stream.seek(self._logged)
                return stream.read(65536)
        except FileNotFoundError:
            return ""

    def _fault(self) -> TunnelError | None:
        return fault_of(self._log(), where=self._where, proxy=self.text)

    def _away(self, said: str) -> TunnelError:
        return TunnelError("proxy_away", _away_text(self._where, self.text, said))


def fault_of(log: str, *, where: str, proxy: str) -> TunnelError | None:
    """What ssh's own words mean for the endpoint O(where); None when it did not complain."""
    opened = _OPEN_FAILED.search(log)
    if opened:
        return _not_opened(opened[1].strip(), where=where, proxy=proxy)
    lines = [line.strip() for line in log.splitlines() if not _NOISE.match(line)]
    if not lines:
        return None
    last = lines[-1][:200]
    if "Host key verification failed" in log:
        return TunnelError(
            "proxy_refuses",
            f"The jump host {proxy} does not show the key that is known for it ({lines[-2][:200] if len(lines) > 1 else last}). "
            "Nothing was sent through it. Compare its key on site, and put it into the file that proxy_ssh_options names.",
        )
    if "Permission denied" in log:
        said = f"The jump host {proxy} refuses the login ({last}). Check user and key in proxy and proxy_ssh_options."
        return TunnelError("proxy_refuses", said)
    if _PROXY_AWAY.search(log):
        return TunnelError("proxy_away", _away_text(where, proxy, f"{last}."))
    return TunnelError("proxy_refuses", f"The way through the jump host {proxy} cannot be opened: {last}.")


def _not_opened(reason: str, *, where: str, proxy: str) -> TunnelError:
    if "prohibited" in reason:
        said = f"The jump host {proxy} does not allow a tunnel to {where} ({reason}). Allow it there (AllowTcpForwarding, PermitOpen)."
        return TunnelError("proxy_refuses", said)
    said = f"The jump host {proxy} is there, but cannot reach {where} ({reason})."
    if "refused" in reason:
        return TunnelError("refused", said)
    return TunnelError("timeout" if "timed out" in reason else "unreachable", said)


def _away_text(where: str, proxy: str, said: str) -> str:
    return f"The jump host {proxy} is away, so {where} could not be looked at: {said}"


def _is_cut(exc: OSError) -> bool:
    """Whether an error means the end of the connection, as TLS and sockets tell it."""
    return isinstance(exc, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError))


def _private_folder() -> str:
    folder = tempfile.mkdtemp(prefix="cf-")
    if len(os.fsencode(folder)) > _LONGEST_SOCKET_PATH:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="cf-", dir="/tmp")
    return folder
