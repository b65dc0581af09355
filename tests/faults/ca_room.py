# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA of its own beside the lab's, on the same host, and the real ca_* modules there: each call is a process of that host's Python
with that host's `cryptography`, as Ansible starts it. It lies in memory, so that a loop over every write takes seconds."""

from __future__ import annotations

import base64
import io
import json
import shlex
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ansible

from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.tests.certificate_request import certificate_request

from ..integration.machines import CHECKOUT, on

HOST = "ca"
ROOM = "/run/certfleet-faults"
CODE = f"{ROOM}/code"
CA = f"{ROOM}/ca"
SECRET = f"{ROOM}/secret/passphrase"
BACKUPS = f"{ROOM}/backups"
OUT = f"{ROOM}/out"
TRACE = f"{ROOM}/trace"
KEPT = f"{ROOM}/kept"
DAY = 86400
KILLED = 137
# What ca_crl says of single authorities has no code of its own.
PROBLEMS = "problems"
_MODULES = "ansible_collections.certfleet.tls.plugins.modules"
_KEY = new_key("ec-p256")


@dataclass(frozen=True)
class Answer:
    """What a module said, how its process ended (137: SIGKILL), and how long it took."""

    rc: int
    said: dict[str, Any]
    stderr: str
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it said no, or ended without a word."""
        return self.rc != 0 or bool(self.said.get("failed"))

    def __str__(self) -> str:
        """How it ended, without certificates and the options that it was given."""
        told = self.refused[0]["message"] if self.refused else self.message
        return f"exit code {self.rc}: {told or 'no error'}"

    @property
    def message(self) -> str:
        """What the operator reads when all of it failed."""
        return " ".join(str(self.said.get("msg") or self.stderr).split())

    @property
    def code(self) -> str:
        """The same in one word."""
        return str(self.said.get("code") or "")

    @property
    def warnings(self) -> str:
        """What it warns of."""
        found = self.said.get("warnings") or []
        return " ".join(item if isinstance(item, str) else str(item.get("event", item)["msg"]) for item in found)

    @property
    def certificates(self) -> dict[str, Any]:
        """By id, of ca_issue."""
        return dict(self.said.get("certificates") or {})

    @property
    def refused(self) -> list[dict[str, str]]:
        """The errors of single certificates, of ca_issue."""
        return [item["error"] for item in self.certificates.values() if "error" in item]


def _with_problems(answer: Answer) -> Answer:
    problems = answer.said.get("problems")
    if not problems:
        return answer
    said = {"failed": True, "msg": " ".join(problems.values()), "code": PROBLEMS}
    return replace(answer, said={**answer.said, **said})


@dataclass(frozen=True)
class State:
    """What ca_inspection.py found. C(serials): by serial (identity, state). C(files): by path (mode, SHA-256). C(crls): by path the
    number and the serials on it."""

    problems: list[str]
    serials: dict[str, tuple[str, str]] = field(default_factory=dict)
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    crls: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def of(self, state: str) -> list[str]:
        """Identities of the leaves in this state, sorted."""
        return sorted(identity for identity, found in self.serials.values() if identity and found == state)


class Room:
    """The folder on the CA host. Use install() once, then begin() for each test."""

    def install(self) -> None:
        """The modules of the checkout, what they need of Ansible, and the inspection."""
        self.remove()
        packed = base64.b64encode(_code()).decode()
        shell(f"mkdir -p -m 0700 {CODE} {OUT}; base64 -d | tar xz -C {CODE}", given=packed)
        shell(f"python3 -m compileall -q {CODE}")

    def begin(self) -> None:
        """No CA."""
        shell(
            f"rm -rf {CA} {ROOM}/secret {BACKUPS} {KEPT}* {OUT}/* {TRACE}; mkdir -m 0700 {CA} {ROOM}/secret {BACKUPS}"
        )

    @staticmethod
    def remove() -> None:
        """Nothing is left of the room."""
        shell(f"rm -rf {ROOM}")

    @staticmethod
    def module(called: str, /, *, strace: str = "", clock: str = "", **options: Any) -> Answer:
        """Run a module; under strace with these options, with the clock put forward or back (C(-400d)) by libfaketime."""
        given = json.dumps({"ANSIBLE_MODULE_ARGS": {"directory": CA, **options}})
        words = f"strace -o {TRACE} -y -s 0 {strace} " if strace else ""
        # Waits by the monotonic clock stay as they are.
        words = f"env FAKETIME_DONT_FAKE_MONOTONIC=1 faketime -f {clock} {words}" if clock else words
        begin = time.monotonic()
        output = shell(
            f"export PYTHONPATH={CODE}; {words}python3 -B -m {_MODULES}.{called} >{OUT}/answer 2>{OUT}/stderr; "
            f"echo $?; cat {OUT}/answer; printf '\\f'; cat {OUT}/stderr",
            given=given,
        )
        seconds = time.monotonic() - begin
        status, _newline, rest = output.partition("\n")
        answer, _feed, stderr = rest.partition("\f")
        return Answer(int(status), json.loads(answer) if answer.strip() else {}, stderr, seconds)

    def authority(self, name: str = "fleet", **options: Any) -> Answer:
        """ca_authority; small keys, so that the loops are quick."""
        parts = {part: {"key_type": "ec-p256", **options.pop(part, {})} for part in ("root", "issuing")}
        return self.module(
            "ca_authority", name=name, passphrase_file=SECRET, generate_passphrase=True, **parts, **options
        )

    def create(self) -> None:
        """A CA with one authority and one leaf."""
        self.begin()
        for answer in (self.authority(), self.issue("robot-0")):
            assert not answer.failed and not answer.refused, answer

    def issue(self, *identities: str, **options: Any) -> Answer:
        """ca_issue."""
        fields = {name: options.pop(name) for name in ("lifetime", "authority", "profile") if name in options}
        asked = [request(identity, **fields) for identity in identities]
        return self.module("ca_issue", passphrase_file=SECRET, requests=asked, **options)

    def crl(self, **options: Any) -> Answer:
        """ca_crl, whose problem with the one authority counts as its failure."""
        return _with_problems(self.module("ca_crl", passphrase_file=SECRET, **options))

    def info(self) -> Answer:
        """ca_info, likewise."""
        return _with_problems(self.module("ca_info", identities=["robot-0"]))

    def issue_at_once(self, batches: Sequence[Sequence[str]]) -> list[Answer]:
        """One ca_issue for each of the batches, all of them begun at the same moment."""
        asked = [
            {
                "directory": CA,
                "passphrase_file": SECRET,
                "requests": [request(name, key=new_key("ec-p256")) for name in batch],
            }
            for batch in batches
        ]
        given = "\n".join(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}) for arguments in asked)
        shell(f"cat > {OUT}/batches; cd {OUT}; split -l 1 -d -a 3 batches batch-; rm batches", given=given)
        one = (
            f"python3 -B -m {_MODULES}.ca_issue < batch-$n > answer-$n 2> stderr-$n; "
            "echo $? $(( ($(date +%s%N) - began) / 1000000 )) > end-$n"
        )
        numbers = " ".join(f"{number:03}" for number in range(len(batches)))
        shell(f"cd {OUT}; export PYTHONPATH={CODE}; began=$(date +%s%N); for n in {numbers}; do ({one}) & done; wait")
        answers = []
        for number in numbers.split():
            status, milliseconds = shell(f"cat {OUT}/end-{number}").split()
            said, stderr = shell(f"cat {OUT}/answer-{number}"), shell(f"cat {OUT}/stderr-{number}")
            answers.append(Answer(int(status), json.loads(said) if said else {}, stderr, int(milliseconds) / 1000))
        return answers

    def look(self) -> State:
        """Look at all of it, from outside."""
        found = json.loads(shell(f"PYTHONPATH={CODE} python3 -B {CODE}/ca_inspection.py {CA} {SECRET} {OUT}/answer"))
        return State(
            found["problems"],
            {serial: (identity, state) for serial, identity, state in found["serials"]},
            {path: (mode, digest) for path, mode, digest in found["files"]},
            {path: (number, serials) for path, number, serials in found["crls"]},
        )

    @staticmethod
    def keep(name: str = "") -> None:
        """Remember the CA as it is."""
        kept = f"{KEPT}-{name}"
        shell(f"rm -rf {kept}; mkdir -m 0700 {kept}; cp -a {CA} {ROOM}/secret {BACKUPS} {kept}/")

    @staticmethod
    def put_back(name: str = "") -> None:
        """The CA as it was remembered; a file system of its own, if there is one, stays."""
        kept = f"{KEPT}-{name}"
        shell(
            f"mkdir -p -m 0700 {CA}; find {CA} -mindepth 1 -delete; rm -rf {ROOM}/secret {BACKUPS} {OUT}/*; "
            f"cp -a {kept}/ca/. {CA}/; cp -a {kept}/secret {kept}/backups {ROOM}/"
        )


def request(identity: str, *, key: Any = _KEY, **changes: Any) -> dict[str, Any]:
    """What the engine asks for."""
    return certificate_request(identity, key=key, **changes)


def shell(script: str, *, given: str | None = None) -> str:
    """Run it on the CA host."""
    return on(HOST, "sh", "-c", script, given=given)


def quoted(*words: str) -> str:
    """Words for shell()."""
    return shlex.join(words)


def _code() -> bytes:
    """An archive of what modules import, as Ansible would ship it, with everything that they could."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        library = Path(ansible.__file__).parent
        _add(archive, library, "ansible", ("module_utils",))
        _add(archive, CHECKOUT, "ansible_collections/certfleet/tls", ("plugins/module_utils", "plugins/modules"))
        archive.add(library / "release.py", "ansible/release.py")
        _add_text(archive, "ansible/__init__.py", "from ansible.release import __version__, __author__\n")
        archive.add(Path(__file__).with_name("ca_inspection.py"), "ca_inspection.py")
    return packed.getvalue()


def _add(archive: tarfile.TarFile, root: Path, prefix: str, folders: Iterable[str]) -> None:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            archive.add(path, f"{prefix}/{path.relative_to(root)}")


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text)
    archive.addfile(entry, io.BytesIO(text.encode()))
