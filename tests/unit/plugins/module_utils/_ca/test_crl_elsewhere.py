# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs that others hand in: of a root whose key is elsewhere, and what is out in the world."""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import look, refresh
from ansible_collections.certfleet.tls.plugins.module_utils._ca.durable import replace_file
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.local import open_key, read_pair
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import is_crl_of, parse_crl
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import hashes, serialization, x509
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import (
    Leaf,
    load_certificate,
    parse_certificate,
)

from .crls import LIFETIME, in_place, publish, without_root_key
from .workshop import DAY, NOW, Workshop


def without_number(workshop: Workshop) -> str:
    """A CRL of the root as other software signs it."""
    key = open_key(
        workshop.store, "fleet", "root", workshop.passphrase(), spki=read_pair(workshop.store, "fleet")[0].spki
    )
    root = load_certificate(workshop.store.read_text("fleet", "root.pem"))
    now = datetime.datetime.fromtimestamp(workshop.now, tz=datetime.timezone.utc).replace(tzinfo=None)
    builder = x509.CertificateRevocationListBuilder().issuer_name(root.subject).last_update(now)
    signed = builder.next_update(now + datetime.timedelta(days=30)).sign(key, hashes.SHA256())
    pem: str = signed.public_bytes(serialization.Encoding.PEM).decode()
    return pem


def test_what_cannot_be_read_keeps_nobody_from_the_others(workshop: Workshop, tmp_path: Path) -> None:
    online = without_root_key(workshop, tmp_path)
    publish(workshop)
    publish(online)
    good, bad = workshop.store.read_text("fleet", "root-crl.pem"), without_number(workshop)
    damaged = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    found, done = publish(online, published=damaged + good + bad)
    assert (len(done), online.store.read_text("fleet", "root-crl.pem")) == (1, good)
    assert ["left aside" in said for said in found.warnings] == [True, True]
    assert found.warnings[0].startswith("published, CRL 1 of 3: this is no certificate revocation list")
    assert found.warnings[1].startswith("published, CRL 3 of 3: this CRL of CN=fleet root CA has no number")
    with pytest.raises(CAError, match="has no number") as refused:
        publish(online, published=bad)
    assert refused.value.code == "bad_request"


def test_of_a_root_elsewhere_only_what_has_begun_gets_into_place(workshop: Workshop, tmp_path: Path) -> None:
    online = without_root_key(workshop, tmp_path)
    publish(workshop)
    good = workshop.store.read_text("fleet", "root-crl.pem")
    publish(online, published=good)
    workshop.now += 20 * DAY
    publish(workshop)
    early = workshop.store.read_text("fleet", "root-crl.pem")
    found, done = publish(online, published=early + good)
    assert (done, online.store.read_text("fleet", "root-crl.pem")) == ([], good)
    assert ["begins only" in said for said in found.warnings] == [True]
    # Nor does it stay where it got by a clock that was wrong here as well.
    replace_file(online.store.path("fleet", "root-crl.pem"), early.encode())
    found, _done = publish(online, published=good)
    assert (online.store.read_text("fleet", "root-crl.pem"), found.crls[1].pem) == (good, good)
    online.now = workshop.now
    assert len(publish(online, published=early)[1]) == 2


