# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles: what a leaf is for and which addresses it carries."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import x509
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import load_certificate
from ansible_collections.certfleet.tls.plugins.module_utils._x509.profiles import BUILT_IN, Profile, choose_profile

from .authority import Authority

CRL, AIA, OCSP = (
    "http://pki.plant.example/fleet.crl",
    "http://pki.plant.example/fleet.cer",
    "http://ocsp.plant.example/",
)
AUTHORITY = Authority()


def test_built_in_usages() -> None:
    assert {name: profile.usages for name, profile in BUILT_IN.items()} == {
        "server": ("serverAuth",),
        "client": ("clientAuth",),
        "server_client": ("clientAuth", "serverAuth"),
    }
    assert [name for name, profile in BUILT_IN.items() if profile.is_for_clients] == ["client", "server_client"]


def test_a_description_and_back() -> None:
    described = {"usages": ["serverAuth", "clientAuth"], "crl_urls": [CRL], "issuer_urls": [AIA], "max_lifetime": "30d"}
    made = Profile.parse("gateway", described, where="here")
    assert made == Profile("gateway", ("clientAuth", "serverAuth"), (CRL,), (AIA,), (), 30 * 86400)
    assert Profile.parse("gateway", made.to_dict(), where="here") == made


def test_addresses_are_in_the_leaf() -> None:
    profile = Profile("gateway", ("serverAuth",), (CRL, f"{CRL}2"), (AIA,), (OCSP,))
    extensions = load_certificate(AUTHORITY.leaf(profile=profile).pem).extensions
    points = extensions.get_extension_for_class(x509.CRLDistributionPoints)
    assert [[name.value for name in point.full_name or ()] for point in points.value] == [[CRL, f"{CRL}2"]]
    access = extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    oids = x509.oid.AuthorityInformationAccessOID
    assert [(item.access_method, item.access_location.value) for item in access.value] == [
        (oids.OCSP, OCSP),
        (oids.CA_ISSUERS, AIA),
    ]
    assert (points.critical, access.critical) == (False, False)


def test_without_addresses_there_are_no_such_extensions() -> None:
    found = {type(item.value) for item in load_certificate(AUTHORITY.leaf().pem).extensions}
    assert found == {
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.SubjectKeyIdentifier,
        x509.AuthorityKeyIdentifier,
        x509.SubjectAlternativeName,
    }


@pytest.mark.parametrize(
    ("name", "described", "said"),
    [
        ("a b", {"usages": ["serverAuth"]}, "'a b' is no name of a profile"),
        ("root", {"usages": ["serverAuth"]}, "'root' is no name of a profile"),
        ("x", {}, "here, profile 'x': the usages are 'none'"),
        ("x", {"usages": ["codeSigning"]}, "the usages are 'codeSigning'"),
        ("x", {"usages": "serverAuth"}, "this is no list"),
        ("x", {"usages": ["serverAuth"], "crl_urls": ["https://a/b"]}, "crl_urls: 'https://a/b' is no http:// address"),
        ("x", {"usages": ["serverAuth"], "ocsp_urls": ["http://a/b c"]}, "ocsp_urls: 'http://a/b c' is no"),
        ("x", {"usages": ["serverAuth"], "crl_url": []}, "no such field: crl_url"),
        ("x", {"usages": ["serverAuth"], "max_lifetime": "soon"}, "max_lifetime: 'soon' is no span of time"),
        ("x", ["serverAuth"], "described by a dictionary"),
    ],
)
def test_a_wrong_description_is_explained(name: str, described: Any, said: str) -> None:
    with pytest.raises(X509Error, match=said):
        Profile.parse(name, described, where="here")


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(X509Error, match=r"there is no profile 'x'\. Choose one of client, server, server_client"):
        choose_profile("x", BUILT_IN, where="here")
