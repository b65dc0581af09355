# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that a server sends, which the C(ssl) module of older Pythons does not show."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from .connection import Way, endpoint_text, is_ip, plain_address
from .errors import ProbeError
from .relay import relay

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def served_chain(
    address: str, port: int, *, server_name: str | None = None, timeout: float = 10.0, via: Way | None = None
) -> list[str]:
    """The served certificates as PEM, leaf first, exactly as they were sent; nothing is verified."""
    where, name = endpoint_text(address, port), plain_address(server_name or address)
    command = ["openssl", "s_client", "-showcerts", "-cipher", "DEFAULT:@SECLEVEL=0"]
    command += ["-noservername"] if is_ip(name) else ["-servername", name]
    with _entrance(address, port, timeout=timeout, via=via) as entrance:
        return _shown([*command, *entrance], where=where, timeout=timeout)


@contextmanager
def _entrance(address: str, port: int, *, timeout: float, via: Way | None) -> Iterator[list[str]]:
    """Where s_client is to connect to: it knows HTTP proxies, but no others."""
    if via is None:
        yield ["-connect", endpoint_text(address, port)]
        return
    with relay(address, port, timeout=timeout, via=via) as path:
        yield ["-unix", path]


def _shown(command: list[str], *, where: str, timeout: float) -> list[str]:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError as exc:
        raise ProbeError("The command openssl is not there. Install the package openssl.") from exc
    except subprocess.TimeoutExpired as exc:
        raise ProbeError(
            f"{where} did not show its chain within {timeout:g} s. Look whether it answers at all."
        ) from exc
    found = _BLOCK.findall(done.stdout.decode("ascii", "replace"))
    if not found:
        said = (done.stderr.decode("utf-8", "replace").splitlines() or ["no certificate was sent"])[0]
        raise ProbeError(f"{where} shows no chain: {said}. Look whether it speaks TLS.")
    return [f"{block}\n" for block in found]