def signed_with_pss(folder: Path) -> tuple[Leaf, str]:
    """(a root, its CRL) of a company that signs with RSASSA-PSS."""
    (folder / "index.txt").touch()
    (folder / "number").write_text("17\n")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca = this\n[this]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = sha256\ncrl_extensions = more\n"
        "[more]\nauthorityKeyIdentifier = keyid\n"
    )
    scheme = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32")
    root = (
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "root.key",
        "-out",
        "root.pem",
        "-subj",
        "/CN=company",
    )
    crl = (
        "ca",
        "-gencrl",
        "-config",
        "ca.cnf",
        "-cert",
        "root.pem",
        "-keyfile",
        "root.key",
        "-out",
        "crl.pem",
        "-crldays",
        "30",
    )
    for command in (root, crl):
        done = subprocess.run(["openssl", *command, *scheme], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return parse_certificate((folder / "root.pem").read_text()), (folder / "crl.pem").read_text()


def test_a_company_that_signs_them_with_pss(tmp_path: Path) -> None:
    root, pem = signed_with_pss(tmp_path)
    crl = parse_crl(pem)
    assert (crl.number, is_crl_of(crl, root)) == (0x17, True)
    (tmp_path / "other").mkdir()
    assert not is_crl_of(crl, signed_with_pss(tmp_path / "other")[0])


def test_a_library_that_cannot_check_pss_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As version 38 sees such a CRL: the scheme, without its parameters."""

    class Old:
        def __init__(self, crl: Any) -> None:
            self.signature_algorithm_oid, self.issuer = crl.signature_algorithm_oid, crl.issuer

    load = x509.load_pem_x509_crl
    monkeypatch.setattr(x509, "load_pem_x509_crl", lambda data: Old(load(data)))
    with pytest.raises(X509Error, match=r"^published: this CRL of CN=company is signed with RSASSA-PSS.* version 43 "):
        parse_crl(signed_with_pss(tmp_path)[1], where="published")


def test_files_of_another_authority_are_not_published_here(workshop: Workshop) -> None:
    workshop.create("second")
    other, _done = refresh(workshop.store, "second", passphrase=workshop.passphrase(), now=workshop.now + DAY)
    publish(workshop, published="".join(crl.pem for crl in other.crls))
    assert in_place(workshop).number == NOW


@pytest.mark.parametrize("published", ["rubbish", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_published_must_be_crls(workshop: Workshop, published: str) -> None:
    with pytest.raises(CAError, match="published") as caught:
        publish(workshop, published=published)
    assert caught.value.code == "bad_request"


def test_root_without_its_key_takes_what_was_signed_elsewhere(workshop: Workshop, tmp_path: Path) -> None:
    online = without_root_key(workshop, tmp_path)
    found, done = publish(online)
    assert [done, [crl.issuer for crl in found.crls]] == [
        ["sign the issuing CA's CRL: there is none yet"],
        [found.chain.issuing.subject],
    ]
    publish(workshop)
    signed = workshop.store.read_text("fleet", "root-crl.pem")
    found, done = publish(online, published=signed)
    assert len(done) == 1
    assert online.store.read_text("fleet", "root-crl.pem") == signed == found.crls[1].pem
    assert publish(online, published=signed)[1] == []
    # Never an older one over a newer one.
    workshop.now += LIFETIME
    publish(workshop)
    newer = workshop.store.read_text("fleet", "root-crl.pem")
    online.now = workshop.now
    publish(online, published=newer)
    assert publish(online, published=signed)[1] == []
    assert online.store.read_text("fleet", "root-crl.pem") == newer


@pytest.mark.parametrize(
    ("age", "said"), [(LIFETIME // 2, None), (LIFETIME - DAY, "ends"), (LIFETIME + DAY, "has ended")]
)
def test_warning_before_a_crl_ends_that_only_others_can_sign(
    workshop: Workshop, tmp_path: Path, age: int, said: str | None
) -> None:
    online = without_root_key(workshop, tmp_path)
    publish(workshop)
    publish(online, published=workshop.store.read_text("fleet", "root-crl.pem"))
    warnings = look(online.store, "fleet", now=NOW + age).warnings
    assert [f" {said} " in warning for warning in warnings] == ([True] if said else [])


def test_damage_of_what_was_signed_elsewhere_keeps_nobody_from_a_fresh_one(workshop: Workshop) -> None:
    """Neither where the root's key is here, so that it is signed anew, nor where it is not."""
    damaged = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    publish(workshop)
    replace_file(workshop.store.path("fleet", "root-crl.pem"), damaged)
    assert len(publish(workshop)[1]) == 1
    os.rename(workshop.store.path("fleet", "root.key"), workshop.folder / "root.key")
    replace_file(workshop.store.path("fleet", "root-crl.pem"), damaged)
    workshop.now += 20 * DAY
    found, done = publish(workshop)
    assert len(done) == 1
    assert ["damaged" in said for said in found.warnings] == [True]
