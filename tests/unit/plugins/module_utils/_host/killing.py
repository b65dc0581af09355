# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL of a process of its own before the n-th operation that changes files, wherever in the code that is.

After an operation is before the next one: between two of them nothing changes a file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ansible_collections.certfleet.tls.tests.unit.child_process import in_child

KILLED = -signal.SIGKILL
CHANGES = (
    *("mkdir", "rmdir", "rename", "replace", "symlink", "link", "unlink", "remove", "truncate", "ftruncate", "write"),
    *("chmod", "fchmod", "chown", "fchown", "lchown", "fsync", "fdatasync", "utime"),
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Killer:
    """Counts operations below a folder's tree, and kills the process before the one with its number (from 0)."""

    def __init__(self, at: int | None, log: Path | None = None) -> None:
        self._at, self._log, self._count = at, log, 0

    def install(self) -> None:
        """Only ever in a child: nothing is put back."""
        for name in CHANGES:
            setattr(os, name, self._counted(name, getattr(os, name)))
        os.open = self._opened(os.open)
        os.fdopen = self._streams(os.fdopen)

    def strike(self, name: str) -> None:
        """The next operation."""
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(f"{name}\n")
        if self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.strike(name)
            # A kill does not lose what the kernel has; the order of flushing is looked at with strace.
            return None if name in ("fsync", "fdatasync") else call(*arguments, **options)

        return counted

    def _opened(self, call: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & _WRITES:
                self.strike("open")
            return call(path, flags, *arguments, **options)

        return opened

    def _streams(self, call: Callable[..., IO[Any]]) -> Callable[..., Any]:
        def stream(*arguments: Any, **options: Any) -> Any:
            return _HalfWritten(call(*arguments, **options), self.strike)

        return stream


class _HalfWritten:
    """A stream whose data arrives in two halves, with an operation before each."""

    def __init__(self, stream: IO[Any], strike: Callable[[str], None]) -> None:
        self._stream, self._strike = stream, strike

    def __enter__(self) -> _HalfWritten:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, data: Any) -> None:
        """As two writes that reach the file."""
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            self._strike("write")
            self._stream.write(part)
            self._stream.flush()


def killed(work: Callable[[], object], at: int | None, log: Path | None = None) -> bool:
    """Whether a process that does O(work) was killed before its operation O(at); anything else must succeed."""

    def child() -> None:
        Killer(at, log).install()
        work()

    status = in_child(child)
    assert status in (0, KILLED), f"operation {at}: the process ended with {status}"
    return status == KILLED
