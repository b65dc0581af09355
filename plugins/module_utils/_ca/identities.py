# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do with machines by name: rename, replace, decommission, readmit. Needs the standard library alone.

Each is one transaction of the ledger, and is written down in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._x509.revocation_reasons import COMPROMISING
from .acts import decommissioned, write_act
from .errors import CAError
from .inquiries import iso
from .ledger import Entry, Ledger, to_entry
from .lock import WAIT, locked
from .revocation import check_reason, leaves_with_keys, revoke_entries
from .store import Store

# Why leaves are revoked unless another reason is given.
REASON = {"replaced": "superseded", "decommissioned": "cessation_of_operation"}
STATES = ("renamed", *REASON, "present")
# As in orders: what can be asked for can be renamed to.
_IDENTITY = re.compile(r"[^/\s\x00-\x1f\x7f]{1,253}\Z")
# Where the ledger speaks of an identity, besides the history of acts.
_TRACES = (
    ("certificates", "SELECT count(*) FROM certificates WHERE identity = ?"),
    ("pins", "SELECT count(*) FROM pins WHERE identity = ?"),
    ("outcomes", "SELECT count(*) FROM outcomes WHERE identity = ?"),
    ("failures", "SELECT count(*) FROM failures WHERE identity = ?"),
    ("refusals", "SELECT count(*) FROM refusals WHERE identity = ?"),
    ("names", "SELECT count(*) FROM holders WHERE identity = ?"),
)
_RECOGNISED = "SELECT count(*) FROM certificates WHERE identity = ? AND state != 'reserved' AND gone_at IS NULL"
_RENAME = (
    "UPDATE certificates SET identity = ? WHERE identity = ?",
    "UPDATE pins SET identity = ? WHERE identity = ?",
    "UPDATE outcomes SET identity = ? WHERE identity = ?",
    "UPDATE failures SET identity = ? WHERE identity = ?",
    "UPDATE refusals SET identity = ? WHERE identity = ?",
    "UPDATE holders SET identity = ? WHERE identity = ?",
)
_FORGET = (
    "DELETE FROM pins WHERE identity = ?",
    "DELETE FROM failures WHERE identity = ?",
    "DELETE FROM refusals WHERE identity = ?",
)
# Whoever has the old machine has its keys: none of them identifies what goes by its name from now on.
_NO_LONGER_RECOGNISE = (
    "UPDATE certificates SET gone_at = ? WHERE identity = ? AND state != 'reserved' AND gone_at IS NULL"
)


@dataclass(frozen=True)
class Act:
    """What is to be done: one of STATES; C(to) for renamed, C(reason) of the revocations for the others."""

    state: str
    identity: str
    to: str = ""
    reason: str = ""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Act:
        """Check and normalise a module's options. Raises CAError."""
        state, to = str(options["state"]), str(options.get("to") or "")
        identity = _check_identity(str(options["identity"]), where="identity")
        if state == "present":
            return cls(state, identity)
        if state != "renamed":
            return cls(state, identity, reason=check_reason(str(options.get("reason") or REASON[state])))
        if _check_identity(to, where="to") == identity:
            raise CAError(f"'{identity}' is called so already. Nothing was changed.", code="bad_request")
        return cls(state, identity, to)


@dataclass
class Effect:
    """What an act does to the ledger. C(revoked): ids of certificates and what is told of them; the rest for results and diff."""

    revoked: dict[int, dict[str, Any]] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return self.before != self.after


def look(act: Act, *, store: Store, now: int) -> Effect:
    """What the act would do. Raises CAError when it must not be done. Takes no lock."""
    store.require()
    with Ledger.read(store.ledger) as ledger:
        return foresee(ledger, act, now=now)


def perform(act: Act, *, store: Store, now: int, wait: float = WAIT) -> Effect:
    """Do it, wholly or not at all; returns what was done."""
    store.require()
    with locked(store.directory, wait=wait), Ledger.open(store.ledger) as ledger:
        ledger.refuse_frozen()
        effect = foresee(ledger, act, now=now)
        if effect.changed:
            with ledger.transaction():
                _write(ledger, act, effect, now=now)
    return effect


def foresee(ledger: Ledger, act: Act, *, now: int) -> Effect:
    """What the act does to the ledger as it is now."""
    traces = _traces(ledger, act.identity)
    is_out = _is_out(ledger, act.identity)
    if act.state == "renamed":
        return _foresee_rename(ledger, act, traces)
    if act.state == "present":
        return _foresee_readmission(ledger, act, is_known=any(traces.values()), is_out=is_out)
    if not any(traces.values()) and not is_out:
        _require_earlier(ledger, act)
        return Effect()
    revoked = {entry.id: _told(entry) for entry in _to_revoke(ledger, act, now=now)}
    effect = Effect(revoked)
    effect.before = {
        "revoked": [],
        "recognised certificates": int(ledger.run(_RECOGNISED, (act.identity,))[0][0]),
        **{what: count for what, count in traces.items() if what in ("pins", "failures", "refusals")},
    }
    effect.after = {**dict.fromkeys(effect.before, 0), "revoked": [_shown(item) for item in revoked.values()]}
    if act.state == "decommissioned":
        rows = ledger.run("SELECT DISTINCT name FROM holders WHERE identity = ? ORDER BY name", (act.identity,))
        effect.before["names"], effect.after["names"] = [row[0] for row in rows], []
    # Also where there is nothing left to take away: what has ended is nobody's care any more, and nothing more is issued. What takes
    # the place of a decommissioned machine is in use.
    effect.before["decommissioned"], effect.after["decommissioned"] = is_out, act.state == "decommissioned"
    return effect


