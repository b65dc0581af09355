# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The docker client, always spoken to at the machine's own engine."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from . import places
from .command import run

ENGINE = {"DOCKER_HOST": f"unix://{places.ENGINE_SOCKET}", "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"}


def docker(
    *arguments: str, timeout: float = 60, check: bool = True, stdin: bytes | None = None, hint: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Run the docker client with these arguments."""
    return run(["docker", *arguments], timeout=timeout, check=check, stdin=stdin, env=ENGINE, hint=hint)


def lines(*arguments: str, timeout: float = 60) -> list[str]:
    """The lines that the docker client prints."""
    return docker(*arguments, timeout=timeout).stdout.decode().split("\n")[:-1]


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """What the engine knows of one container, image or network; None when there is none of that name."""
    done = docker(kind, "inspect", name, check=False)
    if done.returncode != 0:
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found[0] if found else None
