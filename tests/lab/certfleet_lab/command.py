# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs: never through a shell, never without a time limit."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import LabError


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    check: bool = True,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    hint: str = "",
) -> subprocess.CompletedProcess[bytes]:
    """Run argv for at most timeout seconds; with check, a status other than 0 is a LabError that ends with the hint."""
    shown = shlex.join(argv)
    if len(shown) > 160:
        shown = f"{shown[:157]}..."
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as exc:
        raise LabError(f"`{shown}` cannot run: {argv[0]} is not installed on this machine. {hint}".rstrip()) from exc
    except subprocess.TimeoutExpired as exc:
        raise LabError(f"`{shown}` did not end within {timeout:g} s and was stopped. {hint}".rstrip()) from exc
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        tail = " | ".join(said.splitlines()[-6:]) or "it said nothing"
        raise LabError(f"`{shown}` ended with status {done.returncode}: {tail}. {hint}".rstrip())
    return done


def output(argv: Sequence[str], *, timeout: float, hint: str = "") -> str:
    """What argv prints on its standard output, without surrounding white space."""
    return run(argv, timeout=timeout, hint=hint).stdout.decode(errors="replace").strip()
