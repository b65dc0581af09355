# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After the proof by others: the previous pair goes away, or comes back into service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import openssl, pem
from .endpoint import Endpoint
from .errors import HostError
from .generations import ADOPTED, BusyError, Promotion, id_of
from .service import Service, sentences
from .transaction import Outcome


class Confirmation:
    """The end of one certificate's trial on this host."""

    def __init__(self, order: Mapping[str, Any], *, by: str = "", endpoint: Endpoint | None = None) -> None:
        """O(order): identity, name, where, reload, prove, anchors, said: what the others say, and expected: of which leaf.

        Its fingerprint may be missing; then they mean whatever is in place.
        """
        self.id = id_of(order)
        self.service = Service.of(order, by=by, endpoint=endpoint)
        self.store = self.service.store
        self.others_said = str(order.get("said") or "")
        self.expected: str | None = order.get("expected") or None

    def confirm(self) -> Outcome:
        """Others accept the pair in place: the previous one is a useless key from now on. The service is not touched."""
        try:
            with self.store.holding():
                now, overtaken = self.service.leaf_on_disk(), self._overtaken()
                if overtaken:
                    return self._not_tried(overtaken)
                self.store.prune(keep_staged=True)
        except BusyError as exc:
            return self._not_tried(str(exc))
        except (HostError, OSError) as exc:
            said = sentences(self.others_said, f"The previous pair could not be removed ({exc}); the next run does it")
            return self._outcome("installed", None, None, said, unconfirmed=True)
        return self._outcome("installed", now, now, self.others_said)

    def restore(self) -> Outcome:
        """Others do not accept it: the previous pair goes back into service, and is proved there."""
        now = self.service.leaf_on_disk()
        try:
            with self.store.holding():
                now, overtaken = self.service.leaf_on_disk(), self._overtaken()
                if overtaken:
                    return self._not_tried(overtaken)
                promotion = self.store.kept()
                if promotion is None or promotion.previous is None or now is None:
                    return self._keep(now, "There is no earlier pair on this host to go back to")
                obstacle = self.service.method.check() or self._useless(promotion, promotion.previous, now)
                if obstacle:
                    return self._keep(now, f"The previous pair could not be put back: {obstacle}", unconfirmed=True)
                return self._restore(promotion, now, self.service.leaf_of(promotion.previous))
        except BusyError as exc:
            return self._not_tried(str(exc))
        except (HostError, OSError) as exc:
            return self._keep(now, f"The previous pair could not be put back: {exc}", unconfirmed=True)

    def _overtaken(self) -> str | None:
        """Why the others' words are not about the pair in place; None where they are."""
        if self.store.unfinished() is not None:
            return "Another run has brought in a pair that is not decided yet. Nothing was done here"
        leaf = self.service.leaf_on_disk()
        if self.expected and (leaf is None or pem.fingerprint(leaf) != self.expected):
            return "Another run is on its way: the pair in place is not the one looked at. Nothing was done here"
        return None

    def _useless(self, promotion: Promotion, previous: int, now: str) -> str | None:
        """Why clients would not accept the previous pair either; None where some may."""
        leaf, anchors, endpoint = self.service.leaf_of(previous), self.service.anchors, self.service.endpoint
        error = openssl.time_error(leaf) if leaf else None
        # Somebody may know a pair that was here before certfleet, whoever issued it.
        if leaf and error is None and anchors and previous != ADOPTED:
            error = openssl.chain_error(leaf, chain=self.service.chain_of(previous), anchors=anchors, server_name=None)
            if error:
                chain, server_name = self.service.chain_of(promotion.next), endpoint.server_name if endpoint else None
                worse = openssl.chain_error(now, chain=chain, anchors=anchors, server_name=server_name)
                error = error if worse is None else None
        return f"clients would not accept it either ({error})" if error else None

    def _restore(self, promotion: Promotion, now: str, former: str | None) -> Outcome:
        # For a retry, once the reason is mended.
        self.store.stage_again(promotion.next, now)
        try:
            self.store.restore(promotion)
        except OSError:
            if self.store.current() == promotion.next:
                raise  # nothing has become of it
        refused = self.service.follow_back()
        left = self._tidy()
        said = sentences(self.others_said, "The previous pair was put back")
        against = f"With it, {refused}" if refused else ""
        if self.service.is_back(former, refused):
            what = "Its certificate is served again" if self.service.endpoint else "The service took it"
            return self._outcome("rolled_back", now, former, sentences(said, against, what, left), touched=True)
        said = sentences(said, against, "Its certificate is not served again", self.service.served_text(former), left)
        return self._outcome("failed", now, self.service.leaf_after(), said, touched=True)

    def _tidy(self) -> str | None:
        try:
            self.store.prune(keep_staged=True)
        except (HostError, OSError) as exc:
            return f"Leftovers in {self.store.root} could not be removed ({exc}); the next run does it"
        return None

    def _keep(self, now: str | None, why: str, *, unconfirmed: bool = False) -> Outcome:
        said = sentences(self.others_said, why, "The new pair stays in service")
        return self._outcome("kept", now, now, said, unconfirmed=unconfirmed)

    def _not_tried(self, why: str) -> Outcome:
        """Another run decides; the previous pair, if there is one, waits on."""
        return self._outcome("not_tried", None, None, sentences(self.others_said, why), unconfirmed=True)

    def _outcome(
        self,
        outcome: str,
        before: str | None,
        after: str | None,
        said: str,
        *,
        touched: bool = False,
        unconfirmed: bool = False,
    ) -> Outcome:
        return Outcome(self.id, outcome, before, after, None, said, touched, unconfirmed)
