# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real TLS service that reads its pair from files, at its start and when it is told to."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType


class TlsService:
    """Serves the pair at two paths on a free port of loopback.

    The command C(reload) makes it read the files again; one that cannot be loaded is not served at all, as with Traefik.
    C(stubborn) ignores the command; C(lives) are the seconds after a reload at which it stops to answer.
    """

    def __init__(self, folder: Path, *, stubborn: bool = False, lives: float | None = None) -> None:
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        self.stubborn, self.lives = stubborn, lives
        self._trigger = folder.parent / f"{folder.name}.trigger"
        self._trigger.touch()
        self.reload = ["touch", str(self._trigger)]
        self._told = self._trigger.stat().st_mtime_ns
        self._since = time.monotonic()
        self.reloads = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._context = self._read()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> TlsService:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _read(self) -> ssl.SSLContext | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError:
            return None
        return context

    def _obey(self) -> None:
        told = self._trigger.stat().st_mtime_ns
        if told == self._told:
            return
        self._told, self._since = told, time.monotonic()
        self.reloads += 1
        if not self.stubborn:
            self._context = self._read()

    def _is_dead(self) -> bool:
        return self.lives is not None and self.reloads == 1 and time.monotonic() - self._since > self.lives

    def _serve(self) -> None:
        while True:
            try:
                connection, _where = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                self._obey()
                if self._context is None or self._is_dead():
                    continue
                try:
                    with self._context.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.recv(1)
                except OSError:
                    continue
