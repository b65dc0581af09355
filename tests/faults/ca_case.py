# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fault of the CA itself, and its row in the table. What is not safe raises UnsafeError, as for a served certificate."""

from __future__ import annotations

from typing import Any

from .ca_room import PROBLEMS, Answer, Room, State
from .case import SAID, UnsafeError

# Files that change whenever the CA is written to, or only while it is.
VOLATILE = ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "lock")
ASIDE = (".new-", ".restoring")


class CACase:
    """One fault of the CA: what is there before, what is said, what is there afterwards."""

    def __init__(self, name: str, fault: str, *, room: Room) -> None:
        self.name, self.fault = name, fault
        self.room = room
        self._before = State([])
        self._said: list[str] = []
        self._afterwards = ""
        self._next_run = ""

    def begin(self) -> State:
        """Remember what is there, to be compared with later on; it must be well."""
        self._before = self.room.look()
        assert self._before.problems == [], self._before.problems
        self.room.keep("before")
        return self._before

    def begin_again(self) -> None:
        """As it was at the beginning."""
        self.room.put_back("before")

    def told(self, answer: Answer, *words: str, code: str | None = None) -> None:
        """The operator is refused with these words, and in no other way: never by a traceback."""
        said = (
            answer.refused[0]
            if answer.refused and not answer.failed
            else {"code": answer.code, "message": answer.message}
        )
        if not said["message"] or (not answer.failed and not answer.refused):
            raise UnsafeError(f"nothing was said of it: {answer}")
        if said["code"] != PROBLEMS and (not said["code"] or code not in (None, said["code"])):
            raise UnsafeError(f"refused as '{said['code']}', not as '{code}': {said['message']}")
        missing = [word for word in words if word not in said["message"]]
        if missing:
            raise UnsafeError(f"the operator was not told '{missing[0]}': {said['message']}")
        self.note(said["message"])

    def note(self, said: str) -> None:
        """What the operator sees, for the table."""
        if said not in self._said:
            self._said.append(said)

    def unharmed(self, *, but: tuple[str, ...] = (), turned: tuple[str, ...] = (), whole: bool = True) -> State:
        """All that was there is still there, and nothing was made anew.

        O(but): files that may have been replaced as a whole. O(turned): identities whose certificates may have changed their
        state. O(whole): there is nothing wrong with it at all (otherwise the fault is still there).
        """
        state = self.room.look()
        if whole and state.problems:
            raise UnsafeError(f"the CA is not whole: {state.problems[0]}")
        kept = [path for path in self._before.files if path not in but and not path.endswith(VOLATILE)]
        changed = [path for path in kept if state.files.get(path) != self._before.files[path]]
        if changed:
            raise UnsafeError(f"{changed[0]} has been changed or lost")
        for serial, (identity, was) in self._before.serials.items():
            if whole and identity not in turned and state.serials.get(serial) != (identity, was):
                raise UnsafeError(f"{serial} of '{identity}' was {was}, now the ledger has {state.serials.get(serial)}")
        self._afterwards = (
            self._afterwards or f"{len(state.files)} files and {len(state.serials)} certificates as before"
        )
        return state

    def converges(self, *answers: Answer) -> State:
        """The next runs, without the fault, do what is asked of them; nothing half-done is left."""
        for answer in answers:
            if answer.failed or answer.refused:
                raise UnsafeError(f"the next run does not converge: {answer}")
        state = self.room.look()
        left = [path for path in state.files if any(part.startswith(ASIDE) for part in path.split("/"))]
        if state.problems or left:
            raise UnsafeError(f"not in order after the next run: {[*state.problems, *left][0]}")
        lost = [serial for serial in self._before.serials if serial not in state.serials]
        if lost:
            raise UnsafeError(f"the ledger has forgotten {lost[0]}")
        self._next_run = f"as if nothing had been ({max(answer.seconds for answer in answers):.1f} s)"
        return state

    def afterwards(self, text: str) -> None:
        """What is there after the fault, for the table."""
        self._afterwards = text

    def next_run(self, text: str) -> None:
        """How the next run went, for the table."""
        self._next_run = text

    def row(self, failure: str | None) -> dict[str, Any]:
        """The line of the table. A CA serves nothing: what is there afterwards stands in that column."""
        said = " / ".join(
            text if len(text) <= SAID else f"{text[:SAID].rpartition(' ')[0]} …" for text in self._said[:2]
        )
        return {
            "name": self.name,
            "fault": self.fault,
            "seen": said,
            "served": self._afterwards,
            "seconds_to_safe": None,
            "next_run": self._next_run,
            "unsafe": failure,
        }
