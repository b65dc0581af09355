# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that holds a service's pairs, and the one link that decides which of them the service reads.

Beside the key stands C(.certfleet-<name>/) with generations C(0 1 …) (each a whole pair), C(current), a link to one of
them, and C(staged/). The service's paths are relative links through C(current): renaming a new C(current) over the old
one is all that a promotion does to what a service reads. Everything before it leaves the paths reading as they did.
A marker C(unfinished) says from before the promotion on what to go back to; with the proof it goes away, or becomes
C(proved) by being renamed where the previous pair is kept until others have confirmed the new one. A change of a pair that still
waits for that names the last confirmed one beside the one in place: to this the change's own failure leads back, to that the others'.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from . import durable
from .errors import HostError
from .openssl import pair_error
from .where import ROLES, Where, folder_of

FILE_OF = {"certificate": "certificate.pem", "key": "key.pem", "chain": "chain.pem"}
_CURRENT, _STAGED, _UNFINISHED, _PROVED = "current", "staged", "unfinished", "proved"
# Written by the watchdog when it has put the previous pair back, told by the next look, gone with the next deploy.
WENT_BACK = "went_back.json"
# The generation that a pair becomes which was in service before ours; only a second one beside it gets another number.
ADOPTED = 0


class BusyError(HostError):
    """Another run is at work on the same pairs."""


@dataclass(frozen=True)
class Promotion:
    """A pair on its way: the generation it is, the one to go back to, and links of others that it took the place of.

    C(previous) is None where there was nothing before. C(confirmed), with links of its own, is the generation that others last
    confirmed, where C(previous) still waits for them.
    """

    next: int
    previous: int | None
    links: dict[str, str] = field(default_factory=dict)
    confirmed: int | None = None
    confirmed_links: dict[str, str] = field(default_factory=dict)

    def kept(self) -> Promotion:
        """The way back once the pair is proved: past one that nobody has confirmed."""
        return self if self.confirmed is None else Promotion(self.next, self.confirmed, self.confirmed_links)


