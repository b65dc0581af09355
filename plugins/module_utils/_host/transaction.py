# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One certificate brought into service: validated, promoted, proved, committed; or the old pair is put back and proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from . import access, durable, openssl, pem
from .endpoint import Endpoint
from .errors import HostError
from .generations import BusyError, Promotion, contents_of, id_of
from .service import Service, is_same, sentences, text_of
from .watchdog import Places, Settings, Watchdog
from .watchdog_program import program

VERDICTS = ("issue", "install", "reload")


@dataclass(frozen=True)
class Outcome:
    """What became of one certificate.

    C(before), C(after): PEM of the leaf that was and is served (without an endpoint: on disk).
    C(touched): files or service were changed at some point, even if all is as before again. C(unconfirmed): the previous
    pair is kept on the host until others have confirmed this one.
    """

    id: str
    outcome: str
    before: str | None
    after: str | None
    proof: dict[str, Any] | None
    said: str
    touched: bool
    unconfirmed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Before:
    """How things were: the leaf that was served or (without an endpoint) on disk, and remarks on the service.

    C(former): the leaf that going back leads to; another than C(leaf) only where an earlier run has left a pair unproved.
    """

    leaf: str | None = None
    note: str | None = None
    former: str | None = None


class Transaction:
    """The deploy of one certificate on this host."""

    def __init__(
        self,
        order: Mapping[str, Any],
        *,
        by: str = "",
        endpoint: Endpoint | None = None,
        places: Places | None = None,
    ) -> None:
        """O(order): identity, name, verdict, where, reload, prove, anchors, spki, certificate, chain, keep_previous, watchdog."""
        self.order = order
        self.id = id_of(order)
        self.verdict = str(order["verdict"])
        if self.verdict not in VERDICTS:
            raise HostError(f"{self.id}: there is nothing to deploy for the verdict '{self.verdict}'.")
        self.service = Service.of(order, by=by, endpoint=endpoint)
        self.store, self.method, self.endpoint = self.service.store, self.service.method, self.service.endpoint
        self.where, self.anchors = self.store.where, self.service.anchors
        self.spki: str | None = order.get("spki") or None
        self.certificate: str | None = order.get("certificate") or None
        self.chain = str(order.get("chain") or "")
        self.keep_previous = bool(order.get("keep_previous"))
        self._has_begun = False
        settings = Settings.from_dict(order.get("watchdog"), longest=self.service.longest(), where=self.id)
        self.limit = settings.limit
        is_watched = settings.method != "none" and self.verdict != "reload"
        self.watchdog = Watchdog(self.store.root, places=places) if is_watched else None

    def run(self) -> Outcome:
        """Do it. Whatever fails ends in an outcome that says what is served now."""
        before = _Before()
        try:
            with self.store.holding():
                self._check()
                before = self._before()
                return self._reload(before) if self.verdict == "reload" else self._install(before)
        except BusyError as exc:  # the other run does it
            return Outcome(self.id, "not_tried", None, None, None, str(exc), False)
        except HostError as exc:
            return self._broken_off(before, str(exc))
        except OSError as exc:
            return self._broken_off(before, f"The pair could not be prepared in {self.store.root}: {exc.strerror}.")

    def _check(self) -> None:
        obstacle = self.method.check() or (self.watchdog.obstacle() if self.watchdog else None)
        if obstacle:
            raise HostError(f"Nothing was changed: {obstacle}")

    def _before(self) -> _Before:
        leaf, unproved = self.service.leaf_now(self.anchors), self.store.unfinished()
        former = leaf
        if unproved is not None and self.store.is_unfinished():
            previous = unproved.previous
            former = None if previous is None else self.service.leaf_of(previous)
        return _Before(leaf, self.method.note(), former)

    # Files are right, the service is stale

    def _reload(self, before: _Before) -> Outcome:
        leaf = self.service.leaf_on_disk()
        if leaf is None:
            raise HostError(
                f"{self.where.certificate} holds no certificate that could be served. Nothing was changed; run again."
            )
        proof, trouble = self.service.bring_in(leaf)
        if trouble:
            said = sentences(f"The files were not changed, but {trouble}", self.service.served_text(leaf))
            return self._failed(before, said, touched=True, proof=proof)
        said = sentences(self._fine("The service was reloaded", before, proof), self._commit())
        return Outcome(self.id, "reloaded", before.leaf, leaf, proof, said, True, self._is_unconfirmed())

    # A pair that is new to the service

    def _install(self, before: _Before) -> Outcome:
        certificate, key, chain = self._pair()
        contents = contents_of(certificate, key, chain, has_chain_file=self.where.chain is not None)
        is_known = self.store.reads() == contents and is_same(certificate, before.leaf)
        number = self.store.add(contents)
        try:
            self._validate(number, certificate, chain)
            self._keep_staged(certificate)
            self._arm(before)
        except (HostError, OSError):
            self.store.discard(number)
            raise
        self._has_begun = True
        try:
            promotion = self.store.promote(number)
        except (HostError, OSError) as exc:
            return self._undo_files(before, number, exc)
        # Only links, owners or modes were wrong: what the service has loaded is what it would read.
        proof, trouble = self.service.bring_in(certificate, reload=not (is_known and self.endpoint))
        if trouble:
            return self._go_back(promotion, before, proof, trouble)
        said = (
            "The files are in order again; the service was not disturbed" if is_known else "The new pair is in service"
        )
        said = sentences(self._fine(said, before, proof), self._commit())
        return Outcome(self.id, "installed", before.leaf, certificate, proof, said, True, self._is_unconfirmed())

    def _pair(self) -> tuple[str, bytes, str]:
        """(leaf, key, intermediates) to install: the key by its SPKI, staged or in use; the leaf given or beside it."""
        for key_path, beside in (
            (self.store.staged_path("key"), self.store.staged_path("certificate")),
            (self.where.key, self.where.certificate),
        ):
            if not _has_key(key_path, self.spki):
                continue
            blocks = pem.certificates(self.certificate or "") or pem.certificates(text_of(beside))
            if not blocks:
                raise HostError(f"There is no certificate for the key in {key_path}. Nothing was changed; run again.")
            chain = pem.joined(self.chain) or "".join(blocks[1:])
            with open(key_path, "rb") as stream:
                return blocks[0], stream.read(), chain
        raise HostError(
            f"Neither the staged key nor {self.where.key} is the one that the certificate was requested for (SPKI"
            f" {self.spki}). Nothing was changed; another run may have come between. Run again."
        )

    def _validate(self, number: int, certificate: str, chain: str) -> None:
        """Everything that can be known before the service is touched."""
        certificate_path, key_path = self.store.path(number, "certificate"), self.store.path(number, "key")
        if (
            openssl.public_key_of_certificate(certificate, where=self.id).spki
            != openssl.public_key_of_key(key_path).spki
        ):
            raise HostError("The certificate does not belong to the key. Nothing was changed; run again for a new one.")
        error = openssl.pair_error(certificate_path, key_path)
        if error:
            raise HostError(f"TLS libraries refuse the pair ({error}). Nothing was changed; choose another key type.")
        if self.anchors is None:
            raise HostError(
                "The authority's anchors are not known, so no client could trust the pair. Nothing was changed."
            )
        server_name = self.endpoint.server_name if self.endpoint else None
        error = openssl.chain_error(certificate, chain=chain, anchors=self.anchors, server_name=server_name)
        if error:
            name = f" for {server_name}" if server_name else ""
            raise HostError(
                f"A client would refuse the certificate{name}: {error}. Nothing was changed; compare the host's clock, "
                "subject_alt_names and prove.server_name."
            )
        user = self.method.user()
        files = {path: self.store.path(number, role) for role, path in self.where.paths().items()}
        error = access.unreadable_for(user, files) if user else None
        if error:
            raise HostError(f"The service could not read its files: {error} Nothing was changed.")

    def _keep_staged(self, certificate: str) -> None:
        """The leaf goes beside its staged key: if the service refuses the pair, the next try costs no certificate."""
        if _has_key(self.store.staged_path("key"), self.spki):
            durable.write_file(self.store.staged_path("certificate"), certificate.encode(), mode=0o600)

    # Bringing it in, and the way back

    def _arm(self, before: _Before) -> None:
        """From here on the host goes back by itself, whatever becomes of this run."""
        if self.watchdog is None:
            return
        plan = {field: self.order.get(field) for field in ("identity", "name", "where", "reload", "prove", "anchors")}
        plan.update(former=before.former, limit=self.limit)
        self.watchdog.arm(
            plan, program(), limit=self.limit, files=self.store.files(), before=self.method.before_units()
        )

    def _disarm(self) -> str | None:
        """All is decided; a remark if the watchdog does not know yet."""
        try:
            if self.watchdog is not None:
                self.watchdog.disarm()
        except (HostError, OSError) as exc:
            return f"The watchdog could not be disarmed ({exc}); it will find nothing to do, and remove itself."
        return None

    def _go_back(self, promotion: Promotion, before: _Before, proof: dict[str, Any] | None, trouble: str) -> Outcome:
        """Put the former pair back, let the service follow, and see the former leaf served."""
        said = f"The new pair was taken out again: {trouble}"
        try:
            self.store.restore(promotion)
        except (HostError, OSError) as exc:
            return self._failed(
                before, f"{said} The former files could not be put back: {exc}", touched=True, proof=proof
            )
        refused = self.service.follow_back()
        left = self._commit(goes_back=True)
        if promotion.previous is None:
            said += " There was no pair before, so the files are gone again."
        against = f"With the former files, {refused}" if refused else ""
        if self.service.is_back(before.former, refused):
            what = (
                "The former certificate is served again."
                if self.endpoint
                else "The former files are in place, the service took them."
            )
            said = sentences(said, against, what, before.note, left)
            unconfirmed = self._is_unconfirmed()
            return Outcome(self.id, "rolled_back", before.leaf, before.former, proof, said, True, unconfirmed)
        missing = (
            "Nothing was served before." if before.former is None else "The former certificate is not served again."
        )
        now = self.service.served_text(before.former)
        return self._failed(
            before, sentences(said, against, missing, now, before.note, left), touched=True, proof=proof
        )

    def _commit(self, *, goes_back: bool = False) -> str | None:
        """What is in place stays, and nothing goes back by itself any more; a remark if that could not be written down."""
        left = None
        try:
            self.store.settle(keep_previous=self.keep_previous and not goes_back)
            # What waited for being confirmed before goes on waiting, with the pair that it would go back to.
            self.store.prune(keep_staged=goes_back, keep_previous=self.keep_previous)
        except (HostError, OSError) as exc:
            left = f"Leftovers in {self.store.root} could not be removed ({_why(exc)}); the next run does it."
        return sentences(left, self._disarm()) or None

    def _undo_files(self, before: _Before, number: int, exc: Exception) -> Outcome:
        """The promotion broke off. What the service reads is old or new as a whole; it becomes the old again."""
        said = f"The pair could not be put in place: {exc}"
        try:
            promotion = self.store.unfinished()
            if promotion is not None:
                self.store.restore(promotion)
                self.store.settle()
            self.store.discard(number)
            said = sentences(said, self._disarm())
        except (HostError, OSError) as worse:
            said += f" Putting the files back failed as well ({worse}); the next run repairs them."
        return self._failed(before, sentences(said, "The service was not touched."), touched=True)

    # Words

    def _failed(self, before: _Before, said: str, *, touched: bool, proof: dict[str, Any] | None = None) -> Outcome:
        after = self.service.leaf_after() if touched else before.leaf
        return Outcome(self.id, "failed", before.leaf, after, proof, said, touched, self._is_unconfirmed())

    def _broken_off(self, before: _Before, said: str) -> Outcome:
        """Before the promotion, as a rule; what is on the disk decides which words are right."""
        try:
            is_on_trial = self._has_begun and self.store.is_unfinished()
        except (HostError, OSError):
            is_on_trial = True  # then at least nothing wrong is said
        if not is_on_trial:
            nothing = "" if "Nothing was" in said else "Nothing was changed."
            return self._failed(before, sentences(said, nothing), touched=False)
        by_itself = "the host goes back by itself, or " if self.watchdog else ""
        left = f"A pair that is not proved may be in place: {by_itself}the next run decides it."
        return self._failed(before, sentences(said, left), touched=True)

    def _is_unconfirmed(self) -> bool:
        """Whether the previous pair waits on the host for what others say."""
        try:
            return self.store.kept() is not None
        except OSError:
            return False  # the next look tells

    def _fine(self, what: str, before: _Before, proof: dict[str, Any] | None) -> str:
        return sentences(what, proof["said"] if proof else "No endpoint was given to prove it at.", before.note)


def _why(exc: Exception) -> str:
    return str((exc.strerror if isinstance(exc, OSError) else None) or exc)


def _has_key(path: str, spki: str | None) -> bool:
    try:
        return openssl.public_key_of_key(path).spki == spki
    except HostError:
        return False
