# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with CRLs that a service reads: put into place, the service reloaded, and the former ones put back if it does not take them.

What is not done yet is marked by a file beside, so that a service which a cut-off run has not told is told by the next one.
"""

from __future__ import annotations

import base64
import grp
import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import durable
from .command import run
from .errors import HostError
from .reload import Method, method_of

MARK = ".certfleet-reload"
_BLOCK = re.compile(r"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_NUMBER = re.compile(r"crlNumber=(?:0x)?([0-9A-Fa-f]+)")
# OpenSSL 1.1 prints the hash alone.
_HASH = re.compile(r"^(?:issuer name hash=)?([0-9a-f]{8})$", re.MULTILINE)


@dataclass(frozen=True)
class Wanted:
    """One file. C(content) is that of the file, PEM or DER; uid and gid -1 leave the owner as it is.

    C(hold): it takes the place of no other, since that may list more.
    """

    path: str
    content: bytes
    mode: int
    uid: int
    gid: int
    method: Method
    hold: bool = False

    @classmethod
    def from_order(cls, order: Mapping[str, Any]) -> Wanted:
        """Check what the controller asks for. Raises HostError."""
        path, mode = str(order["path"]), str(order.get("mode") or "0644")
        if not os.path.isabs(path) or path.endswith("/"):
            raise HostError(f"{path}: give the whole path of a file. Correct tls_trust_crls.")
        if not re.fullmatch(r"0?[0-7]{3}", mode):
            raise HostError(f"{path}: '{mode}' is no mode of a file. Write it as \"0644\".")
        real = os.path.realpath(path)
        return cls(
            path=real,
            content=base64.b64decode(str(order["content"])),
            mode=int(mode, 8),
            uid=_id_of(order.get("owner"), "user", where=path),
            gid=_id_of(order.get("group"), "group", where=path),
            method=method_of(order.get("reload"), where=path, files=(real, os.path.dirname(real))),
            hold=bool(order.get("hold")),
        )

    @property
    def mark(self) -> str:
        """The file that says the service was not told yet."""
        folder, name = os.path.split(self.path)
        return os.path.join(folder, f".{name.lstrip('.')}{MARK}")


@dataclass
class Plan:
    """What is due for one file; all empty: nothing."""

    wanted: Wanted
    former: bytes | None
    write: bool = False
    told: bool = True
    deviations: list[str] = field(default_factory=list)

    @property
    def is_due(self) -> bool:
        """Whether anything has to be changed."""
        return self.write or not self.told or bool(self.deviations)

    @property
    def state(self) -> str:
        """One word for results."""
        if self.write:
            return "installed" if self.former is None else "replaced"
        return "repaired" if self.deviations else "unchanged" if self.told else "reloaded"

    def diff(self) -> dict[str, str]:
        """Numbers and modes, before and after."""
        before, after = (
            "".join(
                f"CRL number {number} of the issuer with the hash {issuer}\n"
                for issuer, number in _numbers(content).items()
            )
            for content in (self.former or b"", self.wanted.content)
        )
        header = self.wanted.path
        return {
            "before_header": header,
            "after_header": header,
            "before": "".join(f"{line}\n" for line in self.deviations) + (before or "nothing\n"),
            "after": after if self.told and not self.write else f"{after}the service has read it\n",
        }


def plan_for(wanted: Wanted) -> Plan:
    """Compare. Raises HostError where the one in place is newer, or the service could not be told of another one."""
    folder = os.path.dirname(wanted.path)
    if not os.path.isdir(folder):
        raise HostError(
            f"{wanted.path}: its folder is not there. Make it, or install the service first. Nothing was changed."
        )
    former = _content(wanted.path)
    is_held = wanted.hold and (former is not None or not wanted.content)
    write = former != wanted.content and not is_held
    plan = Plan(wanted, former, write=write, told=not os.path.lexists(wanted.mark))
    if former is not None:
        plan.deviations = _deviations(wanted)
        if plan.write:
            _refuse_older(wanted, former)
    is_to_be_told = plan.write or not plan.told
    # What does not run reads its files when it starts.
    if is_to_be_told and wanted.method.is_running() is not False:
        obstacle = wanted.method.check()
        if obstacle:
            raise HostError(f"{wanted.path}: {obstacle} The CRL was not changed.")
    return plan


def carry_out(plan: Plan) -> None:
    """Write, and have the service read it; or put the former one back, and say what happened. Raises HostError."""
    wanted = plan.wanted
    if plan.write:
        if plan.told and wanted.method.NAME != "none":
            durable.write_file(wanted.mark, b"", mode=0o600)
        durable.write_file(wanted.path, wanted.content, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid)
    elif plan.deviations:
        os.chown(wanted.path, wanted.uid, wanted.gid)
        os.chmod(wanted.path, wanted.mode)
    if plan.write or not plan.told:
        _tell(plan)


def _tell(plan: Plan) -> None:
    wanted = plan.wanted
    if wanted.method.is_running() is not False:
        try:
            wanted.method.apply()
        except (HostError, OSError) as exc:
            raise HostError(_put_back(plan, str(exc))) from exc
    durable.remove(wanted.mark)


def _put_back(plan: Plan, said: str) -> str:
    """Undo it; what to tell of that."""
    wanted = plan.wanted
    said = f"{wanted.path}: the service did not take the new CRL: {said.rstrip('.')}."
    if not plan.write:
        return f"{said} It has been in place since an earlier run. The next run tries again."
    if plan.former is None:
        durable.remove(wanted.path)
    else:
        durable.write_file(wanted.path, plan.former, mode=wanted.mode, uid=wanted.uid, gid=wanted.gid)
    was = "There was none before, so it was removed again" if plan.former is None else "The former one was put back"
    try:
        wanted.method.apply()
    except (HostError, OSError) as exc:
        # The mark stays: whatever the service reads now, it is told again.
        return f"{said} {was}, but the service did not take that either: {exc} See to it on the host."
    durable.remove(wanted.mark)
    return f"{said} {was}, and the service has read that. See why on the host, then run again."


def _refuse_older(wanted: Wanted, former: bytes) -> None:
    """Never an older number over a newer one; what is damaged has none."""
    before, after = _numbers(former), _numbers(wanted.content)
    for issuer, number in after.items():
        if before.get(issuer, -1) > number:
            raise HostError(
                f"{wanted.path}: the CRL in place has the number {before[issuer]}, the CA's has {number}: it is older, and would make "
                "revoked certificates good again. Nothing was changed. If the CA was restored from an older backup, give the file "
                "to ca_crl as 'published'; if it is another CA of the same name, remove the file."
            )


def _numbers(content: bytes) -> dict[str, int]:
    """Number by issuer (the hash that openssl makes of its name), of all that can be read."""
    if not content:
        return {}
    blocks = _BLOCK.findall(content.decode("ascii", "replace"))
    form = "PEM" if blocks else "DER"
    found = {}
    for block in [block.encode() for block in blocks] or [content]:
        shown = run(["openssl", "crl", "-inform", form, "-noout", "-hash", "-crlnumber"], stdin=block)
        issuer, number = _HASH.search(shown.text), _NUMBER.search(shown.text)
        if shown.rc == 0 and issuer and number:
            found[issuer[1]] = int(number[1], 16)
    return found


def _deviations(wanted: Wanted) -> list[str]:
    now = os.stat(wanted.path)
    found = []
    if stat.S_IMODE(now.st_mode) != wanted.mode:
        found.append(f"mode {stat.S_IMODE(now.st_mode):04o}, should be {wanted.mode:04o}")
    if wanted.uid not in (-1, now.st_uid) or wanted.gid not in (-1, now.st_gid):
        found.append(f"owner {now.st_uid}:{now.st_gid}, should be {wanted.uid}:{wanted.gid}")
    return found


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise HostError(f"{path} cannot be read: {exc.strerror}. Run with become. Nothing was changed.") from exc


def _id_of(name: Any, kind: str, *, where: str) -> int:
    if name in (None, ""):
        return -1
    if str(name).isdigit():
        return int(name)
    try:
        return pwd.getpwnam(str(name)).pw_uid if kind == "user" else grp.getgrnam(str(name)).gr_gid
    except KeyError as exc:
        raise HostError(f"{where}: there is no {kind} '{name}' on this host. Correct tls_trust_crls.") from exc
