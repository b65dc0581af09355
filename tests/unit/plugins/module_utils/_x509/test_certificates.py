# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is built verifies in OpenSSL and is read back as it was meant."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_csr, new_serial
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import (
    KEY_TYPES,
    key_to_pem,
    load_key,
    new_key,
    spki_of,
)
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import (
    is_issued_by,
    parse_bundle,
    parse_certificate,
    parse_csr,
    to_leaf,
)

from .authority import DAY, NOW, Authority


def openssl_verify(folder: Path, authority: Authority, leaf_pem: str, *options: str) -> str:
    (folder / "root.pem").write_text(to_leaf(authority.root).pem)
    (folder / "issuing.pem").write_text(to_leaf(authority.issuing).pem)
    (folder / "leaf.pem").write_text(leaf_pem)
    command = ["openssl", "verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-attime", str(NOW + DAY), *options]
    files = ["-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem"]
    done = subprocess.run([*command, *files], cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_leaves_of_every_key_type_verify_strictly(tmp_path: Path, key_type: str) -> None:
    authority = Authority()
    leaf = authority.leaf(key=new_key(key_type), names=("DNS:robot-1.plant.example", "IP:198.18.0.1", "IP:2001:2::1"))
    assert leaf.key == key_type
    assert (
        openssl_verify(tmp_path, authority, leaf.pem, "-purpose", "sslserver", "-verify_ip", "2001:2::1")
        == "leaf.pem: OK\n"
    )
    assert "hostname mismatch" in openssl_verify(
        tmp_path, authority, leaf.pem, "-verify_hostname", "robot-2.plant.example"
    )
    assert "certificate purpose" in openssl_verify(tmp_path, authority, leaf.pem, "-purpose", "sslclient")


def test_a_leaf_without_common_name_verifies(tmp_path: Path) -> None:
    authority = Authority()
    assert openssl_verify(tmp_path, authority, authority.leaf(common_name=None).pem) == "leaf.pem: OK\n"


def test_a_strangers_leaf_does_not_verify(tmp_path: Path) -> None:
    leaf = Authority("other").leaf()
    assert not leaf.is_ca
    assert leaf.usages == ("serverAuth",)
    assert "leaf.pem: OK" not in openssl_verify(tmp_path, Authority(), leaf.pem)


def test_issuing_is_recognised_by_signature_and_not_by_name() -> None:
    authority, twin = Authority(), Authority()
    leaf = authority.leaf()
    assert is_issued_by(leaf, authority.issuing_leaf)
    assert leaf.issuer == twin.issuing_leaf.subject
    assert not is_issued_by(leaf, twin.issuing_leaf)
    assert is_issued_by(authority.issuing_leaf, to_leaf(authority.root))


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "ed25519", "rsa-2048"])
def test_a_csr_says_who_holds_the_key(key_type: str) -> None:
    key = new_key(key_type)
    csr = parse_csr(build_csr(key, common_name="robot-1", names=("DNS:a", "IP:::1")))
    assert (csr.spki, csr.names, csr.common_name, csr.key) == (
        spki_of(key.public_key()),
        ("DNS:a", "IP:::1"),
        "robot-1",
        key_type,
    )


def test_a_csr_with_a_foreign_signature_is_refused() -> None:
    pem = build_csr(new_key("ec-p256"), common_name="robot-1", names=())
    body = bytearray(base64.b64decode("".join(pem.splitlines()[1:-1])))
    body[-1] ^= 1
    forged = (
        "-----BEGIN CERTIFICATE REQUEST-----\n"
        + base64.encodebytes(bytes(body)).decode()
        + "-----END CERTIFICATE REQUEST-----\n"
    )
    with pytest.raises(X509Error):
        parse_csr(forged, where="robot-1/https")


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_said_with_its_place(text: str) -> None:
    with pytest.raises(X509Error, match=r"^/c\.pem: this is no X\.509 certificate"):
        parse_certificate(text, where="/c.pem")


def test_a_bundle_keeps_its_order() -> None:
    authority = Authority()
    leaf = authority.leaf()
    assert [item.fingerprint for item in parse_bundle(leaf.pem + "\nnoise\n" + authority.issuing_leaf.pem)] == [
        leaf.fingerprint,
        authority.issuing_leaf.fingerprint,
    ]


def test_keys_are_encrypted_and_errors_hold_nothing_of_them() -> None:
    key = new_key("ec-p256")
    pem = key_to_pem(key, b"right horse")
    assert b"ENCRYPTED" in pem
    assert spki_of(load_key(pem, b"right horse").public_key()) == spki_of(key.public_key())
    for passphrase, said in ((b"wrong horse", "passphrase is wrong"), (None, "is encrypted")):
        with pytest.raises(X509Error, match=said) as caught:
            load_key(pem, passphrase, where="issuing.key")
        assert "horse" not in str(caught.value)


def test_serials_are_positive_and_fit_in_sixteen_octets() -> None:
    serials = {new_serial() for _number in range(500)}
    assert len(serials) == 500
    assert all(2**126 <= serial < 2**127 for serial in serials)
