# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What strace saw of a process: the calls that change files, in their order, and what is wrong with that order.

Only a log of C(strace -f -y -s 0 -o) is understood: no contents of files are in it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

CHANGES: tuple[str, ...] = (
    *("openat", "write", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2", "symlink"),
    *("symlinkat", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "fchmod", "chmod", "fchown"),
    "chown",
)
CALLS = (*CHANGES, "execve")
_FLUSHES = frozenset({"fsync", "fdatasync"})
_CONTENT = frozenset({"openat", "write", "pwrite64", "ftruncate", "fchmod", "fchown"})
# What makes, moves or removes a name in a folder.
_NAMES = frozenset(
    {"rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"}
)
_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<inside>.*)\) += (?P<result>-?\d+)")
_OPEN_FILE = re.compile(r"\d+<(/[^>]*)>")
_FOLDER_FILE = re.compile(r"(?:AT_FDCWD|\d+)<(/[^>]*)>, \"([^\"]*)\"")
_TEXT = re.compile(r"\"([^\"]*)\"")


@dataclass(frozen=True)
class Event:
    """One call that succeeded. C(path) is what it changed; C(other) the former name, the target of a link, a new file's
    mode, or empty.

    C(nth): it was the process's so-many-th call of this name, as strace counts them (from 1). C(is_main): of the process
    that strace has started, not of a program that this one runs.
    """

    call: str
    path: str
    other: str
    nth: int
    is_main: bool

    @property
    def folder(self) -> str:
        """Where the changed name stands."""
        return os.path.dirname(self.path)


def read_events(log: str) -> list[Event]:
    """All calls of CALLS that worked, in the order in which they began."""
    counts: Counter[tuple[str, str]] = Counter()
    main = ""
    events = []
    for line in _whole_lines(log.splitlines()):
        found = _LINE.match(line)
        if not found or found["call"] not in CALLS:
            continue
        main = main or found["pid"]
        counts[found["pid"], found["call"]] += 1
        if int(found["result"]) < 0 or (found["call"] == "openat" and "O_CREAT" not in found["inside"]):
            continue
        path, other = _paths(found["call"], found["inside"])
        nth = counts[found["pid"], found["call"]]
        events.append(Event(found["call"], os.path.normpath(path), other, nth, found["pid"] == main))
    return events


def below(events: Iterable[Event], *folders: str) -> list[Event]:
    """Those that change something in these folders, and the programs that are run in between."""
    inside = tuple(f"{folder}/" for folder in folders)
    return [item for item in events if item.call == "execve" or f"{item.path}/".startswith(inside)]


def violations(events: Sequence[Event]) -> list[str]:
    """A sentence for each change that a loss of power could undo after something that relies on it had happened, and for each
    file that others could have read too early."""
    found: list[str] = []
    for number, event in enumerate(events):
        before, after = events[:number], events[number + 1 :]
        if event.call == "openat":
            found += _open_to_others(event, after)
        if event.call.startswith("rename"):
            found += _unflushed_file(event, before)
        if event.call in _NAMES and not _is_aside(event.path):
            found += _unflushed_folder(event, after)
    return found


def flip_of(events: Sequence[Event], store: str) -> int:
    """Which of the events makes the service's paths read the new pair."""
    (number,) = [
        number
        for number, event in enumerate(events)
        if event.call.startswith("rename") and event.path == f"{store}/current" and _generation(events, number) != "0"
    ]
    return number


def as_table(events: Iterable[Event], roots: dict[str, str]) -> str:
    """A line for each event, with O(roots) (name -> folder) as the beginnings of paths."""
    lines = []
    for number, event in enumerate(events, 1):
        if event.call == "execve":
            lines.append(f"{number:>4}  run {os.path.basename(event.path)}")
            continue
        other = f"{_short(event.other, roots)} -> " if event.other else ""
        lines.append(f"{number:>4}  {event.call:<9} {other}{_short(event.path, roots)}")
    return "\n".join(lines)


