# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, requests and chains through the C(openssl) command (1.1.1 and 3.x). No private key is in its output."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import os
import re
import ssl
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .command import is_there, run
from .durable import TEMPORARY, remove, sync_folder
from .errors import HostError

_NEW_KEY = {
    "ec-p256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:named_curve"),
    "ec-p384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-pkeyopt", "ec_param_enc:named_curve"),
    "rsa-2048": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsa-3072": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"),
    "rsa-4096": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"),
    "ed25519": ("-algorithm", "ED25519"),
}
# How the DER of a public key of each type begins (RSA: with a modulus of that many bits).
_DER_BEGINS = {
    "ec-p256": "3059301306072a8648ce3d020106082a8648ce3d030107034200",
    "ec-p384": "3076301006072a8648ce3d020106052b81040022036200",
    "rsa-2048": "30820122300d06092a864886f70d01010105000382010f003082010a0282010100",
    "rsa-3072": "308201a2300d06092a864886f70d01010105000382018f003082018a0282018100",
    "rsa-4096": "30820222300d06092a864886f70d01010105000382020f003082020a0282020100",
    "ed25519": "302a300506032b6570032100",
}
# An empty passphrase in place of a prompt; keys that need one are an error.
_NO_PROMPT = ("-passin", "pass:")
_NAME = re.compile(r"DNS:[A-Za-z0-9_*.-]{1,253}\Z")
_LARGEST_KEY = 65536


@dataclass(frozen=True)
class PublicKey:
    """C(spki): hex SHA-256 of the DER SubjectPublicKeyInfo. C(key_type): as in the specification, or C(other)."""

    spki: str
    key_type: str


def is_installed() -> bool:
    """Whether there is an C(openssl) command."""
    return is_there("openssl")


def public_key_of_key(path: str) -> PublicKey:
    """The public half of a private key file. Raises HostError for one that a service could not read."""
    _check_key_file(path)
    done = run(["openssl", "pkey", "-in", path, *_NO_PROMPT, "-pubout", "-outform", "DER"])
    if done.rc or not done.out:
        raise HostError(f"{path} holds no private key that openssl can read. It has to be replaced.")
    return _public_key(done.out)


def public_key_of_certificate(certificate: str, *, where: str) -> PublicKey:
    """The public key that a PEM certificate carries."""
    done = run(["openssl", "x509", "-noout", "-pubkey"], stdin=certificate.encode())
    if done.rc:
        raise HostError(f"{where}: this is no X.509 certificate that openssl can read.")
    body = "".join(line for line in done.text.splitlines() if not line.startswith("-----"))
    try:
        return _public_key(base64.b64decode(body, validate=True))
    except (ValueError, binascii.Error) as exc:
        raise HostError(f"{where}: openssl shows no public key of this certificate.") from exc


def new_key(path: str, key_type: str) -> PublicKey:
    """Make an unencrypted PKCS#8 key in a file that only its owner can read from its first byte on."""
    aside = f"{path}{TEMPORARY}"
    remove(aside)
    os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    done = run(["openssl", "genpkey", *_NEW_KEY[key_type], "-out", aside], timeout=120)
    if done.rc:
        remove(aside)
        raise HostError(f"openssl could not make a {key_type} key for {path}: {done.said}")
    public = public_key_of_key(aside)
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(aside, path)
    sync_folder(os.path.dirname(path))
    return public


def new_request(key_path: str, *, common_name: str | None, names: Sequence[str]) -> str:
    """A PEM certificate signing request, signed with this key. O(names): C(DNS:…) and C(IP:…)."""
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as config:
        config.write(_request_config([_checked_name(name) for name in names]))
        config.flush()
        subject = "/CN=" + re.sub(r"([\\/+=])", r"\\\1", common_name) if common_name else "/"
        done = run(
            ["openssl", "req", "-new", "-utf8", "-sha256", "-batch", "-config", config.name]
            + ["-subj", subject, "-key", key_path, *_NO_PROMPT]
        )
    if done.rc or "BEGIN CERTIFICATE REQUEST" not in done.text:
        raise HostError(f"openssl could not make a certificate request with {key_path}: {done.said}")
    return done.text[done.text.index("-----BEGIN") :]


