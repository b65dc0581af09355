# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site that nobody has run for years: one run recovers as far as the root allows, and says what it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key

from ..integration.machines import on, strict_verification
from ..integration.playbook import run_playbook
from .ca_case import CACase
from .ca_ground import FLEET
from .ca_room import CA, DAY, SECRET, Answer, Room, request, shell
from .case import AT_ONCE, UnsafeError, plain, quoted
from .mischief import ASIDE, NGINX
from .sampler import look
from .targets import WEB_FOLDER, Service, names_of, web

# The issuing CA lives for five years, the root for ten.
SIX_YEARS_AGO = f"-{6 * 365}d"
ELEVEN_YEARS_AGO = f"-{11 * 365 + 3}d"
CRL = "authorities/fleet/crl.pem"
OWN = ("authorities/fleet/issuing.pem", CRL, "authorities/fleet/root-crl.pem")


def made_long_ago(room: Room, clock: str) -> dict[str, Any]:
    """A CA with one leaf and a CRL, all made then; the leaf."""
    room.begin()
    issued = None
    for make in (room.authority, lambda **then: room.issue("robot-0", **then), room.crl):
        answer = make(clock=clock)
        assert not answer.failed and not answer.refused, str(answer)
        issued = answer.certificates.get("robot-0/https") or issued
    assert issued is not None
    return issued


def test_all_expired(ca_case: CACase, room: Room) -> None:
    """leaf, issuing CA and CRL expired, the root not"""
    made_long_ago(room, SIX_YEARS_AGO)
    before = ca_case.begin()
    authority, crl, issued = room.authority(), room.crl(), room.issue("robot-0")
    ca_case.note(" ".join(authority.said["due"]))
    state = ca_case.unharmed(but=OWN)
    assert ca_case.converges(authority, crl, issued).of("issued") == ["robot-0"]
    assert state.crls[CRL][0] > before.crls[CRL][0]
    leaf = issued.certificates["robot-0/https"]
    assert leaf["notes"] == [], "the leaf was cut short"
    check_chain(leaf["certificate"])
    assert room.authority().said["due"] == [] and room.crl().said["due"] == [], "a second run finds something to do"
    ca_case.afterwards("same keys; issuing CA, CRL and leaf new")


def test_root_expired(ca_case: CACase, room: Room) -> None:
    """leaf, issuing CA, CRL and the root expired"""
    made_long_ago(room, ELEVEN_YEARS_AGO)
    ca_case.begin()
    authority = room.authority()
    warnings = authority.warnings
    for words in ("its root has ended", "Replace the root"):
        assert words in warnings, authority.said
    ca_case.note(warnings[warnings.index("authority") :])
    ca_case.told(room.issue("robot-0"), "Nothing was issued", code="issuer_expired")
    ca_case.unharmed()
    # What the root cannot vouch for any more another authority can, beside it.
    other, issued = room.authority("fleet-2"), room.issue("robot-0", authority="fleet-2")
    assert ca_case.converges(other, issued).of("issued") == ["robot-0"]
    ca_case.next_run("with another authority beside it")


def test_all_expired_without_root_key(ca_case: CACase, room: Room) -> None:
    """leaf, issuing CA and CRL expired, the root's key elsewhere"""
    made_long_ago(room, SIX_YEARS_AGO)
    shell(f"mv {FLEET}/root.key {CA}/../out/")
    ca_case.begin()
    authority = room.authority(root={"location": "elsewhere"})
    assert not authority.failed, str(authority)
    assert authority.said["awaiting"] is True, authority.said
    warnings = authority.warnings
    assert "BEGIN CERTIFICATE REQUEST" in authority.said["csr"]
    assert authority.said["csr_path"] in warnings, warnings
    ca_case.note(warnings)
    ca_case.told(room.issue("robot-0"), "Nothing was issued", code="issuer_expired")
    ca_case.unharmed()
    shell(f"mv {CA}/../out/root.key {FLEET}/")
    ca_case.converges(room.authority(), room.issue("robot-0"))


@pytest.mark.slow
def test_whole_site_expired(ca_case: CACase, room: Room, tmp_path: Path) -> None:
    """a service whose leaf, issuing CA and CRL have expired: one run of the site"""
    room.begin()
    service = web()
    with expired_service(room, service):
        ca_case.begin()
        wish = service.next_wish()
        overlay = tmp_path / "wishes.json"
        overlay.write_text(json.dumps({"all": {"hosts": {service.name: service.variables(wish)}}}))
        extra = {**AT_ONCE, "tls_ca_directory": CA, "tls_ca_passphrase_file": SECRET}
        run = run_playbook("tests/faults/expired.yml", "-v", limit=service.name, overlay=overlay, extra=extra)
        if run.rc != 0:
            raise UnsafeError(f"the run does not recover:\n{run.output}")
        assert wish in names_of(look(service.endpoint) or b"")
        anchors = tmp_path / "anchors.pem"
        anchors.write_text(on("ca", "cat", f"{FLEET}/root.pem"))
        assert "Verify return code: 0 (ok)" in strict_verification(service.endpoint, anchors)
        ca_case.note(quoted(plain(run.output), "reissue the issuing CA"))
        ca_case.unharmed(but=OWN)
        again = run_playbook("tests/faults/expired.yml", limit=service.name, overlay=overlay, extra=extra)
        assert (again.rc, again.changed) == (0, {}), again.output
        ca_case.converges(room.issue("robot-0"))
        ca_case.afterwards("served: new leaf under the same root")


@contextmanager
def expired_service(room: Room, service: Service) -> Iterator[None]:
    """nginx serves a leaf of this CA that expired years ago; afterwards it has its own pair again."""
    for make in (room.authority, room.crl):
        answer: Answer = make(clock=SIX_YEARS_AGO)
        assert not answer.failed, str(answer)
    key = new_key("ec-p256")
    asked = request(service.name, key=key, names=["DNS:web.plant.example", "IP:198.19.0.50"])
    issued = room.module("ca_issue", passphrase_file=SECRET, requests=[asked], clock=SIX_YEARS_AGO)
    leaf = issued.certificates[f"{service.name}/https"]["certificate"] + issued.said["chains"]["fleet"]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    restart = f"systemctl reset-failed {NGINX} 2>/dev/null; systemctl restart {NGINX}"
    on("web", "sh", "-c", f"rm -rf {ASIDE}; cp -a {WEB_FOLDER} {ASIDE}; find {WEB_FOLDER} -mindepth 1 -delete")
    try:
        on("web", "sh", "-c", f"umask 077; cat > {WEB_FOLDER}/key.pem", given=pem)
        on("web", "sh", "-c", f"cat > {WEB_FOLDER}/cert.pem; {restart}", given=leaf)
        yield
    finally:
        back = f"find {WEB_FOLDER} -mindepth 1 -delete; cp -a {ASIDE}/. {WEB_FOLDER}/; rm -rf {ASIDE}"
        on("web", "sh", "-c", f"{back}; {restart}")


def check_chain(leaf: str) -> None:
    """OpenSSL, with the root alone, believes it now, and for as long as a leaf lives."""
    openssl = f"openssl verify -x509_strict -CAfile {FLEET}/root.pem -untrusted {FLEET}/issuing.pem"
    for moment in ("$(date +%s)", f"$(( $(date +%s) + {89 * DAY} ))"):
        said = shell(f"{openssl} -attime {moment} /dev/stdin", given=leaf)
        assert "OK" in said, said
