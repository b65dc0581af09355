# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that connects again and again, and writes down whose leaf it got.

A finished handshake shows that key and leaf belong together: the server has signed with the key of the leaf that it sent.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from itertools import groupby
from types import TracebackType
from typing import Any

INTERVAL = 0.2
PATIENCE = 1.0
NOTHING = ""


@dataclass(frozen=True)
class Sample:
    """One look: when (monotonic seconds), and the SHA-256 of the leaf, NOTHING where no handshake came about."""

    at: float
    fingerprint: str


@dataclass(frozen=True)
class Stretch:
    """Looks in a row that saw the same. C(end) is the first look that saw something else, or the last one."""

    kind: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.end - self.begin


def look(endpoint: dict[str, Any]) -> bytes | None:
    """The leaf (DER) that an endpoint serves now, to a client that trusts anybody; None where nothing is served."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    name = endpoint["server_name"]
    sni = None if ":" in name or name.replace(".", "").isdigit() else name
    try:
        with socket.create_connection((endpoint["address"], endpoint["port"]), timeout=PATIENCE) as plain:
            with context.wrap_socket(plain, server_hostname=sni) as secured:
                return secured.getpeercert(binary_form=True)
    except OSError:
        return None


@dataclass
class Watch:
    """Samples one endpoint while the block runs: C(with Watch(endpoint) as watch: …)."""

    endpoint: dict[str, Any]
    samples: list[Sample] = field(default_factory=list)
    leaves: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No further looks."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()

    @property
    def last(self) -> Sample:
        """The latest look."""
        return self.samples[-1]

    def wait_for_news(self) -> None:
        """Wait until it has looked once more, from now on."""
        begin = time.monotonic()
        while self.last.at < begin and not self._ended.is_set():
            time.sleep(INTERVAL / 4)

    def stretches(self, kinds: dict[str, str]) -> list[Stretch]:
        """The samples as stretches of O(kinds) (by fingerprint)."""
        named = [(kinds[sample.fingerprint], sample.at) for sample in self.samples]
        runs = [(kind, [at for _kind, at in group]) for kind, group in groupby(named, key=lambda item: item[0])]
        ends = [*(times[0] for _kind, times in runs[1:]), named[-1][1]]
        return [Stretch(kind, times[0], end) for (kind, times), end in zip(runs, ends)]

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._take()

    def _take(self) -> None:
        at, leaf = time.monotonic(), look(self.endpoint)
        fingerprint = hashlib.sha256(leaf).hexdigest() if leaf else NOTHING
        if leaf:
            self.leaves[fingerprint] = leaf
        self.samples.append(Sample(at, fingerprint))


def as_text(stretches: list[Stretch]) -> str:
    """C(old 3.2 s, nothing 0.4 s, new): the last one lasts."""
    if not stretches:
        return ""
    shown = [f"{stretch.kind} {stretch.seconds:.1f} s" for stretch in stretches[:-1]]
    return ", ".join([*shown, stretches[-1].kind])
