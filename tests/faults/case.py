# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fault from before it strikes until the next run has converged, and what is said of it in the table.

A test reads: C(case.begin(target)) · a run with the fault · C(case.told(run, …)) · C(case.ends(target, 'old')) ·
C(case.converges()). What is not safe raises UnsafeError; everything else that goes wrong is a failure of the test.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..integration.machines import strict_verification
from ..integration.playbook import Run, run_playbook
from .controller import Controller
from .sampler import NOTHING, Stretch, Watch, as_text, look
from .targets import Target, names_of, spki_of

# A retry at once, and no word about what failed before: the ledger's patience has tests of its own.
AT_ONCE = {"tls_retry_now": True, "tls_failure_budget": ""}
SAID = 150
# Where YAML goes on after a text, and Ansible after a task
NEXT_FIELD = re.compile(r" (?:PLAY RECAP|TASK \[|RUNNING HANDLER \[|Origin:|- code:)|(?<=[.'])\s[a-z_]+: ")
# So many targets are counted, not named
MANY = 4


class UnsafeError(AssertionError):
    """What was served or reported is not what may be after this fault."""


@dataclass
class Watched:
    """A target under watch: what it served at the beginning, what it shall serve in the end."""

    target: Target
    watch: Watch
    old: str
    wish: str
    final: str = "old"
    seen: list[Stretch] = field(default_factory=list)


