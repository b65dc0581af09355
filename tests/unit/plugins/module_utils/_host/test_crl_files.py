# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs in the place of a service: never an older one, never one that the service does not take, never one that it was not told of."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.crl_files import Plan, Wanted, carry_out, plan_for
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_root, ca_name
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import build_crl, parse_crl
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key

from .interruption import Killed, struck
from .stand_in_programs import calls, program, systemctl

KEY = new_key("ec-p256")
NOW = int(time.time())
CAS = {
    name: build_root(KEY, subject=ca_name(f"{name} CA"), not_before=NOW - 60, not_after=NOW + 86400)
    for name in ("root", "issuing")
}


def crl(number: int, issuer: str = "issuing") -> str:
    return build_crl((), issuer=CAS[issuer], issuer_key=KEY, number=number, this_update=NOW, next_update=NOW + 3600)


def bundle(number: int) -> str:
    return crl(number) + crl(7, "root")


class Service:
    """A service that reads one file, reloaded by a command which notes what it has read and may refuse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "crl.pem"
        program(folder, "reload", f"cat {self.path} >> {folder}/calls\ntest ! -e {folder}/refuses")

    def wanted(self, content: str | bytes, **changes: Any) -> Wanted:
        raw = content.encode() if isinstance(content, str) else content
        reload = {"method": "command", "command": [str(self.folder / "reload")]}
        order = {"path": str(self.path), "content": base64.b64encode(raw).decode(), "reload": reload}
        return Wanted.from_order({**order, **changes})

    def hand_over(self, content: str | bytes, **changes: Any) -> Plan:
        plan = plan_for(self.wanted(content, **changes))
        if plan.is_due:
            carry_out(plan)
        return plan

    @property
    def has_read(self) -> str:
        """The last that it was told to read; empty after a file that was not there."""
        return "\n".join(calls(self.folder))

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} - {"reload", "calls", "refuses"}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_put_there_then_nothing_then_a_newer_one(service: Service) -> None:
    text = bundle(10)
    assert service.hand_over(text).state == "installed"
    assert service.path.read_text() == text
    assert oct(service.path.stat().st_mode)[-3:] == "644"
    told = service.has_read
    assert told == text.rstrip("\n")
    plan = service.hand_over(text)
    assert (plan.is_due, plan.state, service.has_read) == (False, "unchanged", told)
    newer = bundle(11)
    assert service.hand_over(newer).state == "replaced"
    assert service.path.read_text() == newer
    assert service.has_read == f"{told}\n{newer}".rstrip("\n")
    assert service.files == {"crl.pem"}


@pytest.mark.parametrize("form", ["pem", "der"])
def test_older_one_never_replaces_a_newer_one(service: Service, form: str) -> None:
    old, new = (bundle(number) if form == "pem" else parse_crl(crl(number)).der for number in (10, 4711))
    service.hand_over(new)
    before = service.path.read_bytes()
    with pytest.raises(HostError, match=r"has the number 4711, the CA's has 10: it is older"):
        service.hand_over(old)
    assert service.path.read_bytes() == before


@pytest.mark.parametrize("number", [9, 10, 11])
def test_one_that_is_held_takes_the_place_of_no_other(service: Service, number: int) -> None:
    service.hand_over(bundle(number))
    before = service.path.read_bytes()
    assert service.hand_over(bundle(10), hold=True).state == "unchanged"
    assert service.path.read_bytes() == before


def test_one_that_is_held_is_better_than_none(service: Service) -> None:
    assert service.hand_over("", hold=True).state == "unchanged"
    assert service.files == set()
    text = bundle(10)
    assert service.hand_over(text, hold=True).state == "installed"
    assert service.path.read_text() == text


def test_numbers_of_different_issuers_are_not_compared(service: Service) -> None:
    service.hand_over(crl(4711, "root"))
    assert service.hand_over(crl(10)).state == "replaced"


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"\x00\xff"])
def test_damaged_one_is_replaced(service: Service, damage: bytes) -> None:
    service.path.write_bytes(damage)
    text = bundle(10)
    assert service.hand_over(text).state == "replaced"
    assert service.path.read_text() == text


def test_service_that_refuses_has_the_former_one_again(service: Service) -> None:
    former = bundle(10)
    service.hand_over(former)
    (service.folder / "refuses").touch()
    with pytest.raises(HostError, match=r"did not take the new CRL.*The former one was put back"):
        service.hand_over(bundle(11))
    assert service.path.read_text() == former
    # It was not even told of that successfully, so the next run tells it again.
    (service.folder / "refuses").unlink()
    assert service.hand_over(former).state == "reloaded"
    assert service.has_read.endswith(former.rstrip("\n"))
    assert service.files == {"crl.pem"}


def test_service_that_refuses_the_first_one_has_none(service: Service) -> None:
    (service.folder / "refuses").touch()
    with pytest.raises(HostError, match="There was none before, so it was removed again"):
        service.hand_over(bundle(10))
    assert not service.path.exists()


def test_service_that_takes_the_former_one_again_needs_nothing_more(service: Service) -> None:
    former, newer = bundle(10), bundle(11)
    service.hand_over(former)
    wanted = former.splitlines()[2]
    program(
        service.folder, "reload", f"cat {service.path} >> {service.folder}/calls; grep -q '{wanted}' {service.path}"
    )
    with pytest.raises(HostError, match="The former one was put back, and the service has read that"):
        service.hand_over(newer)
    assert service.files == {"crl.pem"}
    assert service.hand_over(former).state == "unchanged"


def test_killed_at_every_change_the_next_run_tells_the_service(tmp_path: Path) -> None:
    former, newer = bundle(10), bundle(11)
    at = 0
    while True:
        folder = tmp_path / str(at)
        folder.mkdir()
        service = Service(folder)
        service.hand_over(former)
        plan = plan_for(service.wanted(newer))
        try:
            with struck(at):
                carry_out(plan)
        except Killed:
            assert service.path.read_text() in (former, newer)
        else:
            break
        service.hand_over(newer)
        assert service.path.read_text() == newer
        assert service.has_read.endswith(newer.rstrip("\n")), at
        assert service.files == {"crl.pem"}, at
        at += 1
    assert at > 8


def test_stopped_service_is_not_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{service.folder}:{os.environ['PATH']}")
    systemctl(service.folder, active="inactive")
    reload = {"method": "systemd", "name": "nginx", "action": "reload"}
    text = bundle(10)
    assert service.hand_over(text, reload=reload).state == "installed"
    assert calls(service.folder) == []
    (service.folder / "active").write_text("active")
    assert service.hand_over(text, reload=reload).state == "unchanged"
    service.hand_over(bundle(11), reload=reload)
    assert calls(service.folder) == ["reload nginx"]


def test_service_that_cannot_be_told_keeps_what_it_has(service: Service) -> None:
    former = bundle(10)
    service.hand_over(former)
    (service.folder / "reload").unlink()
    with pytest.raises(HostError, match=r"is not there or cannot be run.*The CRL was not changed"):
        service.hand_over(bundle(11))
    assert service.path.read_text() == former


def test_mode_that_drifted_is_repaired_without_a_reload(service: Service) -> None:
    text = bundle(10)
    service.hand_over(text)
    told = service.has_read
    service.path.chmod(0o600)
    plan = service.hand_over(text)
    assert plan.state == "repaired"
    assert "mode 0600, should be 0644" in plan.diff()["before"]
    assert oct(service.path.stat().st_mode)[-3:] == "644"
    assert service.has_read == told


def test_owner_and_mode_are_right_from_the_start(service: Service) -> None:
    service.hand_over(bundle(10), owner=str(os.getuid()), group=str(os.getgid()), mode="0640")
    assert oct(service.path.stat().st_mode)[-3:] == "640"


def test_a_link_stays_one(service: Service) -> None:
    real = service.folder / "real.pem"
    real.write_text(bundle(10))
    service.path.symlink_to("real.pem")
    text = bundle(11)
    service.hand_over(text)
    assert service.path.is_symlink()
    assert real.read_text() == text


def test_diff_tells_numbers_and_no_pem(service: Service) -> None:
    plan = plan_for(service.wanted(bundle(10)))
    assert plan.diff()["before"] == "nothing\n"
    carry_out(plan)
    after = plan_for(service.wanted(bundle(11))).diff()
    assert "CRL number 10 " in after["before"]
    assert "CRL number 11 " in after["after"]
    assert "BEGIN" not in str(after)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "crl.pem"}, "give the whole path"),
        ({"path": "/nowhere/at/all/crl.pem"}, "its folder is not there"),
        ({"mode": "u=rw"}, "is no mode of a file"),
        ({"owner": "nobody-of-that-name"}, "there is no user"),
        ({"reload": {"method": "podman"}}, "no reload method"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_done(
    service: Service, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(HostError, match=said):
        service.hand_over(bundle(10), **changes)
    assert service.files == set()
