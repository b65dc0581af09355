# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of an issuing CA: what is taken for permitted is what OpenSSL takes for it, case by case."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import (
    build_issuing,
    ca_name,
    new_serial,
    sign_leaf,
)
from ansible_collections.certfleet.tls.plugins.module_utils._x509.constraints import Constraints, constraints_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import serialization, x509
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.plugins.module_utils._x509.profiles import BUILT_IN

from .authority import DAY, NOW, Authority

AUTHORITY = Authority()
LIMITS = [
    Constraints(("plant.example", "robot-1")),
    Constraints(("plant.example",), ("198.18.0.0/15",)),
    Constraints(("plant.example",), ("198.18.0.0/15", "2001:2::/48")),
    Constraints((), ("198.18.0.0/15",)),
    Constraints((), ("2001:2::/48",)),
    Constraints((), ("10.0.0.0/8", "2001:2::/48")),
    Constraints(("a.example", "b.example"), ("0.0.0.0/0",)),
]
NAMES = [
    "DNS:plant.example",
    "DNS:robot-1.plant.example",
    "DNS:*.plant.example",
    "DNS:robot-1",
    "DNS:robot-2",
    "DNS:xplant.example",
    "DNS:plant.example.other.example",
    "DNS:x.b.example",
    "IP:198.18.0.1",
    "IP:198.20.0.1",
    "IP:10.1.2.3",
    "IP:2001:2::1",
    "IP:2001:3::1",
]


def pem(certificate: Any) -> str:
    text: str = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return text


def issuing_with(limits: Constraints) -> Any:
    return build_issuing(
        AUTHORITY.issuing_key.public_key(),
        root=AUTHORITY.root,
        root_key=AUTHORITY.root_key,
        subject=ca_name("fleet issuing", "Plant"),
        not_before=NOW - DAY,
        not_after=NOW + 1000 * DAY,
        constraints=limits,
    )


def openssl_accepts(folder: Path, issuing: Any, *, names: tuple[str, ...], common_name: str | None) -> bool:
    leaf = sign_leaf(
        new_key("ec-p256").public_key(),
        issuer=issuing,
        issuer_key=AUTHORITY.issuing_key,
        profile=BUILT_IN["server_client"],
        common_name=common_name,
        names=names,
        serial=new_serial(),
        not_before=NOW,
        not_after=NOW + 90 * DAY,
    )
    for name, certificate in (("root", AUTHORITY.root), ("issuing", issuing), ("leaf", leaf)):
        (folder / f"{name}.pem").write_text(pem(certificate))
    command = ["openssl", "verify", "-x509_strict", "-attime", str(NOW + 60), "-no-CApath", "-no-CAstore"]
    files = ["-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem"]
    done = subprocess.run([*command, *files], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "subtree violation" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_openssl_permits_the_same_names(tmp_path: Path, limits: Constraints) -> None:
    issuing = issuing_with(limits)
    assert constraints_of(issuing) == constraints_of(pem(issuing)) == limits
    for name in NAMES:
        accepted = openssl_accepts(tmp_path, issuing, names=(name,), common_name=None)
        assert limits.outside([name]) == (() if accepted else (name,)), name


@pytest.mark.parametrize(
    ("common_name", "names"),
    [
        ("robot-1.plant.example", ()),
        ("robot-1.other.example", ()),
        ("robot-1.other.example", ("DNS:a.plant.example",)),
        ("robot-1.other.example", ("IP:198.18.0.1",)),
        ("robot_1.other.example", ()),
        ("robot-1", ()),
        ("Robot 1. of plant", ()),
        ("*.other.example", ()),
        ("robot-.other.example", ()),
        ("10.1.2.3", ()),
        ("7f3b2c1e-0000-4000-8000-000000000000", ()),
    ],
)
def test_openssl_takes_the_same_common_names_for_names(
    tmp_path: Path, common_name: str, names: tuple[str, ...]
) -> None:
    limits = Constraints(("plant.example",), ("198.18.0.0/15",))
    accepted = openssl_accepts(tmp_path, issuing_with(limits), names=names, common_name=common_name)
    assert limits.outside(names, common_name) == (() if accepted else (f"CN:{common_name}",))


def test_the_extension_is_critical_and_absent_without_limits() -> None:
    extension = issuing_with(Constraints(("plant.example",))).extensions.get_extension_for_class(x509.NameConstraints)
    assert extension.critical is True
    assert constraints_of(issuing_with(Constraints())) is None
    assert Constraints().outside(["DNS:anything.example"], "any.thing") == ()


def test_a_wish_is_normalised() -> None:
    made = Constraints.parse(
        ["Plant.Example.", "a.plant.example", "robot-1"],
        ["198.18.0.0/15", "2001:2:0:0::/48", "198.19.0.0/16", "10.0.0.0/8"],
        where="here",
    )
    assert made == Constraints(("plant.example", "robot-1"), ("10.0.0.0/8", "198.18.0.0/15", "2001:2::/48"))
    assert not Constraints.parse([], [], where="here")


@pytest.mark.parametrize(
    ("domains", "networks", "said"),
    [
        ([".plant.example"], [], "here, domains: write the domain alone, 'plant.example'"),
        (["*.plant.example"], [], "write the domain alone, 'plant.example'"),
        (["plant example"], [], "is no DNS name"),
        (["10.0.0.0"], [], "looks like an address"),
        ("plant.example", [], "this is a text, not a list"),
        ([], ["198.18.0.1/15"], "here, networks: '198.18.0.1/15' is no network .*host bits"),
        ([], ["plant.example"], "is no network"),
    ],
)
def test_a_wrong_wish_is_explained(domains: Any, networks: Any, said: str) -> None:
    with pytest.raises(X509Error, match=said):
        Constraints.parse(domains, networks, where="here")


def test_limits_that_others_made_are_read_as_they_are() -> None:
    class Given(Constraints):
        def to_extension(self) -> x509.NameConstraints:
            return x509.NameConstraints([x509.DNSName("plant.example")], [x509.DNSName("secret.plant.example")])

    found = constraints_of(issuing_with(Given(("plant.example",))))
    assert found is not None
    assert (found.domains, found.excluded, found.unlimited) == (
        ("plant.example",),
        ("DNS:secret.plant.example",),
        ("IP",),
    )
    names = ["DNS:a.plant.example", "DNS:x.secret.plant.example", "IP:10.0.0.1", "DNS:other.example"]
    assert found.outside(names) == ("DNS:x.secret.plant.example", "DNS:other.example")
