# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a pair to a device and prove it, or take it back; and remove one.

A device's former key is gone as soon as it takes another, so there is no way back to it. Everything is verified before
the upload; a proof that fails leads to one more upload, and then to what C(on_failure) says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .._probe.prove import prove
from .._x509.parse import Leaf
from .acquaintance import Acquaintance, Met, Target, stranger_text
from .change_state import check_state
from .description import Api
from .errors import DeviceError
from .login import Credentials
from .no_https import explain_no_leaf
from .pair import Pair
from .rest_client import Answer, DeviceClient


@dataclass(frozen=True)
class Access:
    """A device, its API and login, and what it is recognised by. C(identity) is its name in messages."""

    identity: str
    target: Target
    api: Api
    credentials: Credentials
    acquaintance: Acquaintance

    def meet(self) -> Met:
        """Look at the device; nothing is sent."""
        return self.acquaintance.meet(self.target)

    def client(self, met: Met) -> DeviceClient:
        """Speak to the device as it was just met."""
        return DeviceClient(self.api, self.target, met, self.credentials, anchors=self.acquaintance.anchors)


@dataclass(frozen=True)
class Wish:
    """The pair that is to be served, and how that is proved: under which anchors, for how long, seen by whom.

    C(judged) is the fingerprint of the leaf that was found wanting, where that is known.
    """

    pair: Pair
    anchors: str
    hold: float
    on_failure: str
    by: str
    judged: str = ""

    @property
    def fingerprint(self) -> str:
        """The leaf that must be served."""
        return self.pair.leaf.fingerprint


@dataclass(frozen=True)
class Waiting:
    """The clock, so that tests need not wait."""

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Delivered:
    """How it went: an outcome of design.md, the leaf that was served before and is served now, the last proof."""

    outcome: str
    before: Leaf | None
    after: Leaf | None
    said: str
    proof: dict[str, Any] | None = None


def deliver(access: Access, wish: Wish, *, waiting: Waiting | None = None) -> Delivered:
    """Upload the pair and prove it. O(access.acquaintance.leaves) should hold the pair's leaf, so that a device which
    serves it already, but not as it should, is known."""
    waiting = waiting or Waiting()
    before = access.meet()
    if before.leaf is None:
        return _not_met(access, before)
    if not before.recognised:
        return Delivered("refused", before.leaf, before.leaf, stranger_text(before, identity=access.identity))
    if before.leaf.fingerprint == wish.fingerprint:
        # It was brought into service, and held, by somebody before.
        proof = _prove(access, replace(wish, hold=0), waiting, timeout=0)
        if proof["ok"]:
            return Delivered("unchanged", before.leaf, before.leaf, proof["said"], proof)
    if wish.judged and before.leaf.fingerprint not in (wish.judged, wish.fingerprint):
        other = _of_another_run(access, wish, before, waiting, before=before.leaf, why="Nothing was sent.")
        if other:
            return other
    return _attempts(access, wish, before, waiting)


def _of_another_run(
    access: Access, wish: Wish, now: Met, waiting: Waiting, *, before: Leaf | None, why: str
) -> Delivered | None:
    """A certificate of the same CA that somebody else has brought in meanwhile is left alone if it is proved; None if it is no such.

    Two runs that each insisted on their own would take turns.
    """
    if now.leaf is None or not now.seen.trusted:
        return None
    proof = _prove(access, wish, waiting, timeout=0, fingerprint=now.leaf.fingerprint)
    if not proof["ok"]:
        return None
    said = f"{why} Another run has brought in a certificate meanwhile; it was left alone. {proof['said']}"
    return Delivered("unchanged", before, now.leaf, said, proof)


def _not_met(access: Access, met: Met) -> Delivered:
    """A device that is away is absent; one that is there without a certificate that can be read has a problem."""
    if met.seen.leaf is not None:
        return Delivered("refused", None, None, stranger_text(met, identity=access.identity))
    try:
        return Delivered("absent", None, None, explain_no_leaf(met.seen, access.target, access.api))
    except DeviceError as exc:
        return Delivered("failed", None, None, str(exc))


