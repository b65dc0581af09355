# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, requests and chains that the openssl command makes and judges, compared with what cryptography reads."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._host import openssl
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._x509 import keys
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_csr
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

KEY_TYPES = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "ed25519")


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_new_key_is_pkcs8_and_for_its_owner_alone(key_type: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    public = openssl.new_key(str(path), key_type)
    loaded = keys.load_key(path.read_bytes()).public_key()
    assert public == openssl.PublicKey(keys.spki_of(loaded), key_type)
    assert keys.key_type_of(loaded) == key_type
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]


def test_a_key_of_another_type_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    openssl.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", str(path)])
    assert openssl.public_key_of_key(str(path)).key_type == "other"


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("encrypted", "encrypted private key"),
        ("encrypted in the old way", "encrypted private key"),
        ("empty", "no private key in PEM"),
        ("garbage", "no private key that openssl can read"),
        ("missing", "No such file"),
        ("a folder", "is no file"),
    ],
)
def test_keys_that_a_service_cannot_use_are_told_apart(flaw: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = keys.new_key("rsa-2048")
    if flaw == "encrypted":
        path.write_bytes(keys.key_to_pem(key, b"secret"))
    elif flaw == "encrypted in the old way":
        path.write_text(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n"
            "-----END RSA PRIVATE KEY-----\n"
        )
    elif flaw == "a folder":
        path.mkdir()
    elif flaw != "missing":
        body = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        path.write_text(body if flaw == "garbage" else "")
    with pytest.raises(HostError, match=said):
        openssl.public_key_of_key(str(path))


NAMES = ["DNS:host-1.example", "DNS:*.plant.example", "IP:198.18.0.4", "IP:2001:2::4"]


@pytest.mark.parametrize("common_name", [None, "host-1", "Halle 7/West", "Prüfstand", "a$b#c"])
@pytest.mark.parametrize("names", [[], NAMES], ids=["no names", "names"])
def test_a_request_says_what_is_wanted(common_name: str | None, names: list[str], tmp_path: Path) -> None:
    path = str(tmp_path / "key.pem")
    public = openssl.new_key(path, "ec-p256")
    request = parse_csr(openssl.new_request(path, common_name=common_name, names=names))
    assert (request.spki, request.common_name, sorted(request.names)) == (public.spki, common_name, sorted(names))


@given(st.text(min_size=1, max_size=40).filter(lambda text: not text.startswith(("DNS:", "IP:"))))
def test_nothing_else_gets_into_a_request(text: str) -> None:
    for name in (text, f"DNS:{text} ", f"IP:{text}x", f"DNS:x\n{text}", f"DNS:x,{text}"):
        with pytest.raises(HostError, match="neither DNS"):
            openssl._checked_name(name)


def test_a_pair_is_one_only_with_its_own_key(authority: TestAuthority, tmp_path: Path) -> None:
    pair, other = authority.pair("DNS:a.example"), authority.pair("DNS:a.example")
    for name, text in (("cert", pair.certificate), ("key", pair.key), ("other", other.key), ("no", "")):
        (tmp_path / name).write_text(text)
    errors = [
        openssl.pair_error(str(tmp_path / "cert"), str(tmp_path / name)) for name in ("key", "other", "no", "gone")
    ]
    assert errors[0] is None
    assert errors[1] == "key values mismatch"
    assert errors[3] == "No such file or directory".lower()
    assert all(errors[1:])


def test_the_key_of_a_certificate_is_found(authority: TestAuthority) -> None:
    pair = authority.pair("DNS:a.example")
    assert openssl.public_key_of_certificate(pair.certificate, where="test").spki == pair.leaf.spki
    with pytest.raises(HostError, match=r"test: this is no X\.509 certificate"):
        openssl.public_key_of_certificate("hello", where="test")


@pytest.mark.parametrize(
    ("server_name", "changes", "said"),
    [
        ("a.example", {}, None),
        ("198.18.0.4", {}, None),
        ("2001:2::4", {}, None),
        (None, {}, None),
        ("b.example", {}, "hostname mismatch"),
        ("198.18.0.5", {}, "IP address mismatch"),
        ("a.example", {"chain": ""}, "unable to get local issuer certificate"),
        ("a.example", {"anchors": TestAuthority("Other").anchors}, "unable to get"),
        ("a.example", {"not_before": -9, "not_after": -2}, "certificate has expired"),
        ("a.example", {"not_before": 2}, "certificate is not yet valid"),
        ("a.example", {"profile": "client"}, "purpose"),
        (None, {"profile": "client"}, None),
    ],
)
def test_a_chain_is_judged_as_a_strict_client_does(
    authority: TestAuthority, server_name: str | None, changes: dict[str, Any], said: str | None
) -> None:
    making: dict[str, Any] = {key: value for key, value in changes.items() if key not in ("chain", "anchors")}
    pair = authority.pair("DNS:a.example", "IP:198.18.0.4", "IP:2001:2::4", **making)
    texts = {"chain": authority.chain, "anchors": authority.anchors}
    texts.update({key: str(value) for key, value in changes.items() if key in texts})
    error = openssl.chain_error(pair.certificate, server_name=server_name, **texts)
    assert (error is None) == (said is None), error
    assert said is None or said.lower() in str(error).lower()


def test_the_systems_own_anchors_vouch_for_nothing(authority: TestAuthority, tmp_path: Path) -> None:
    """SSL_CERT_FILE would be used wherever a default store is."""
    pair = authority.pair("DNS:a.example")
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(authority.anchors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(trusted))
        patch.setenv("SSL_CERT_DIR", str(tmp_path))
        other = TestAuthority("Other").anchors
        assert openssl.chain_error(pair.certificate, chain=authority.chain, anchors=other, server_name="a.example")
