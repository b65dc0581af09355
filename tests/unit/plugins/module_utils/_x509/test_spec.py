# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's description of a certificate: what is filled in, and what is refused with which words."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.spec import CertificateSpec

GOOD: dict[str, Any] = {
    "name": "https",
    "subject_alt_names": ["DNS:robot-1"],
    "where": {"certificate": "/c", "key": "/k"},
}


def spec(**changes: Any) -> CertificateSpec:
    return CertificateSpec.from_dict({**GOOD, **changes}, identity="robot-1", where="robot-1")


def test_what_is_left_out_is_filled_in() -> None:
    made = spec()
    assert (made.id, made.authority, made.profile) == ("robot-1/https", "fleet", "server")
    assert (made.key_type, made.lifetime, made.renew_before, made.on_failure) == ("ec-p256", 7776000, None, "keep")


def test_a_device_gets_rsa_unless_told_otherwise() -> None:
    assert spec(where=None, api={"name": "mir"}).key_type == "rsa-2048"
    assert spec(where=None, api={"name": "mir"}, key={"type": "rsa-3072"}).key_type == "rsa-3072"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name '' is empty"),
        ({"name": "../x"}, "other characters"),
        ({"subject_alt_names": []}, "needs subject_alt_names"),
        ({"subject_alt_names": ["robot-1"]}, "neither DNS nor IP"),
        ({"api": {"name": "mir"}}, "either 'where'"),
        ({"where": None}, "either 'where'"),
        ({"profile": "a server"}, "no name of a profile"),
        ({"key": {"type": "rsa-1024"}}, "no key type 'rsa-1024'"),
        ({"key": "rsa"}, "key: {type: ec-p256}"),
        ({"lifetime": "ever"}, "no span of time"),
        ({"lifetime": "9999y"}, "lifetime: '9999y' is more than 100 years"),
        ({"renew_before": 10**20}, "renew_before: '100000000000000000000' is more than 100 years"),
        ({"lifetime": "1d", "renew_before": "1d"}, "every run would issue anew"),
        ({"common_name": "a,b"}, "comma"),
        ({"common_name": "x" * 65}, "longer than 64 bytes"),
        ({"common_name": "ä" * 33}, "longer than 64 bytes"),
        ({"common_name": "a\u0085b"}, "control character"),
        ({"common_name": "a\u202eb"}, "control character"),
        ({"subject_alt_names": ["IP:fe80::1%eth0"]}, "zone"),
        ({"on_failure": "panic"}, "keep, remove"),
        ({"subject_alt_name": ["DNS:a"]}, "no such field: subject_alt_name"),
        ({"identity": "a/b"}, "slash"),
        ({"profile": "own", "subject_alt_names": []}, "no name to certify"),
        ({"profile": "client", "subject_alt_names": []}, "no name to certify"),
        ({"shared_names": "DNS:a"}, 'Write ["DNS:a"]'),
        ({"shared_names": ["DNS:other"]}, "shared_names has DNS:other, which the certificate does not have"),
        ({"shared_names": ["CN:robot-1"]}, "shared_names has CN:robot-1"),
    ],
)
def test_errors_name_the_host_and_the_way_out(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(X509Error) as caught:
        spec(**changes)
    assert said in str(caught.value)
    assert str(caught.value).startswith("robot-1")


def test_names_that_others_hold_as_well() -> None:
    names = ["IP:2001:2:0::7", "DNS:Robot-1", "DNS:fleet"]
    made = spec(
        subject_alt_names=names, common_name="robot-1", shared_names=["CN:robot-1", "dns:FLEET", "IP:2001:2::7"]
    )
    assert made.shared_names == ("DNS:fleet", "IP:2001:2::7", "CN:robot-1")
    assert spec().shared_names == ()


def test_the_authority_says_whether_there_is_such_a_profile() -> None:
    assert spec(profile="plc").profile == "plc"
    assert spec(profile="plc", subject_alt_names=[], common_name="plc-1").names == ()


def test_something_else_than_a_dictionary_is_refused() -> None:
    with pytest.raises(X509Error, match="this is a str"):
        CertificateSpec.from_dict(cast("Any", "https"), identity="robot-1", where="robot-1")