def pair_error(certificate_path: str, key_path: str) -> str | None:
    """Why a TLS library would refuse this pair of files, or None when it takes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate_path, key_path, password=lambda: b"")
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None) or type(exc).__name__
        return str(reason).lower().replace("_", " ")
    return None


def chain_error(certificate: str, *, chain: str, anchors: str, server_name: str | None) -> str | None:
    """Why a strict client that trusts these anchors alone would refuse a leaf, or None when it takes it.

    O(server_name): the DNS name or IP literal that clients connect to; None where no server is involved.
    """
    with tempfile.TemporaryDirectory(prefix="certfleet-") as folder:
        files = {}
        for name, text in (("leaf", certificate), ("chain", chain), ("anchors", anchors)):
            files[name] = os.path.join(folder, name)
            with open(files[name], "w", encoding="ascii") as stream:
                stream.write(text)
        argv = ["openssl", "verify", "-x509_strict", "-CAfile", files["anchors"], "-no-CApath", *_no_store()]
        if server_name:
            argv += ["-purpose", "sslserver", "-verify_ip" if _is_ip(server_name) else "-verify_hostname", server_name]
        done = run([*argv, *(("-untrusted", files["chain"]) if chain else ()), files["leaf"]])
    if done.rc == 0:
        return None
    found = re.findall(r"^error \d+ at \d+ depth lookup: ?(.+)$", f"{done.text}\n{done.err}", re.MULTILINE)
    return str(found[0]) if found else done.said


def time_error(certificate: str) -> str | None:
    """Why a certificate, whoever issued it, is not valid at this host's time, or None when it is."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as leaf:
        leaf.write(certificate)
        leaf.flush()
        # Its own anchor: all that is left to complain of is the time.
        done = run(["openssl", "verify", "-partial_chain", "-CAfile", leaf.name, "-no-CApath", *_no_store(), leaf.name])
    found = re.findall(r"^error (?:9|10) at 0 depth lookup: ?(.+)$", f"{done.text}\n{done.err}", re.MULTILINE)
    return str(found[0]) if found else None


@lru_cache(maxsize=1)
def _no_store() -> tuple[str, ...]:
    """OpenSSL 3 has one more default store than 1.1.1, with a switch of its own."""
    is_older = run(["openssl", "version"]).text.startswith(("OpenSSL 1.", "LibreSSL"))
    return () if is_older else ("-no-CAstore",)


def _check_key_file(path: str) -> None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise HostError(f"{path} is no file. A private key has to be one.")
        with open(path, "rb") as stream:
            head = stream.read(_LARGEST_KEY)
    except OSError as exc:
        raise HostError(f"{path} cannot be read: {exc.strerror}.") from exc
    if b"ENCRYPTED" in head:
        raise HostError(
            f"{path} holds an encrypted private key: a service cannot start with it. It has to be replaced."
        )
    if b"PRIVATE KEY-----" not in head:
        raise HostError(f"{path} holds no private key in PEM. It has to be replaced.")


def _public_key(der: bytes) -> PublicKey:
    text = der.hex()
    found = [key_type for key_type, begins in _DER_BEGINS.items() if text.startswith(begins)]
    return PublicKey(hashlib.sha256(der).hexdigest(), found[0] if found else "other")


def _checked_name(name: str) -> tuple[str, str]:
    kind, _colon, text = name.partition(":")
    if kind == "IP" and _is_ip(text):
        return kind, text
    if _NAME.match(name):
        return kind, text
    raise HostError(f"The name '{name}' is neither DNS:<host name> nor IP:<address>. Correct subject_alt_names.")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _request_config(names: Sequence[tuple[str, str]]) -> str:
    lines = ["[req]", "distinguished_name = subject", "prompt = no", "string_mask = utf8only"]
    if names:
        lines += ["req_extensions = extensions", "[extensions]", "subjectAltName = @names", "[names]"]
        lines += [f"{kind}.{number} = {text}" for number, (kind, text) in enumerate(names)]
    return "\n".join([*lines, "[subject]", ""])
