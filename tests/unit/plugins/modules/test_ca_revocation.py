# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ca_revoke and ca_crl as a CA host runs them: options in, JSON out, in a process of their own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import is_crl_of, parse_crls
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_bundle

from .test_ca_host import Host, request


class Authority(Host):
    """A CA host with the authority fleet."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.create()

    def crl(self, **options: Any) -> dict[str, Any]:
        return self.run("ca_crl", passphrase_file=str(self.passphrase), **options)

    def issue(self, identity: str = "robot-1") -> dict[str, Any]:
        asked = request(identity)
        item: dict[str, Any] = self.run("ca_issue", requests=[asked])["certificates"][asked["id"]]
        return item

    @property
    def files(self) -> set[str]:
        return {path.name for path in (self.directory / "authorities/fleet").iterdir()}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_check_then_apply_then_nothing(authority: Authority) -> None:
    serial = authority.issue()["serial"]
    options = {"identity": "robot-1", "reason": "key_compromise"}
    predicted = authority.run("ca_revoke", check=True, **options)
    done = authority.run("ca_revoke", **options)
    assert predicted == done
    assert (done["changed"], [item["serial"] for item in done["revoked"]], done["already"]) == (True, [serial], [])
    assert done["diff"] == {
        "before": {f"robot-1/https {serial}": "issued"},
        "after": {f"robot-1/https {serial}": "revoked (key_compromise)"},
    }
    for check in (True, False):
        again = authority.run("ca_revoke", check=check, **options)
        assert (again["changed"], again["revoked"], "diff" in again) == (False, [], False)
        assert [item["serial"] for item in again["already"]] == [serial]


def test_revoking_by_serial_needs_no_library_but_a_certificate_does(authority: Authority) -> None:
    item = authority.issue()
    refused = authority.run("ca_revoke", cryptography=False, certificate=item["certificate"])
    assert refused["code"] == "missing_library"
    assert authority.run("ca_revoke", cryptography=False, serial=item["serial"])["changed"] is True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "one of the following is required: identity, serial, certificate"),
        ({"serial": "1", "certificate": "x"}, "mutually exclusive"),
        ({"identity": "robot-1", "reason": "certificateHold"}, "value of reason must be one of"),
    ],
)
def test_what_does_not_go_together(authority: Authority, options: dict[str, str], said: str) -> None:
    assert said in authority.run("ca_revoke", **options)["msg"]


def test_crls_check_then_apply_then_nothing(authority: Authority) -> None:
    before = authority.files
    predicted = authority.crl(check=True)
    assert authority.files == before
    done = authority.crl()
    assert authority.files - before == {"crl.pem", "root-crl.pem"}
    for answer in (predicted, done):
        assert answer["changed"] is True
        assert answer["due"] == [f"fleet: sign the {part} CA's CRL: there is none yet" for part in ("issuing", "root")]
    again = authority.crl()
    assert (again["changed"], again["due"], again["problems"], "diff" in again) == (False, [], {}, False)
    told = again["crls"]["fleet"]
    crls, issuers = parse_crls(told["pem"]), parse_bundle(told["chain"] + told["anchors"])
    assert [is_crl_of(crl, issuer) for crl, issuer in zip(crls, issuers)] == [True, True]
    assert [part["number"] for part in told["parts"]] == [crl.number for crl in crls]
    assert told["complete"] is True
    assert again["crls"] == done["crls"]


def test_no_crl_is_signed_by_a_wrong_clock(authority: Authority) -> None:
    before, wrong = authority.files, {"controller_time": time.time() + 1900}
    for check in (True, False):
        answer = authority.crl(check=check, **wrong)
        assert (answer["changed"], answer["crls"], authority.files) == (False, {}, before)
        assert "behind the controller's" in answer["problems"]["fleet"]
    assert authority.crl(**wrong, clock_limit=3600)["changed"]
    # As long as none is due it does not matter.
    again = authority.crl(**wrong)
    assert (again["changed"], again["problems"], list(again["crls"])) == (False, {}, ["fleet"])


def test_what_is_unreadable_is_said_once_for_all_authorities(authority: Authority) -> None:
    authority.run("ca_authority", name="things", passphrase_file=str(authority.passphrase))
    good = authority.crl()["crls"]["fleet"]["pem"]
    bad = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    answer = authority.crl(published=[bad, good])
    assert (answer["problems"], list(answer["crls"])) == ({}, ["fleet", "things"])
    assert ["CRL 1 of 3" in str(warning) for warning in answer["warnings"]] == [True]


def test_one_broken_authority_keeps_no_other_from_a_fresh_crl(authority: Authority) -> None:
    authority.run("ca_authority", name="things", passphrase_file=str(authority.passphrase))
    (authority.directory / "authorities/fleet/issuing.pem").unlink()
    answer = authority.crl()
    assert list(answer["crls"]) == ["things"]
    assert "Half a CA" in answer["problems"]["fleet"]
    only = authority.crl(authorities=["nobody", "things"])
    assert (list(only["problems"]), list(only["crls"])) == (["nobody"], ["things"])


def test_without_a_ca_or_the_library(tmp_path: Path) -> None:
    empty = Host(tmp_path)
    assert empty.run("ca_crl")["code"] == "missing"
    assert empty.run("ca_crl", cryptography=False)["code"] == "missing_library"
    assert empty.run("ca_revoke", identity="robot-1")["code"] == "missing"
    assert list(tmp_path.iterdir()) == []


def test_published_ones_and_a_root_whose_key_is_elsewhere(authority: Authority) -> None:
    signed = authority.crl()["crls"]["fleet"]
    folder = authority.directory / "authorities/fleet"
    for file in ("root.key", "root-crl.pem"):
        (folder / file).unlink()
    assert authority.crl()["crls"]["fleet"]["complete"] is False
    taken = authority.crl(published=[signed["pem"]])
    assert (taken["changed"], taken["crls"]["fleet"]["complete"]) == (True, True)
    assert authority.crl(published=[signed["pem"]])["changed"] is False
    assert "there is no CRL in PEM in it" in authority.crl(published=["rubbish"])["problems"]["fleet"]


def test_no_key_and_no_passphrase_leaves_the_host(authority: Authority) -> None:
    secret = authority.passphrase.read_text().strip()
    serial = authority.issue()["serial"]
    said = json.dumps([authority.run("ca_revoke", serial=serial), authority.crl(), authority.crl(check=True)])
    assert secret not in said
    assert "PRIVATE KEY" not in said