class Generations:
    """The pairs of one certificate of one host. Methods that write need the lock of holding()."""

    def __init__(self, name: str, where: Where, *, is_pair: Callable[[str, str], bool]) -> None:
        self.where = where
        self.root = os.path.join(folder_of(where.key), f".certfleet-{name}")
        self._is_pair = is_pair

    @classmethod
    def of(cls, wanted: Mapping[str, Any], *, where: str | None = None) -> Generations:
        """Those of a wanted certificate (identity, name, where); O(where) names it in errors."""
        files = Where.from_dict(wanted["where"], where=where or id_of(wanted))
        return cls(str(wanted["name"]), files, is_pair=lambda certificate, key: pair_error(certificate, key) is None)

    # What is there

    def files(self) -> list[str]:
        """All that the service reads, and last the folder that its links lead into."""
        return [*self.where.paths().values(), self.root]

    @property
    def staged_folder(self) -> str:
        """Where a new key waits for its certificate, and a pair for being promoted."""
        return os.path.join(self.root, _STAGED)

    def staged_path(self, role: str) -> str:
        """The file of this role in the staged folder."""
        return os.path.join(self.staged_folder, FILE_OF[role])

    def path(self, number: int, role: str) -> str:
        """The file of this role in a generation."""
        return os.path.join(self.root, str(number), FILE_OF[role])

    def current(self) -> int | None:
        """The generation that the link points to, or None."""
        try:
            target = os.readlink(os.path.join(self.root, _CURRENT))
        except OSError:
            return None
        return int(target) if target.isdigit() else None

    def reads(self) -> dict[str, bytes]:
        """What the service's paths read now."""
        return {role: self._read(path) for role, path in self.where.paths().items() if os.path.exists(path)}

    def linked(self, role: str) -> bool:
        """Whether the service's path is our link."""
        path = self.where.paths()[role]
        return os.path.islink(path) and os.readlink(path) == self._target(role)

    def unlinked(self) -> list[str]:
        """A sentence for each existing file that stands where our link should."""
        return [
            f"{path} is a file of its own, not a link into {self.root}"
            for role, path in self.where.paths().items()
            if os.path.lexists(path) and not self.linked(role)
        ]

    def unfinished(self) -> Promotion | None:
        """A promotion that was begun and neither settled nor taken back; its pair need not be in place yet."""
        marker = self._read_marker(_UNFINISHED)
        return marker if marker and self._is_there(marker.previous) else None

    def is_unfinished(self) -> bool:
        """Whether the pair in place was promoted by a run that ended before its proof."""
        marker = self.unfinished()
        return marker is not None and marker.next == self.current()

    def kept(self) -> Promotion | None:
        """How the proved pair in place came there, while there is a previous one to go back to; else None."""
        try:
            marker = self._read_marker(_PROVED)
        except HostError:
            return None  # the pair is good without it
        if marker is None or marker.next != self.current():
            return None
        kept = marker.kept()
        return kept if kept.previous is not None and self._is_there(kept.previous) else None

    def went_back(self) -> dict[str, Any] | None:
        """What the watchdog wrote when it put the previous pair back: C(at), C(why)."""
        try:
            with open(os.path.join(self.root, WENT_BACK), encoding="utf-8") as stream:
                found = json.load(stream)
            return {"at": str(found["at"]), "why": str(found["why"])}
        except (OSError, ValueError, KeyError, TypeError):
            return None  # only a remark

    def obstacle(self) -> str | None:
        """Why the folder cannot be used, or None."""
        if os.path.lexists(self.root) and (os.path.islink(self.root) or not os.path.isdir(self.root)):
            return (
                f"{self.root} should be a folder of certfleet, but is something else. Look what it is, and remove it."
            )
        if os.path.isdir(self.root) and os.stat(self.root).st_uid != os.geteuid():
            return (
                f"the folder {self.root} belongs to user {os.stat(self.root).st_uid}, who could exchange keys in it."
                " Look why, and correct it."
            )
        return None

    # What changes it

    @contextmanager
    def holding(self, *, patient: bool = False) -> Iterator[None]:
        """Make the folder where it is missing, and keep every other run out of it meanwhile.

        One that is at work is an error, or (C(patient)) waited for.
        """
        self._make_root()
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            self._lock(descriptor, patient=patient)
            yield
        finally:
            os.close(descriptor)

    def make_staged(self) -> None:
        """The staged folder, for root's eyes only."""
        if not os.path.isdir(self.staged_folder):
            durable.make_folder(self.staged_folder, mode=0o700)

    def add(self, contents: dict[str, bytes]) -> int:
        """Write a whole new generation, with the owners and modes that the service's files should have."""
        uid, gid = self.where.uid(), self.where.gid()
        access = {role: (self.where.mode_of(role), uid, gid) for role in contents}
        return self._write(max([*self._numbers(), 0]) + 1, contents, access)

    def promote(self, number: int) -> Promotion:
        """Let the service's paths read this generation from one instant to the next."""
        promotion, as_now = self._prepare(number)
        promotion = self._with_confirmed(promotion)
        durable.write_file(os.path.join(self.root, _UNFINISHED), json.dumps(asdict(promotion)).encode(), mode=0o600)
        self._adopt(as_now)
        self._point(number)
        return promotion

    def restore(self, promotion: Promotion) -> None:
        """Let the service's paths read again what they read before; what was not there goes away."""
        self._point(promotion.previous)
        for role, path in self.where.paths().items():
            if role in promotion.links:
                durable.point(path, promotion.links[role])
            elif not os.path.exists(path) and self.linked(role):
                durable.remove(path)

    def settle(self, *, keep_previous: bool = False) -> None:
        """What is in place stays: from this one rename (or removal) on nothing goes back by itself.

        O(keep_previous): the previous pair can still be put back on demand, if it is one, and another.
        """
        path = os.path.join(self.root, _UNFINISHED)
        marker = self.unfinished() if keep_previous else None
        if marker and marker.next == self.current() and self._is_worth_keeping(marker.kept()):
            durable.rename(path, os.path.join(self.root, _PROVED))
        else:
            durable.remove(path)

    def prune(self, *, keep_staged: bool, keep_previous: bool = False, keep_said: bool = False) -> None:
        """Remove useless keys: every generation but the current one, and what is staged unless a retry wants it.

        A staged key that is in service already, as after a kill behind the commit, is nothing to try again.
        O(keep_previous): not the one that kept() leads to. O(keep_said): not what the watchdog wrote.
        """
        previous = self.kept() if keep_previous else None
        kept = {_CURRENT, str(self.current())} | ({_STAGED} if keep_staged and self._has_staged_key() else set())
        kept |= {_PROVED, str(previous.previous)} if previous else set()
        kept |= {WENT_BACK} if keep_said else set()
        for entry in sorted(set(os.listdir(self.root)) - kept):
            durable.remove(os.path.join(self.root, entry))
        for path in self.where.paths().values():
            durable.clear_aside(path)

    def stage_again(self, number: int, certificate: str) -> None:
        """Key and leaf of a generation that is taken out of service: the next try costs no certificate."""
        self.make_staged()
        durable.write_file(self.staged_path("key"), self._read(self.path(number, "key")), mode=0o600)
        durable.write_file(self.staged_path("certificate"), certificate.encode(), mode=0o600)

    def discard(self, number: int) -> None:
        """Remove a generation that is not in use."""
        if number != self.current():
            durable.remove(os.path.join(self.root, str(number)))

    def _prepare(self, number: int) -> tuple[Promotion, int | None]:
        """What to go back to, and the generation that reads as the paths do now; what is not ours is copied first."""
        marker, current = self.unfinished(), self.current()
        fallback = marker.previous if marker else current
        links = dict(marker.links) if marker else {}
        if not self._strange():
            return Promotion(number, fallback, links), current
        contents = self.reads()
        if not contents:
            return Promotion(number, fallback if self._is_whole(fallback) else None, links), None
        snapshot = self._snapshot(contents)
        if marker and self._same(snapshot, marker.previous):
            return Promotion(number, marker.previous, links), snapshot
        if self._is_whole(snapshot) or not self._is_whole(fallback):
            return Promotion(number, snapshot, self._foreign_links()), snapshot
        return Promotion(number, fallback), snapshot

    def _with_confirmed(self, promotion: Promotion) -> Promotion:
        """With the pair that others last confirmed, if what this promotion takes the place of still waits for them."""
        try:
            proved = self._read_marker(_PROVED)
        except HostError:
            return promotion
        before = promotion.previous
        is_waiting = (
            proved is not None
            and before is not None
            and self._is_there(proved.next)
            and (proved.next == before or self._same(before, proved.next))
        )
        kept = proved.kept() if proved and is_waiting else None
        if kept is None or kept.previous is None or not self._is_there(kept.previous):
            return promotion
        return replace(promotion, confirmed=kept.previous, confirmed_links=kept.links)

    def _adopt(self, as_now: int | None) -> None:
        """Make links of the service's paths. What they read stays the same after each step."""
        strange = self._strange()
        if strange:
            self._point(as_now)
        for role in strange:
            durable.point(self.where.paths()[role], self._target(role))

    def _strange(self) -> list[str]:
        return [role for role in self.where.paths() if not self.linked(role)]

    def _point(self, number: int | None) -> None:
        link = os.path.join(self.root, _CURRENT)
        if number is None:
            durable.remove(link)
        else:
            durable.point(link, str(number))

    def _target(self, role: str) -> str:
        inside = os.path.join(self.root, _CURRENT, FILE_OF[role])
        return os.path.relpath(inside, folder_of(self.where.paths()[role]))

    def _snapshot(self, contents: dict[str, bytes]) -> int:
        access = {}
        for role in contents:
            found = os.stat(self.where.paths()[role])
            access[role] = (found.st_mode & 0o777, found.st_uid, found.st_gid)
        numbers = self._numbers()
        return self._write(max(numbers) + 1 if ADOPTED in numbers else ADOPTED, contents, access)

    def _write(self, number: int, contents: dict[str, bytes], access: dict[str, tuple[int, int, int]]) -> int:
        folder = os.path.join(self.root, str(number))
        aside = f"{folder}{durable.TEMPORARY}"
        durable.remove(aside)
        durable.make_folder(aside, mode=0o755)
        try:
            for role, content in contents.items():
                mode, uid, gid = access[role]
                durable.write_file(os.path.join(aside, FILE_OF[role]), content, mode=mode, uid=uid, gid=gid)
            durable.rename(aside, folder)
        except OSError:
            durable.remove(aside)
            raise
        return number

    def _make_root(self) -> None:
        parent = os.path.dirname(self.root)
        if not os.path.isdir(parent):
            raise HostError(
                f"The folder {parent} does not exist. It is never created silently: create it, or correct where.key."
            )
        obstacle = self.obstacle()
        if obstacle:
            raise HostError(f"{obstacle[0].upper()}{obstacle[1:]}")
        if not os.path.isdir(self.root):
            # The service's user must get through; what is secret in it has modes of its own.
            durable.make_folder(self.root, mode=0o755)

    def _lock(self, descriptor: int, *, patient: bool) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
        except BlockingIOError as exc:
            raise BusyError(
                f"Another run is at work in {self.root}. Nothing was done here; run again when it has ended."
            ) from exc

    def _numbers(self) -> list[int]:
        return sorted(int(entry) for entry in os.listdir(self.root) if entry.isdigit())

    def _read_marker(self, name: str) -> Promotion | None:
        try:
            with open(os.path.join(self.root, name), encoding="utf-8") as stream:
                found = json.load(stream)
            marker = Promotion(int(found["next"]), found["previous"], dict(found["links"]))
            confirmed = found.get("confirmed")
            if confirmed is None or not self._is_there(confirmed):
                return marker
            return replace(marker, confirmed=confirmed, confirmed_links=dict(found["confirmed_links"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as exc:
            raise HostError(f"{self.root}/{name} cannot be understood. Remove it when the service runs well.") from exc

    def _is_there(self, number: int | None) -> bool:
        """Whether a generation can be gone back to; going back to nothing is always possible."""
        return number is None or os.path.isdir(os.path.join(self.root, str(number)))

    def _contents(self, number: int) -> dict[str, bytes]:
        """What the service's paths would read if the link pointed to this generation."""
        paths = {role: self.path(number, role) for role in self.where.paths()}
        return {role: self._read(path) for role, path in paths.items() if os.path.exists(path)}

    def _same(self, one: int, other: int | None) -> bool:
        return other is not None and self._contents(one) == self._contents(other)

    def _is_whole(self, number: int | None) -> bool:
        if number is None:
            return False
        certificate, key = self.path(number, "certificate"), self.path(number, "key")
        return os.path.exists(certificate) and os.path.exists(key) and self._is_pair(certificate, key)

    def _is_worth_keeping(self, promotion: Promotion) -> bool:
        return self._is_whole(promotion.previous) and not self._same(promotion.next, promotion.previous)

    def _has_staged_key(self) -> bool:
        """Whether a key waits that is not in service."""
        staged, current = self.staged_path("key"), self.current()
        in_service = "" if current is None else self.path(current, "key")
        if not os.path.exists(staged):
            return False
        return not os.path.exists(in_service) or self._read(staged) != self._read(in_service)

    def _foreign_links(self) -> dict[str, str]:
        paths = self.where.paths().items()
        return {role: os.readlink(path) for role, path in paths if os.path.islink(path) and not self.linked(role)}

    @staticmethod
    def _read(path: str) -> bytes:
        try:
            with open(path, "rb") as stream:
                return stream.read()
        except OSError as exc:
            raise HostError(f"{path} cannot be read, so it cannot be kept for going back: {exc.strerror}.") from exc


def id_of(wanted: Mapping[str, Any]) -> str:
    """How the ledger and all results name a certificate."""
    return f"{wanted['identity']}/{wanted['name']}"


def contents_of(certificate: str, key: bytes, chain: str, *, has_chain_file: bool) -> dict[str, bytes]:
    """The files of a generation: the intermediates stand behind the leaf, unless they have a file of their own."""
    with_chain = certificate if has_chain_file else certificate + chain
    contents = dict(zip(ROLES, (with_chain.encode(), key, chain.encode())))
    return contents if has_chain_file else {role: contents[role] for role in ("certificate", "key")}
