# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roots that are not on the CA host: an offline one by its playbook, and a company's by real openssl. What comes back is adopted."""

from __future__ import annotations

import hashlib
import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .machines import Lab, on
from .own_ca import OwnCa, ask
from .playbook import CHECKOUT, Run, run_playbook

AUTHORITIES = ("vault", "office")
DOMAINS = {"tls_ca_domains": ["plant.example"]}
NETWORKS = {"tls_ca_networks": ["198.18.0.0/15"]}
# As companies keep one: a root that is off, and a CA under it that signs what departments bring, as the guide says that it should.
GUIDE = (CHECKOUT / "docs" / "docsite" / "rst" / "company_root.rst").read_text()
COMPANY = """
[request]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[policy]
basicConstraints = critical, CA:true, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def shown(language: str) -> str:
    """The block in that language below the guide's headline about openssl."""
    block = GUIDE.partition("\nWith ``openssl ca``\n")[2].partition(f".. code-block:: {language}\n")[2]
    lines = re.match(r"(?:\n| {4}.*\n)+", block)
    assert lines is not None, language
    return textwrap.dedent(lines[0])


@dataclass
class Site:
    """A CA with the authorities vault (its root offline) and office (its root the company's)."""

    ca: OwnCa
    exchange: Path
    room: Path

    def converge(self, *, compared: bool = True, **variables: Any) -> Run:
        """O(compared): somebody has compared the roots that came with the chains, and wrote them into the inventory."""
        run = self.ca.run("ca", **({"tls_ca_authorities": self.authorities()} if compared else {}), **variables)
        assert run.rc == 0, run.output
        return run

    def authorities(self) -> list[dict[str, Any]]:
        """As in the inventory, with the fingerprints of the roots that have come."""
        return [{"name": name, "root": {"location": "elsewhere", **self._fingerprint(name)}} for name in AUTHORITIES]

    def _fingerprint(self, authority: str) -> dict[str, str]:
        chain = self.exchange / authority / "chain.pem"
        if not chain.exists():
            return {}
        root = "-----BEGIN" + chain.read_text().rpartition("-----BEGIN")[2]
        command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
        shown = subprocess.run(command, input=root, capture_output=True, text=True, check=True).stdout
        return {"fingerprint": shown.strip().partition("=")[2]}

    def csr_of(self, authority: str) -> Path:
        return self.exchange / authority / "issuing.csr"

    def hold(self, authority: str, *arguments: str, **variables: Any) -> Run:
        """The ceremony, in a room without a network: nothing but this machine takes part."""
        extra = {
            "tls_root_name": authority,
            "tls_root_stick": str(self.exchange / authority),
            "tls_root_directory": str(self.room / "root"),
            "tls_root_passphrase_file": str(self.room / "passphrase"),
            "tls_root_become": False,
            **variables,
        }
        return run_playbook("playbooks/root_ceremony.yml", *arguments, extra=extra, inventory=Path("localhost,"))

    def verify(self, authority: str, pem: str, *more: str) -> str:
        """What openssl says of a leaf with the authority's own chain and root alone, strictly."""
        folder = f"{self.ca.directory}/authorities/{authority}"
        command = f"openssl verify -x509_strict -CAfile {folder}/root.pem -untrusted {folder}/issuing.pem"
        return on("ca", "sh", "-c", " ".join([command, *more]), given=pem, check=False)