def _attempts(access: Access, wish: Wish, before: Met, waiting: Waiting) -> Delivered:
    was_served, met = before.leaf is not None and before.leaf.fingerprint == wish.fingerprint, before
    proof: dict[str, Any] = {}
    answer = Answer("none", "nothing was sent yet")
    for _attempt in range(2):
        if met.leaf is None and proof:
            break  # it took the upload and does not answer any more: what is served now is said below
        if not met.recognised:
            said = (
                f"since the upload somebody else answers ({met.seen.said.rstrip('.')}), who was sent nothing. Look at the device "
                "before the next run; if it is the device itself, pin its key with playbooks/enrol.yml."
            )
            return Delivered("failed", before.leaf, met.leaf, said, proof)
        busy = check_state(access, met=met)
        if busy and not proof:
            return Delivered("deferred", before.leaf, before.leaf, busy)
        if busy:
            answer = replace(answer, kind="interrupted", said=f"{answer.said}. It was not sent again: {busy}")
            break
        answer = access.client(met).upload(wish.pair)
        if answer.kind in {"login", "stranger"}:
            return Delivered("failed", before.leaf, met.leaf, answer.said, proof or None)
        # What is already there, or was rejected, is compared at once; everything else may take its time.
        patience = access.api.wait_timeout if answer.kind in {"accepted", "uncertain"} else 0.0
        proof = _proved_through_restart(access, wish, waiting, timeout=patience)
        if proof["ok"]:
            return Delivered("installed", before.leaf, wish.pair.leaf, proof["said"], proof)
        was_served = was_served or proof["held"] is not None
        if answer.kind in {"already", "rejected"}:
            break
        met = access.meet()
        if met.seen.trusted and _is_third(met, before, wish):
            break
    return _after_failure(access, wish, before, waiting, proof=proof, answer=answer, was_served=was_served)


def _is_third(met: Met, before: Met, wish: Wish) -> bool:
    """Whether neither the former leaf is served nor the new one."""
    former = before.leaf.fingerprint if before.leaf else ""
    return met.leaf is not None and met.leaf.fingerprint not in (former, wish.fingerprint)


def _proved_through_restart(access: Access, wish: Wish, waiting: Waiting, *, timeout: float) -> dict[str, Any]:
    """A proof; a device that served the pair and went away before it had held is waited for, and the proof begun anew."""
    proof = _prove(access, wish, waiting, timeout=timeout)
    if proof["ok"] or proof["held"] is None or proof["leaf"]:
        return proof
    met = _until(lambda met: met.leaf is not None, access, waiting)
    if met.leaf is None or met.leaf.fingerprint != wish.fingerprint:
        return proof
    return _prove(access, wish, waiting, timeout=0)


def _prove(
    access: Access, wish: Wish, waiting: Waiting, *, timeout: float, fingerprint: str | None = None
) -> dict[str, Any]:
    return prove(
        address=access.target.address,
        port=access.target.port,
        server_name=access.target.server_name,
        anchors=wish.anchors,
        fingerprint=fingerprint or wish.fingerprint,
        hold=wish.hold,
        timeout=timeout,
        by=wish.by,
        sleep=waiting.sleep,
        clock=waiting.clock,
        interval=access.api.wait_interval,
        proxy=access.target.proxy,
    )


def _after_failure(
    access: Access,
    wish: Wish,
    before: Met,
    waiting: Waiting,
    *,
    proof: dict[str, Any],
    answer: Answer,
    was_served: bool,
) -> Delivered:
    """Say what is served now, and take the new pair back if it is and the user wants that."""
    now, why = access.meet(), _why(answer, proof)
    if now.leaf is None:
        return Delivered("failed", before.leaf, None, f"{why} Now: {now.seen.said}", proof)
    if now.leaf.fingerprint == wish.fingerprint:
        if wish.on_failure == "keep":
            return Delivered("kept", before.leaf, now.leaf, f"{why} The new certificate was left in place.", proof)
        return _taken_back(access, now, waiting, before=before.leaf, why=why, proof=proof)
    if before.leaf is not None and now.leaf.fingerprint == before.leaf.fingerprint:
        if was_served:
            return Delivered("rolled_back", before.leaf, now.leaf, f"{why} The former certificate is back.", proof)
        return Delivered("failed", before.leaf, now.leaf, f"{why} The former certificate is still served.", proof)
    other = _of_another_run(access, wish, now, waiting, before=before.leaf, why=why)
    if other:
        return other
    said = f"{why} Now a third certificate is served ({now.leaf.subject or now.leaf.fingerprint}); it was left alone."
    return Delivered("failed", before.leaf, now.leaf, said, proof)