def _generation(events: Sequence[Event], number: int) -> str:
    """Where the link leads that this event brings into place."""
    made = [event for event in events[:number] if event.call == "symlink" and event.path == events[number].other]
    return made[-1].other if made else ""


def _open_to_others(event: Event, after: Sequence[Event]) -> Iterator[str]:
    """A file that may become a key is its owner's alone until all of it is written."""
    if event.other != "0600":
        yield f"{event.path} is made with mode {event.other}"
    opened = False
    for item in after:
        if item.path != event.path:
            continue
        if item.call == "rename":
            return
        opened = opened or item.call in ("fchmod", "fchown")
        if opened and item.call == "write":
            yield f"{event.path} is written to after its owner or mode has been set"


def _unflushed_file(event: Event, before: Sequence[Event]) -> Iterator[str]:
    """What was written into a file must be on the disk before the file gets the name under which others look for it."""
    written = [number for number, item in enumerate(before) if item.path == event.other and item.call in _CONTENT]
    flushed = [number for number, item in enumerate(before) if item.path == event.other and item.call in _FLUSHES]
    if written and (not flushed or flushed[-1] < written[-1]):
        yield f"{event.other} gets its name {event.path} before it is flushed"


def _unflushed_folder(event: Event, after: Sequence[Event]) -> Iterator[str]:
    """A name that has changed must be on the disk before another one changes, or a program is run that may look at it."""
    for item in after:
        if item.call in _FLUSHES and item.path == event.folder:
            return
        # What is removed together with its folder needs no flushing of its own.
        if item.call in ("rmdir", "unlinkat") and event.call == "unlinkat":
            return
        if item.call == "execve" or (item.call in _NAMES and not _is_aside(item.path)):
            what = os.path.basename(item.path) if item.call == "execve" else f"{item.call} {item.path}"
            yield f"{event.call} {event.path} is not flushed before '{what}'"
            return
    yield f"{event.call} {event.path} is never flushed"


def _is_aside(path: str) -> bool:
    """A name that nobody looks for, of a host's files or of the CA's."""
    return path.endswith(".certfleet-new") or os.path.basename(path).startswith(".new-")


def _paths(call: str, inside: str) -> tuple[str, str]:
    """(what is changed, what else is named)."""
    texts = _TEXT.findall(inside)
    if call in ("symlink", "link", "rename"):
        return texts[1], texts[0]
    if call == "symlinkat":
        return _in_folder(inside), texts[0]
    if call in ("renameat", "renameat2", "linkat"):
        pairs = ["/".join(pair) if not pair[1].startswith("/") else pair[1] for pair in _FOLDER_FILE.findall(inside)]
        return pairs[1], pairs[0]
    if call == "openat":
        return _in_folder(inside), inside.rpartition(", ")[2]
    if call in ("unlinkat", "mkdirat"):
        return _in_folder(inside), ""
    if call in ("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "fchmod", "fchown"):
        opened = _OPEN_FILE.match(inside)
        return (opened[1] if opened else "", "")
    return texts[0], ""


def _in_folder(inside: str) -> str:
    found = _FOLDER_FILE.search(inside)
    assert found, inside
    return found[2] if found[2].startswith("/") else f"{found[1]}/{found[2]}"


def _whole_lines(lines: Iterable[str]) -> Iterator[str]:
    """Calls during which another process was seen are in two parts."""
    begun: dict[str, str] = {}
    for line in lines:
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line[: -len("<unfinished ...>")].rstrip()
        elif "resumed>" in line and pid in begun:
            yield f"{begun.pop(pid)}{line.partition('resumed>')[2]}"
        else:
            yield line


def _short(path: str, roots: dict[str, str]) -> str:
    for name, folder in roots.items():
        if f"{path}/".startswith(f"{folder}/"):
            return f"{name}{path[len(folder) :]}"
    return path