@pytest.fixture(scope="module")
def waiting(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both authorities have a key, and wait for their chains."""
    assert lab.info["hosts"]
    exchange = tmp_path_factory.mktemp("exchange")
    authorities = [{"name": name, "root": {"location": "elsewhere"}} for name in AUTHORITIES]
    ca = OwnCa("ceremony", tls_ca_authorities=authorities, tls_ca_exchange=str(exchange), **DOMAINS)
    site = Site(ca, exchange, tmp_path_factory.mktemp("room"))
    said = " ".join(site.converge(**NETWORKS).output.split())
    assert "waits for its chain" in said
    # What the ceremony compares is shown where the key is.
    assert all(spki_of(site.csr_of(authority)) in said for authority in AUTHORITIES)
    yield site
    ca.remove()


@pytest.fixture(scope="module")
def company(waiting: Site) -> str:
    """The company's root and signing CA, made by openssl on a machine of its own; the folder there."""
    folder = f"{waiting.ca.folder}/company"
    on("ca", "mkdir", folder)
    on("ca", "sh", "-c", f"cat > {folder}/openssl.cnf", given=shown("ini") + COMPANY)
    on("ca", "touch", f"{folder}/index.txt")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes"
    openssl(
        folder, f"req -x509 {key} -keyout root.key -out root.pem -days 4000 -subj /O=Company/CN=Root -extensions root"
    )
    openssl(folder, f"req {key} -keyout policy.key -out policy.csr -subj /O=Company/CN=Signing")
    signer = "-CA root.pem -CAkey root.key -extfile openssl.cnf -extensions policy -days 3000"
    openssl(folder, f"x509 -req -in policy.csr -out policy.pem {signer}", config=False)
    return folder


def openssl(folder: str, words: str, *, config: bool = True) -> str:
    command, *rest = words.split()
    given = ["-config", "openssl.cnf"] if config else []
    return on("ca", "sh", "-c", f"cd {folder} && exec openssl {' '.join([command, *given, *rest])}")


def sign_as_company(site: Site, folder: str) -> str:
    """The chain that the company hands back for the request that it was given: PEM."""
    on("ca", "sh", "-c", f"cat > {folder}/issuing.csr", given=site.csr_of("office").read_text())
    commands = re.findall(r"(?m)^\$ (.+)$", shown("console"))
    on("ca", "sh", "-c", " && ".join([f"cd {folder}", *commands]))
    return on("ca", "cat", f"{folder}/chain.pem")


def spki_of(csr: Path) -> str:
    """As an operator reads it beside the ceremony's own answer: by openssl."""
    public = subprocess.run(["openssl", "req", "-in", csr, "-noout", "-pubkey"], capture_output=True, check=True).stdout
    command = ["openssl", "pkey", "-pubin", "-outform", "DER"]
    der = subprocess.run(command, input=public, capture_output=True, check=True).stdout
    return hashlib.sha256(der).hexdigest()


def test_nothing_is_signed_before_its_key_was_compared(waiting: Site) -> None:
    before = waiting.hold("vault")
    assert before.rc != 0
    said = " ".join(before.output.split())
    assert spki_of(waiting.csr_of("vault")) in said
    assert "limits: plant.example, 198.18.0.0/15" in said
    assert "was not signed" in said
    exchanged = waiting.hold("vault", tls_root_spki=spki_of(waiting.csr_of("office")))
    assert "somebody may have exchanged the file" in " ".join(exchanged.output.split())
    assert not (waiting.exchange / "vault" / "chain.pem").exists()


def test_both_are_signed_elsewhere_and_adopted(waiting: Site, company: str) -> None:
    held = waiting.hold("vault", tls_root_spki=spki_of(waiting.csr_of("vault")))
    assert held.rc == 0, held.output
    (waiting.exchange / "office" / "chain.pem").write_text(sign_as_company(waiting, company))
    # A chain alone does not say whose it is.
    unknown = waiting.converge(compared=False, **NETWORKS)
    assert unknown.changed == {}
    assert "Nothing says that this is your root" in " ".join(unknown.output.split())
    adopted = waiting.converge(**NETWORKS)
    assert adopted.changed
    assert not waiting.csr_of("vault").exists()
    assert not waiting.csr_of("office").exists()
    issued = waiting.ca.issue(*(ask(f"robot-of-{authority}", authority=authority) for authority in AUTHORITIES))
    for authority in AUTHORITIES:
        folder = f"{waiting.ca.directory}/authorities/{authority}"
        assert on("ca", "ls", folder).split() == ["issuing.key", "issuing.pem", "policy.json", "root.pem"]
        identity = f"robot-of-{authority}"
        name = f"{identity}.plant.example"
        assert waiting.verify(authority, issued[identity]["pem"], "-verify_hostname", name) == "stdin: OK\n"
    # A client of one is a stranger to the other.
    assert "OK" not in waiting.verify("office", leaf_of(waiting, "vault"))


def leaf_of(site: Site, authority: str) -> str:
    rows = site.ca.sql("SELECT pem FROM certificates WHERE identity = ?", f"robot-of-{authority}")
    return str(rows[0][0])


def test_a_further_network_goes_round_once_more(waiting: Site, company: str) -> None:
    wider: dict[str, Any] = {"tls_ca_networks": ["198.18.0.0/15", "2001:2::/48"]}
    fingerprints = waiting.ca.sql("SELECT fingerprint FROM certificates WHERE name = 'root'")
    asked = waiting.converge(**wider)
    said = " ".join(asked.output.split())
    assert "must be signed again" in said
    assert spki_of(waiting.csr_of("vault")) in said
    assert waiting.hold("vault", tls_root_spki=spki_of(waiting.csr_of("vault"))).rc == 0
    (waiting.exchange / "office" / "chain.pem").write_text(sign_as_company(waiting, company))
    waiting.converge(**wider)
    assert waiting.converge(**wider).changed == {}
    assert waiting.ca.sql("SELECT fingerprint FROM certificates WHERE name = 'root'") == fingerprints
    six = {"names": ["IP:2001:2::77"]}
    issued = waiting.ca.issue(*(ask(f"six-of-{authority}", authority=authority, **six) for authority in AUTHORITIES))
    for authority in AUTHORITIES:
        # The same key: what was issued before is as good as what comes now.
        assert waiting.verify(authority, leaf_of(waiting, authority)) == "stdin: OK\n"
        pem = issued[f"six-of-{authority}"]["pem"]
        assert waiting.verify(authority, pem, "-verify_ip", "2001:2::77") == "stdin: OK\n"


def test_an_issuing_ca_is_taken_back_by_the_root(waiting: Site) -> None:
    signed = waiting.hold("vault")
    serials = re.findall(r"issued: .*?serial\s+([0-9a-f]+)", signed.output, re.DOTALL)
    assert len(serials) == 1, signed.output
    revoked = waiting.hold("vault", tls_root_revoke=serials[0], tls_root_revoke_reason="ca_compromise")
    assert revoked.rc == 0, revoked.output
    crl = waiting.exchange / "vault" / "root-crl.pem"
    shown = subprocess.run(
        ["openssl", "crl", "-in", crl, "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout
    assert serials[0].upper() in shown
    assert "CA Compromise" in shown
    # Whoever has that CRL accepts nothing of it any more.
    on("ca", "sh", "-c", f"cat > {waiting.ca.folder}/root-crl.pem", given=crl.read_text())
    folder = f"{waiting.ca.directory}/authorities/vault"
    command = f"openssl verify -crl_check -CRLfile {waiting.ca.folder}/root-crl.pem -CAfile {folder}/root.pem {folder}/issuing.pem 2>&1"
    assert "certificate revoked" in on("ca", "sh", "-c", command, check=False)