def _why(answer: Answer, proof: dict[str, Any]) -> str:
    if answer.kind == "accepted":
        return f"The upload was accepted twice, but: {proof['said']}"
    return f"{answer.said}. {proof['said']}"


def take_back(access: Access, *, fingerprint: str, why: str, waiting: Waiting | None = None) -> Delivered:
    """Remove a pair that was proved here and that others do not accept. If another leaf is served by now, it is left alone."""
    now = access.meet()
    if now.leaf is None:
        return Delivered("failed", None, None, f"{why} It was to be removed, but: {now.seen.said}")
    if now.leaf.fingerprint != fingerprint:
        said = f"{why} By now another certificate is served ({now.leaf.subject or now.leaf.fingerprint}); it was left alone."
        return Delivered("failed", now.leaf, now.leaf, said)
    if not now.recognised:
        said = f"{why} It was to be removed, but {stranger_text(now, identity=access.identity)}"
        return Delivered("kept", now.leaf, now.leaf, said)
    return _taken_back(access, now, waiting or Waiting(), before=now.leaf, why=why, proof=None)


def _taken_back(
    access: Access, now: Met, waiting: Waiting, *, before: Leaf | None, why: str, proof: dict[str, Any] | None
) -> Delivered:
    """Remove the pair that is served now."""
    fingerprint = now.leaf.fingerprint if now.leaf else ""
    if access.api.remove is None:
        said = f"{why} API '{access.api.name}' does not say how to remove a certificate: the new one was left in place."
        return Delivered("kept", before, now.leaf, said, proof)
    answer = access.client(now).remove()
    is_taken = answer.kind in {"accepted", "uncertain"}
    after = _until_another(access, fingerprint, waiting) if is_taken else access.meet()
    if after.leaf is not None and after.leaf.fingerprint != fingerprint:
        said = f"{why} The new certificate was removed, the device serves its built-in one."
        return Delivered("removed", before, after.leaf, said, proof)
    said = f"{why} Removing the new certificate did not help: {answer.said}; {after.seen.said}"
    return Delivered("kept" if after.leaf else "failed", before, after.leaf, said, proof)


def remove(access: Access, *, waiting: Waiting | None = None) -> Delivered:
    """Go back to the built-in certificate. A device that has no other answers so, and nothing changed."""
    waiting = waiting or Waiting()
    before = access.meet()
    if before.leaf is None:
        return _not_met(access, before)
    if not before.recognised:
        return Delivered("refused", before.leaf, before.leaf, stranger_text(before, identity=access.identity))
    answer = access.client(before).remove()
    if answer.kind == "absent":
        return Delivered("unchanged", before.leaf, before.leaf, f"{answer.said}: no certificate was installed.")
    if answer.kind not in {"accepted", "uncertain"}:
        return Delivered("failed", before.leaf, before.leaf, answer.said)
    after = _until_another(access, before.leaf.fingerprint, waiting)
    if after.leaf is None or after.leaf.fingerprint == before.leaf.fingerprint:
        said = f"{answer.said}, but after {access.api.wait_timeout:g} s: {after.seen.said}"
        return Delivered("failed", before.leaf, after.leaf, said)
    said = f"{access.target.text} serves another certificate again: {after.leaf.subject or after.leaf.fingerprint}."
    return Delivered("removed", before.leaf, after.leaf, said)


def _until_another(access: Access, fingerprint: str, waiting: Waiting) -> Met:
    """Wait until another leaf than this one is served, or the API's time is over; what is served then."""
    return _until(lambda met: met.leaf is not None and met.leaf.fingerprint != fingerprint, access, waiting)


def _until(is_there: Callable[[Met], bool], access: Access, waiting: Waiting) -> Met:
    """Look until what was hoped for is there, or the API's time is over; the last look."""
    begin, met = waiting.clock(), access.meet()
    while not is_there(met) and waiting.clock() - begin < access.api.wait_timeout:
        waiting.sleep(access.api.wait_interval)
        met = access.meet()
    return met


def check_removable(api: Api, *, where: str) -> None:
    """Raise DeviceError when the API does not say how a certificate is removed."""
    if api.remove is None:
        raise DeviceError(
            f"{where}: API '{api.name}' does not say how a certificate is removed. Describe 'remove', or use on_failure: keep."
        )
