# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local socket behind which a connection through a proxy begins, for programs that know no proxies."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Iterator

from .connection import Way, remaining
from .errors import ProbeError


@contextlib.contextmanager
def relay(address: str, port: int, *, timeout: float, via: Way) -> Iterator[str]:
    """The path of a socket that takes one connection on to the endpoint; it is gone when the context ends."""
    with tempfile.TemporaryDirectory(prefix="cf-") as folder, socket.socket(socket.AF_UNIX) as entrance:
        path = os.path.join(folder, "s")
        entrance.bind(path)
        entrance.listen(1)
        worker = threading.Thread(target=_serve, args=(entrance, address, port, time.monotonic() + timeout, via))
        worker.start()
        try:
            yield path
        finally:
            # The worker may still wait for a program that never came, or did not hang up: this wakes it.
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as nobody:
                nobody.connect(path)
            worker.join()


def _serve(entrance: socket.socket, address: str, port: int, deadline: float, via: Way) -> None:
    # Whatever goes wrong here, the program at the other end sees a connection that ends, and says so.
    with contextlib.suppress(OSError, ProbeError):
        entrance.settimeout(remaining(deadline))
        near, _peer = entrance.accept()
        with near, via.connect(address, port, deadline=deadline) as far:
            _pump(near, far, entrance, deadline)


def _pump(near: socket.socket, far: socket.socket, entrance: socket.socket, deadline: float) -> None:
    ends = {near: far, far: near}
    while True:
        readable, _writable, _broken = select.select([near, far, entrance], [], [], remaining(deadline))
        for end in readable:
            if end is entrance:
                return
            content = end.recv(65536)
            if not content:
                return
            ends[end].settimeout(remaining(deadline))
            ends[end].sendall(content)
