# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's anchors in the operating system's trust store: as files, and really in the bundle that clients read."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import durable, pem
from .command import run
from .errors import HostError
from .trust_stores import TrustStore

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")
_TIMEOUT = 180


@dataclass
class Plan:
    """What is to be done. C(present): DER -> path of every wanted anchor; the rest says what differs."""

    present: dict[bytes, str] = field(default_factory=dict)
    write: dict[str, bytes] = field(default_factory=dict)
    replaced: dict[str, bytes] = field(default_factory=dict)
    remove: dict[str, bytes] = field(default_factory=dict)
    lacking: list[bytes] = field(default_factory=list)
    anchors: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_due(self) -> bool:
        """Whether anything has to be changed."""
        return bool(self.write or self.remove or self.lacking)

    def diff(self, bundle: str) -> dict[str, str]:
        """Files and bundle before and after, in parsed fields."""
        before = [f"{path}: {describe(der)}" for path, der in self.remove.items()]
        before += [f"{path}: {describe(der)}" for path, der in self.replaced.items()]
        after = [f"{path}: {describe(der)}" for der, path in self.present.items() if path in self.write]
        after += [f"{bundle} holds {describe(der)}" for der in self.lacking]
        header = "trust store"
        joined = ["".join(f"{line}\n" for line in sorted(lines)) for lines in (before, after)]
        return {"before_header": header, "after_header": header, "before": joined[0], "after": joined[1]}