class Case:
    """A fault and its row."""

    def __init__(self, name: str, fault: str, *, folder: Path) -> None:
        self.name, self.fault = name, fault
        self._folder = folder
        self._watched: dict[str, Watched] = {}
        self._struck: float | None = None
        self._said = ""
        self._next_run = ""
        self._safe_after: float | None = None

    # The steps of a test

    def begin(self, *targets: Target) -> str:
        """Note what is served, wish for another name in each certificate, and begin to watch. Answers the (last) wish."""
        if any(target.unsettled() for target in targets):
            # The first run on this host, or an earlier fault was not overcome (its test says so).
            self._watch([replace(target, settings={}) if target.store else target for target in targets])
            run = self.run()
            assert run.rc == 0, run.output
        return self._watch(targets)

    def _watch(self, targets: Sequence[Target]) -> str:
        self.end()
        wish = ""
        for target in targets:
            watch = Watch(target.endpoint)
            wish = target.next_wish()
            watch.__enter__()
            self._watched[target.name] = Watched(target, watch, watch.last.fingerprint, wish)
        return wish

    def use(self, target: Target) -> None:
        """From now on runs have this target's settings: what was wrong with it is put right, or goes wrong."""
        self._watched[target.name].target = target

    def run(self, *arguments: str, **extra: Any) -> Run:
        """A run that shall bring the wished names about."""
        return run_playbook(self._playbook(), *arguments, **self._options(extra))

    def start(self, *arguments: str, **extra: Any) -> Controller:
        """The same, to be watched while it works."""
        return Controller(self._playbook(), *arguments, **self._options(extra))

    def strike(self) -> None:
        """The fault strikes now; without this, with the first look at something that was not there before."""
        self._struck = time.monotonic()

    def await_new(self, target: Target) -> None:
        """Wait until a client gets the new leaf."""
        limit = time.monotonic() + 60
        while self._kind_now(self._watched[target.name]) != "new":
            assert time.monotonic() < limit, f"{target.name} never served the new leaf"
            time.sleep(0.1)

    def told(self, run: Run, *words: str) -> None:
        """The operator reads these words in what the run printed; the table quotes from the first one on."""
        text = plain(run.output)
        missing = [word for word in words if word not in text]
        if missing:
            raise UnsafeError(f"the operator was not told '{missing[0]}':\n{run.output}")
        self.note(quoted(text, words[0]) if words else "")

    def note(self, said: str) -> None:
        """What the operator sees, for the table."""
        self._said = said

    def ends(self, target: Target, *kinds: str, within: float = 0.0) -> str:
        """What is served after the fault, and stays: one of O(kinds) (old, new, built-in, nothing), within so many seconds."""
        watched = self._watched[target.name]
        limit = time.monotonic() + within
        while (kind := self._kind_now(watched)) not in kinds and time.monotonic() < limit:
            time.sleep(0.2)
        watched.watch.wait_for_news()
        watched.seen = self._stretches(watched)
        if kind not in kinds:
            raise UnsafeError(
                f"{target.name} serves '{kind}' in the end, not {' or '.join(kinds)}: {as_text(watched.seen)}"
            )
        if kind == "new":
            self._verify(watched)
        watched.final = kind
        self._safe_after = max(self._safe_after or 0.0, self._seconds_to_safe(watched))
        return kind

    def converges(self, *arguments: str, **extra: Any) -> Run:
        """The next run, without the fault, brings what is wished, or finds it there; nothing strange was ever served."""
        before = {name: self._kind_now(watched) for name, watched in self._watched.items()}
        begin = time.monotonic()
        run = self.run(*arguments, **extra)
        seconds = time.monotonic() - begin
        if run.rc != 0 or run.failed:
            raise UnsafeError(f"the next run does not converge:\n{run.output}")
        for watched in self._watched.values():
            if self._kind_now(watched) != "new":
                raise UnsafeError(
                    f"{watched.target.name} does not serve what is wished after the next run:\n{run.output}"
                )
            self._verify(watched)
            leftovers = watched.target.unsettled()
            if leftovers:
                raise UnsafeError(f"{watched.target.name} still has {leftovers} in its store after the next run")
        done = "left it in place" if set(before.values()) == {"new"} else "installed, proved"
        self._next_run = f"{done} ({seconds:.0f} s)"
        self.end()
        for watched in self._watched.values():
            strange = [stretch for stretch in self._stretches(watched) if stretch.kind == "other"]
            if strange:
                raise UnsafeError(f"{watched.target.name} served something that nobody knows: {strange}")
        return run

    def end(self) -> None:
        """Stop watching."""
        for watched in self._watched.values():
            watched.watch.stop()

    def row(self, failure: str | None) -> dict[str, Any]:
        """The line of the table."""
        return {
            "name": self.name,
            "fault": self.fault,
            "seen": self._said,
            "served": self._served(),
            "seconds_to_safe": None if self._safe_after is None else round(self._safe_after, 1),
            "next_run": self._next_run,
            "unsafe": failure,
        }

    # How it is done

    def _served(self) -> str:
        shown: dict[str, list[str]] = {}
        for watched in self._watched.values():
            text = as_text(watched.seen) if len(self._watched) < MANY else watched.final
            shown.setdefault(text, []).append(watched.target.name)
        if len(shown) == 1:
            return next(iter(shown))
        parts = {
            text: ", ".join(names) if len(names) < MANY else f"{len(names)} of them" for text, names in shown.items()
        }
        return "; ".join(f"{names}: {text}" for text, names in parts.items())

    def _playbook(self) -> str:
        return next(iter(self._watched.values())).target.playbook

    def _options(self, extra: dict[str, Any]) -> dict[str, Any]:
        hosts = {name: watched.target.variables(watched.wish) for name, watched in self._watched.items()}
        overlay = self._folder / "wishes.json"
        overlay.write_text(json.dumps({"all": {"hosts": hosts}}))
        inventory = next(iter(self._watched.values())).target.inventory
        return {
            "limit": ":".join(hosts),
            "overlay": overlay,
            "inventory": inventory,
            "extra": {**AT_ONCE, **extra},
        }

    def _kind_now(self, watched: Watched) -> str:
        leaf = look(watched.target.endpoint)
        return self._kind(watched, leaf)

    def _kind(self, watched: Watched, leaf: bytes | None) -> str:
        target = watched.target
        if leaf is None:
            return "nothing"
        if leaf == watched.watch.leaves.get(watched.old):
            return "old"
        if spki_of(leaf) == target.built_in():
            return "built-in"
        return "new" if watched.wish in names_of(leaf) else "other"

    def _stretches(self, watched: Watched) -> list[Stretch]:
        kinds = {fingerprint: self._kind(watched, leaf) for fingerprint, leaf in watched.watch.leaves.items()}
        return watched.watch.stretches({**kinds, NOTHING: "nothing"})

    def _verify(self, watched: Watched) -> None:
        """A strict client with the fleet's anchors alone."""
        anchors = self._folder / "anchors.pem"
        anchors.write_text(watched.target.anchors())
        said = strict_verification(watched.target.endpoint, anchors)
        if "Verify return code: 0 (ok)" not in said:
            raise UnsafeError(f"{watched.target.name} serves a leaf that a strict client refuses:\n{said[-600:]}")

    def _seconds_to_safe(self, watched: Watched) -> float:
        """From the strike, or from what was unsafe later on, until only the old leaf, or the one of the end, is served."""
        struck = self._struck or 0.0
        unsafe = [
            stretch for stretch in watched.seen if stretch.kind not in {"old", watched.final} and stretch.end > struck
        ]
        return unsafe[-1].end - max(struck, unsafe[0].begin) if unsafe else 0.0


def plain(output: str) -> str:
    """What was printed, with wrapped lines joined and quotes of YAML undone."""
    return " ".join(output.split()).replace("''", "'")


def quoted(text: str, word: str) -> str:
    """The part of a text that begins with this word, short enough for a table; what YAML shows after it is left out."""
    part = text[text.index(word) :][: SAID + 1]
    part = NEXT_FIELD.split(part)[0].rstrip("' ")
    return part if len(part) <= SAID else f"{part[:SAID].rpartition(' ')[0]} …"
