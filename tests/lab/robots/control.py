# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speak to a running emulator: `control.py [--socket PATH] DEVICE ACTION …`.

  robot-1 status                    what it serves and how it is switched, as JSON
  robot-1 set https=off delay=5     change switches (mir_emulator/switches.py)
  robot-1 unset [NAME …]            switches back to those of the configuration
  robot-1 factory                   the uploaded pair is forgotten, and switches are unset
  all ACTION …                      the same for every device

It exits with 0, or with 1 and the reason on standard error.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from typing import Any


def ask(path: str, question: dict[str, Any], *, timeout: float = 30.0) -> dict[str, Any]:
    """Send one question to the emulator's control socket; its answer holds C(ok) and C(devices) or C(error)."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(json.dumps(question).encode() + b"\n")
        with connection.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline() or b'{"ok": false, "error": "no answer"}')
    return answer


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", default="/run/robots.sock")
    parser.add_argument("device")
    parser.add_argument("action", choices=("status", "set", "unset", "factory"))
    parser.add_argument("words", nargs="*", metavar="SWITCH")
    given = parser.parse_args(arguments)
    question = {"device": given.device, "action": given.action, "words": given.words}
    try:
        answer = ask(given.socket, question)
    except OSError as exc:
        answer = {"ok": False, "error": f"no emulator answers at {given.socket}: {exc}"}
    if not answer.get("ok"):
        sys.stderr.write(f"{answer.get('error')}\n")
        return 1
    sys.stdout.write(json.dumps(answer["devices"], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