class Anchors:
    """The anchors of one trust store. Names say whose they are; what others put there is left alone."""

    def __init__(self, store: TrustStore) -> None:
        self.store = store

    def plan(self, anchors: Sequence[Mapping[str, Any]], *, state: str) -> Plan:
        """Compare wanted (name, certificate: PEM of one or several) and files and bundle. Raises HostError."""
        plan = Plan()
        for anchor in anchors:
            name = str(anchor["name"])
            if not _NAME.match(name):
                raise HostError(
                    f"The anchor's name '{name}' has other characters than letters, digits, dash, underscore."
                )
            have = self._files(name)
            blocks = pem.certificates(str(anchor.get("certificate") or ""))
            if state == "present":
                self._plan_present(plan, name, blocks, have)
            else:
                self._plan_absent(plan, name, blocks, have)
        in_bundle = self._bundle()
        plan.lacking = [der for der in plan.present if der not in in_bundle]
        to_repair = {plan.present[der] for der in plan.lacking}
        for entry in plan.anchors:
            if entry["state"] == "present" and entry["path"] in to_repair:
                entry["state"] = "repaired"
        return plan

    def carry_out(self, plan: Plan) -> None:
        """Write and remove files, make the bundle anew, and see that it holds what it should. Raises HostError."""
        before, old_bundle = self._bundle(), self._read_bundle()
        undo = {path: self._content(path) for path in [*plan.write, *plan.remove]}
        gone = {*plan.replaced.values(), *plan.remove.values()} - set(plan.present)
        for path, content in plan.write.items():
            durable.write_file(path, content, mode=0o644)
        for path in plan.remove:
            durable.remove(path)
        try:
            self._make_bundle(fresh=bool(gone))
            if not set(plan.present) <= self._bundle():
                self._make_bundle(fresh=True)
            self._check(plan, before, gone=gone)
        except HostError:
            self._undo(undo, old_bundle)
            raise

    def _plan_present(self, plan: Plan, name: str, blocks: list[str], have: dict[str, bytes | None]) -> None:
        if not blocks:
            raise HostError(f"The anchor '{name}' has no certificate in PEM. Give the CA's root.")
        wanted = {pem.der_of(block, where=f"anchor '{name}'"): block for block in blocks}
        kept = {der: path for path, der in have.items() if der in wanted and _is_readable(path)}
        for der, block in wanted.items():
            path, state = kept.get(der), "present"
            if path is None:
                path, state = self._free_path(name, der, {*kept.values(), *plan.write}), "added"
                plan.write[path] = block.encode()
            plan.present[der] = path
            plan.anchors.append({"name": name, "path": path, "state": state})
        for path, former in have.items():
            if path in plan.write:
                plan.replaced.update({path: former} if former else {})
            elif path not in kept.values():
                plan.remove[path] = former or b""
                plan.anchors.append({"name": name, "path": path, "state": "removed"})

    def _plan_absent(self, plan: Plan, name: str, blocks: list[str], have: dict[str, bytes | None]) -> None:
        only = {pem.der_of(block, where=f"anchor '{name}'") for block in blocks}
        for path, der in have.items():
            if not only or der in only:
                plan.remove[path] = der or b""
                plan.anchors.append({"name": name, "path": path, "state": "removed"})

    def _free_path(self, name: str, der: bytes, taken: Iterable[str]) -> str:
        """C(<name>.crt), or with the fingerprint where an authority has several anchors."""
        plain = os.path.join(self.store.folder, f"{name}.crt")
        return os.path.join(self.store.folder, f"{name}.{_sha256(der)[:8]}.crt") if plain in taken else plain

    def _files(self, name: str) -> dict[str, bytes | None]:
        """Path -> DER (None when there is none in it) of the files that carry this name."""
        mine = re.compile(rf"{re.escape(name)}(\.[0-9a-f]{{8}})?\.crt\Z")
        paths = (
            os.path.join(self.store.folder, entry)
            for entry in sorted(os.listdir(self.store.folder))
            if mine.match(entry)
        )
        return {path: self._der(path) for path in paths}

    def _der(self, path: str) -> bytes | None:
        """The one certificate in a file; None for anything else, which a trust store would not take either."""
        blocks = pem.certificates((self._content(path) or b"").decode("ascii", "replace"))
        try:
            return pem.der_of(blocks[0], where=path) if len(blocks) == 1 else None
        except HostError:
            return None

    def _content(self, path: str) -> bytes | None:
        try:
            with open(path, "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise HostError(f"{path} cannot be read: {exc.strerror}. Run with become.") from exc

    def _read_bundle(self) -> bytes:
        return self._content(self.store.bundle) or b""

    def _bundle(self) -> set[bytes]:
        """The DER of every certificate in the bundle that can be read; a damaged one is as good as missing."""
        found = set()
        for block in pem.certificates(self._read_bundle().decode("ascii", "replace")):
            try:
                found.add(pem.der_of(block, where=self.store.bundle))
            except HostError:
                continue
        return found

    def _make_bundle(self, *, fresh: bool) -> None:
        argv = self.store.refresh if fresh else self.store.update
        done = run(argv, timeout=_TIMEOUT)
        if done.rc:
            raise HostError(
                f"'{' '.join(argv)}' failed with exit code {done.rc}: {done.said}. The old files were put back."
            )

    def _check(self, plan: Plan, before: set[bytes], *, gone: set[bytes]) -> None:
        after = self._bundle()
        for der, path in plan.present.items():
            if der not in after:
                raise HostError(
                    f"{path} was written, but {self.store.bundle} does not hold it after"
                    f" '{' '.join(self.store.refresh)}'. The old files were put back. Run the command by hand and see"
                    " what it says."
                )
        lost = before - after - gone
        if lost:
            raise HostError(
                f"{self.store.bundle} lost {len(lost)} certificates that nobody asked to remove, the first of them"
                f" {describe(next(iter(lost)))}. The old bundle was put back. They were probably appended to the bundle"
                f" by hand: put each as a .crt file into {self.store.folder}, and run again."
            )

    def _undo(self, undo: Mapping[str, bytes | None], bundle: bytes) -> None:
        for path, content in undo.items():
            if content is None:
                durable.remove(path)
            else:
                durable.write_file(path, content, mode=0o644)
        if bundle:
            durable.write_file(os.path.realpath(self.store.bundle), bundle, mode=0o644)


def describe(der: bytes) -> str:
    """Subject, end and fingerprint of a certificate, for people."""
    done = run(
        ["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-enddate", "-nameopt", "RFC2253"], stdin=der
    )
    fields = dict(line.partition("=")[::2] for line in done.text.splitlines())
    return f"{fields.get('subject', 'unreadable').strip()}, until {fields.get('notAfter', '?')}, SHA-256 {_sha256(der)}"


def _sha256(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def _is_readable(path: str) -> bool:
    """Whether everyone can read the file; a client that cannot would not trust the anchor."""
    return stat.S_IMODE(os.stat(path).st_mode) & 0o444 == 0o444