def _foresee_readmission(ledger: Ledger, act: Act, *, is_known: bool, is_out: bool) -> Effect:
    if not is_out and not is_known and not ledger.run("SELECT 1 FROM acts WHERE identity = ? LIMIT 1", (act.identity,)):
        raise _unknown(act)
    return Effect(before={"decommissioned": is_out}, after={"decommissioned": False})


def _foresee_rename(ledger: Ledger, act: Act, traces: dict[str, int]) -> Effect:
    taken = any(_traces(ledger, act.to).values())
    if not any(traces.values()):
        if not taken or not _was(ledger, act, said=_said_of_rename(act)):
            raise _unknown(act)
        return Effect()
    if taken:
        raise CAError(
            f"'{act.identity}' cannot be renamed to '{act.to}': the ledger knows a machine of that name, and the two must not be "
            "mixed up. Nothing was changed. Choose another name; or, if this machine takes the place of that one, keep that name "
            f"in the inventory, run playbooks/replace.yml for '{act.to}' and playbooks/decommission.yml for '{act.identity}'.",
            code="identity_exists",
        )
    return Effect(before={"identity": act.identity, **traces}, after={"identity": act.to, **traces})


def _write(ledger: Ledger, act: Act, effect: Effect, *, now: int) -> None:
    if act.state == "renamed":
        _write_rename(ledger, act, now=now)
    elif act.state == "present":
        write_act(ledger, "readmitted", act.identity, "", now=now)
    else:
        revoke_entries(ledger, effect.revoked, reason=act.reason, now=now)
        for item in effect.revoked.values():
            if item["identity"] != act.identity:
                said = f"{item['name']} of {item['authority']}, serial {item['serial']} ({act.reason}), with its key of {act.identity}"
                write_act(ledger, "revoked", item["identity"], said, now=now)
        ledger.run(_NO_LONGER_RECOGNISE, (now, act.identity))
        for statement in _FORGET:
            ledger.run(statement, (act.identity,))
        said = f"{len(effect.revoked)} certificates revoked ({act.reason}), {effect.before['pins']} pins removed"
        if act.state == "decommissioned":
            ledger.run("DELETE FROM holders WHERE identity = ?", (act.identity,))
            said += f", {len(effect.before['names'])} names freed"
        write_act(ledger, act.state, act.identity, said, now=now)


def _write_rename(ledger: Ledger, act: Act, *, now: int) -> None:
    is_out, was_out = _is_out(ledger, act.identity), _is_out(ledger, act.to)
    for statement in _RENAME:
        ledger.run(statement, (act.to, act.identity))
    write_act(ledger, act.state, act.identity, _said_of_rename(act), now=now)
    if is_out != was_out:
        # What is not coming back is not let in by another name, nor kept out by one that somebody else had.
        write_act(ledger, "decommissioned" if is_out else "readmitted", act.to, f"as {act.identity}", now=now)


def _to_revoke(ledger: Ledger, act: Act, *, now: int) -> list[Entry]:
    """The leaves that others would still take. Where a key is compromised, also those that have ended, which identify a machine that
    is to be repaired and must not any more; and those that other machines have for the same key."""
    rows = ledger.run(
        "SELECT * FROM certificates WHERE identity = ? AND state != 'reserved' ORDER BY id", (act.identity,)
    )
    own = [to_entry(row) for row in rows]
    if act.reason in COMPROMISING:
        of_keys = leaves_with_keys(ledger, (entry.spki for entry in own))
        return [entry for entry in of_keys if entry.revocation_reason not in COMPROMISING]
    return [entry for entry in own if entry.state != "revoked" and entry.not_after >= now]


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "identity": entry.identity,
        "name": entry.name,
        "authority": entry.authority,
        "serial": entry.serial,
        "fingerprint": entry.fingerprint,
        "not_after": iso(entry.not_after),
    }


def _shown(item: Mapping[str, Any]) -> str:
    return (
        f"{item['identity']}/{item['name']} of {item['authority']}, serial {item['serial']}, until {item['not_after']}"
    )


def _traces(ledger: Ledger, identity: str) -> dict[str, int]:
    return {what: int(ledger.run(sql, (identity,))[0][0]) for what, sql in _TRACES}


def _was(ledger: Ledger, act: Act, *, said: str | None = None) -> bool:
    """Whether this has been done before."""
    rows = ledger.run("SELECT said FROM acts WHERE act = ? AND identity = ?", (act.state, act.identity))
    return any(said in (None, row[0]) for row in rows)


def _is_out(ledger: Ledger, identity: str) -> bool:
    return identity in decommissioned(ledger, [identity])


def _require_earlier(ledger: Ledger, act: Act) -> None:
    """A machine of which nothing is left is no mistake when this is what has been done to it."""
    if not _was(ledger, act):
        raise _unknown(act)


def _said_of_rename(act: Act) -> str:
    return f"to {act.to}"


def _unknown(act: Act) -> CAError:
    return CAError(
        f"The ledger knows no machine '{act.identity}'. Nothing was changed. See who is known with playbooks/inquire.yml "
        "(-e tls_inquire=all); it is the machine's tls_identity, or its name in the inventory.",
        code="unknown_identity",
    )


def _check_identity(identity: str, *, where: str) -> str:
    if not _IDENTITY.match(identity):
        raise CAError(
            f"{where}: '{identity}' is no identity of a machine: it has 1 to 253 characters, without white space and slash. "
            "Nothing was changed.",
            code="bad_request",
        )
    return identity
