# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After the proof by others: the previous pair goes away, or comes back into service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .endpoint import Endpoint
from .errors import HostError
from .generations import Promotion, id_of
from .service import Service, sentences
from .transaction import Outcome


class Confirmation:
    """The end of one certificate's trial on this host."""

    def __init__(self, order: Mapping[str, Any], *, by: str = "", endpoint: Endpoint | None = None) -> None:
        """O(order): identity, name, where, reload, prove, anchors, and said: what the others say."""
        self.id = id_of(order)
        self.service = Service.of(order, by=by, endpoint=endpoint)
        self.store = self.service.store
        self.others_said = str(order.get("said") or "")

    def confirm(self) -> Outcome:
        """Others accept the pair in place: the previous one is a useless key from now on. The service is not touched."""
        try:
            with self.store.holding():
                self.store.prune(keep_staged=True)
        except (HostError, OSError) as exc:
            said = f"{self.others_said}. The previous pair could not be removed ({exc}); the next run does it."
            return self._outcome("installed", None, None, said, unconfirmed=True)
        return self._outcome("installed", None, None, self.others_said)

    def restore(self) -> Outcome:
        """Others do not accept it: the previous pair goes back into service, and is proved there."""
        now = self.service.leaf_on_disk()
        try:
            with self.store.holding():
                promotion = self.store.kept()
                obstacle = self.service.method.check()
                if promotion is None or promotion.previous is None or now is None:
                    return self._keep(now, "There is no earlier pair on this host to go back to")
                if obstacle:
                    return self._keep(now, f"The previous pair could not be put back: {obstacle}", unconfirmed=True)
                return self._restore(promotion, now, self.service.leaf_of(promotion.previous))
        except (HostError, OSError) as exc:
            return self._keep(now, f"The previous pair could not be put back: {exc}", unconfirmed=True)

    def _restore(self, promotion: Promotion, now: str, former: str | None) -> Outcome:
        # For a retry, once the reason is mended.
        self.store.stage_again(promotion.next, now)
        self.store.restore(promotion)
        refused = self.service.follow_back()
        left = self._tidy()
        said = sentences(self.others_said, "The previous pair was put back")
        against = f"With it, {refused}" if refused else ""
        if self.service.is_back(former, refused):
            what = "Its certificate is served again" if self.service.endpoint else "The service took it"
            return self._outcome("rolled_back", now, former, sentences(said, against, what, left), touched=True)
        said = sentences(said, against, "Its certificate is not served again", self.service.served_text(former), left)
        return self._outcome("failed", now, self.service.leaf_now(), said, touched=True)

    def _tidy(self) -> str | None:
        try:
            self.store.prune(keep_staged=True)
        except OSError as exc:
            return f"Leftovers in {self.store.root} could not be removed ({exc.strerror}); the next run does it"
        return None

    def _keep(self, now: str | None, why: str, *, unconfirmed: bool = False) -> Outcome:
        said = sentences(self.others_said, why, "The new pair stays in service")
        return self._outcome("kept", now, now, said, unconfirmed=unconfirmed)

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
