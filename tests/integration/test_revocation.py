# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real nginx that checks its clients: strangers of another authority, revoked ones, and CRLs that reach it before they end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from .machines import Lab, on, served
from .playbook import Run, run_playbook, site

# A CA of its own, so that the lab's stays as it is.
DIRECTORY = "/var/lib/certfleet-mutual-tls"
PASSPHRASE = "/etc/certfleet/mutual-tls-passphrase"
CA = {
    "tls_ca_directory": DIRECTORY,
    "tls_ca_passphrase_file": PASSPHRASE,
    "tls_ca_authorities": [{"name": "fleet"}, {"name": "thing_clients"}],
    "tls_retry_now": True,
}
FOLDER = "/etc/certfleet-mutual-tls"
CRL = f"{FOLDER}/crl.pem"
NGINX = {"method": "systemd", "name": "nginx", "action": "reload"}
SITE = f"""server {{
    listen 8443 ssl;
    ssl_certificate {FOLDER}/server.pem;
    ssl_certificate_key {FOLDER}/server.key;
    ssl_client_certificate {FOLDER}/things.pem;
    ssl_verify_client on;
    ssl_verify_depth 2;
    ssl_crl {CRL};
    location / {{ default_type text/plain; return 200 "things only\\n"; }}
}}
"""
# Python on the CA host as if it was some days ago.
PAST = "/usr/local/bin/python-of-the-past"


def wanted(name: str, authority: str, profile: str, *names: str, **more: Any) -> dict[str, Any]:
    where = {"certificate": f"{FOLDER}/{name}.pem", "key": f"{FOLDER}/{name}.key"}
    described = {"name": name, "authority": authority, "profile": profile, "subject_alt_names": list(names)}
    return {**described, "common_name": name, "where": where, "watchdog": {"method": "none"}, **more}


HOSTS: dict[str, dict[str, Any]] = {
    "web": {
        "mutual_tls_certificates": [wanted("server", "fleet", "server", "IP:198.19.0.50")],
        "tls_trust_crls": [{"authority": "thing_clients", "path": CRL, "reload": NGINX}],
    },
    "client": {
        "mutual_tls_certificates": [
            wanted("thing-1", "thing_clients", "client", "DNS:thing-1.plant.example"),
            wanted("thing-2", "thing_clients", "client", "DNS:thing-2.plant.example"),
            wanted("stranger", "fleet", "client", "DNS:stranger.plant.example"),
        ]
    },
}


class MutualTls:
    """The server on host web, and its clients on host client."""

    def __init__(self, inventory: Path, past: Path) -> None:
        self.inventory, self.past = inventory, past

    def run(self, playbook: str, *, overlay: Path | None = None, **extra: Any) -> Run:
        """A playbook in this CA."""
        done = run_playbook(
            playbook, "--diff", limit="ca:web:client", overlay=overlay or self.inventory, extra={**CA, **extra}
        )
        assert done.rc == 0, done.output
        return done

    def refused_run(self, playbook: str, *, overlay: Path | None = None, **extra: Any) -> Run:
        """One that must fail."""
        done = run_playbook(playbook, limit="ca:web:client", overlay=overlay or self.inventory, extra={**CA, **extra})
        assert done.rc != 0, done.output
        return done

    def answer(self, client: str) -> str:
        """What the server answers to a client: 200, or 400 with nginx's word for why."""
        pair = ("--cert", f"{FOLDER}/{client}.pem", "--key", f"{FOLDER}/{client}.key") if client else ()
        said = on(
            *("client", "curl", "-s", "-m", "10", "-w", "%{http_code}", "--cacert", f"{FOLDER}/server-ca.pem", *pair),
            "https://198.19.0.50:8443/",
        )
        return " ".join(re.sub(r"<[^>]+>", " ", said).split())

    def number(self) -> int:
        """Of the issuing CA's CRL that nginx reads."""
        return int(on("web", "openssl", "crl", "-in", CRL, "-noout", "-crlnumber").strip().partition("=0x")[2], 16)

    def days(self, days: int) -> None:
        """How many days ago the past is."""
        script = f'#!/bin/sh\nexec faketime -f -{days}d /usr/bin/python3 "$@"\n'
        on("ca", "sh", "-c", f"cat > {PAST} && chmod 0755 {PAST}", given=script)

    def forget_crls(self) -> None:
        """As if none had ever been signed, here or there."""
        on("ca", "sh", "-c", f"rm -f {DIRECTORY}/authorities/*/*crl.pem")
        delete = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DELETE FROM crls'); c.commit()"
        on("ca", "python3", "-c", delete, f"{DIRECTORY}/ledger.sqlite")
        on("web", "rm", "-f", CRL)


@pytest.fixture(scope="module")
def mutual_tls(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MutualTls]:
    """All certificates in place; nginx serves with the first, empty CRL."""
    del lab  # it runs
    folder = tmp_path_factory.mktemp("inventory")
    plants: dict[str, dict[str, Any]] = {
        "now.json": {"hosts": HOSTS},
        # What was signed then was signed by a right clock: that this one is late is no news.
        "past.json": {
            "hosts": {**HOSTS, "ca": {"ansible_python_interpreter": PAST}},
            "vars": {"tls_clock_limit": "60d"},
        },
    }
    for file, everybody in plants.items():
        (folder / file).write_text(json.dumps({"all": everybody}))
    plant = MutualTls(folder / "now.json", folder / "past.json")
    try:
        for host in ("web", "client"):
            on(host, "mkdir", "-p", FOLDER)
        plant.run("playbooks/ca.yml")
        plant.run("tests/integration/mutual_tls.yml")
        for host, file, authority in (("web", "things.pem", "thing_clients"), ("client", "server-ca.pem", "fleet")):
            anchors = on("ca", "cat", f"{DIRECTORY}/authorities/{authority}/root.pem")
            on(host, "sh", "-c", f"cat > {FOLDER}/{file}", given=anchors)
        plant.run("playbooks/crl.yml")
        on(
            "web",
            "sh",
            "-c",
            "cat > /etc/nginx/conf.d/mutual-tls.conf && nginx -t -q && systemctl reload nginx",
            given=SITE,
        )
        yield plant
    finally:
        on("web", "sh", "-c", f"rm -rf /etc/nginx/conf.d/mutual-tls.conf {FOLDER} && systemctl reload nginx")
        on("client", "rm", "-rf", FOLDER)
        # The note that there is a CA lies beside the passphrase.
        on("ca", "sh", "-c", f"rm -rf {DIRECTORY} {PASSPHRASE} {PASSPHRASE}-*.ca {PAST}")


def test_own_clients_pass_and_those_of_another_authority_are_strangers(mutual_tls: MutualTls) -> None:
    assert [mutual_tls.answer(name) for name in ("thing-1", "thing-2")] == ["things only 200"] * 2
    assert "400 The SSL certificate error" in mutual_tls.answer("stranger")
    assert "400 No required SSL certificate was sent" in mutual_tls.answer("")


def test_nothing_due_touches_neither_ca_nor_server(mutual_tls: MutualTls) -> None:
    started = on("web", "stat", "-c", "%y", CRL)
    again = mutual_tls.run("playbooks/crl.yml")
    assert again.changed == {}
    assert on("web", "stat", "-c", "%y", CRL) == started


def test_revoked_client_is_refused_and_gets_another_certificate(mutual_tls: MutualTls) -> None:
    before = mutual_tls.number()
    key = on("client", "openssl", "x509", "-in", f"{FOLDER}/thing-1.pem", "-noout", "-pubkey")
    revoke = {"tls_revoke_identity": "client", "tls_revoke_name": "thing-1", "tls_revoke_reason": "key_compromise"}
    mutual_tls.run("playbooks/revoke.yml", **revoke)
    assert "400 The SSL certificate error" in mutual_tls.answer("thing-1")
    assert mutual_tls.answer("thing-2") == "things only 200"
    assert mutual_tls.number() > before
    # Twice is once.
    assert mutual_tls.run("playbooks/revoke.yml", **revoke).changed == {}
    renewed = mutual_tls.run("tests/integration/mutual_tls.yml")
    assert "client/thing-1: issue (revoked)" in renewed.output
    assert "client/thing-2: none ()" in renewed.output
    assert mutual_tls.answer("thing-1") == "things only 200"
    assert on("client", "openssl", "x509", "-in", f"{FOLDER}/thing-1.pem", "-noout", "-pubkey") != key


def test_crl_is_renewed_before_it_ends(mutual_tls: MutualTls) -> None:
    mutual_tls.forget_crls()
    mutual_tls.days(21)
    mutual_tls.run("playbooks/crl.yml", overlay=mutual_tls.past)
    # It has nine days left, so that everything works; and is due.
    before = mutual_tls.number()
    assert mutual_tls.answer("thing-2") == "things only 200"
    mutual_tls.run("playbooks/crl.yml")
    assert mutual_tls.number() > before + 20 * 86400
    crl = x509.load_pem_x509_crl(on("web", "openssl", "crl", "-in", CRL).encode())
    assert crl.next_update_utc is not None
    assert (crl.next_update_utc - datetime.now(timezone.utc)).days == 29
    assert mutual_tls.answer("thing-2") == "things only 200"


def test_crl_that_has_ended_is_not_handed_over(mutual_tls: MutualTls) -> None:
    before = mutual_tls.number()
    mutual_tls.forget_crls()
    mutual_tls.days(40)
    said = mutual_tls.refused_run("playbooks/crl.yml", overlay=mutual_tls.past)
    assert "has ended" in " ".join(said.output.split())
    assert on("web", "ls", FOLDER).split() == ["server.key", "server.pem", "things.pem"]
    mutual_tls.run("playbooks/crl.yml")
    assert mutual_tls.number() >= before
    assert mutual_tls.answer("thing-2") == "things only 200"


def test_older_crl_of_the_ca_is_not_put_over_a_newer_one(mutual_tls: MutualTls, tmp_path: Path) -> None:
    before = mutual_tls.number()
    published = on("web", "cat", CRL)
    mutual_tls.forget_crls()
    on("web", "sh", "-c", f"cat > {CRL}", given=published)
    mutual_tls.days(5)
    said = mutual_tls.refused_run("playbooks/crl.yml", overlay=mutual_tls.past)
    assert "it is older, and would make revoked certificates good again" in " ".join(said.output.split())
    assert mutual_tls.number() == before
    # The next step that it names: what is out there is shown to the CA.
    (tmp_path / "published.pem").write_text(published)
    mutual_tls.run("playbooks/crl.yml", tls_crl_published=[str(tmp_path / "published.pem")])
    assert mutual_tls.number() > before


def test_service_that_does_not_take_the_new_crl_goes_on_with_the_former_one(mutual_tls: MutualTls) -> None:
    before = mutual_tls.number()
    mutual_tls.run("playbooks/revoke.yml", tls_revoke_identity="client", tls_revoke_name="thing-2", tls_trust_crls=[])
    # What nginx complains of is in its configuration, so it takes nothing at all.
    on("web", "sh", "-c", "echo nonsense > /etc/nginx/conf.d/broken.conf")
    try:
        said = mutual_tls.refused_run("playbooks/crl.yml")
    finally:
        on("web", "rm", "-f", "/etc/nginx/conf.d/broken.conf")
    assert "The former one was put back" in " ".join(said.output.split())
    assert mutual_tls.number() == before
    assert mutual_tls.answer("thing-2") == "things only 200"
    mutual_tls.run("playbooks/crl.yml")
    assert "400 The SSL certificate error" in mutual_tls.answer("thing-2")


def test_restored_ca_learns_back_from_the_server_what_it_has_forgotten(mutual_tls: MutualTls) -> None:
    assert mutual_tls.answer("thing-1") == "things only 200"
    backup = f"{DIRECTORY}.old"
    on("ca", "cp", "-a", DIRECTORY, backup)
    try:
        mutual_tls.run("playbooks/revoke.yml", tls_revoke_identity="client", tls_revoke_name="thing-1")
        assert "400 The SSL certificate error" in mutual_tls.answer("thing-1")
        before = mutual_tls.number()
    finally:
        on("ca", "sh", "-c", f"rm -rf {DIRECTORY} && mv {backup} {DIRECTORY}")
    mark = "INSERT INTO conditions (name, said, at) VALUES ('restored', 'x', unixepoch())"
    run = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
    on("ca", "python3", "-c", run, f"{DIRECTORY}/ledger.sqlite", mark)
    mutual_tls.run("playbooks/crl.yml")
    assert mutual_tls.number() > before
    assert "400 The SSL certificate error" in mutual_tls.answer("thing-1")
    # Once is enough.
    again = mutual_tls.run("playbooks/crl.yml")
    said = "authority 'thing_clients': the CA was restored from a backup. What its issuing CA"
    assert (again.changed, said in " ".join(again.output.split())) == ({}, False)


def test_revoked_robot_is_due_in_the_next_run(converged: Lab) -> None:
    before = served(converged.endpoint("robot-1"))
    extra = {"tls_revoke_serial": _serial(before), "tls_revoke_reason": "superseded"}
    revoked = run_playbook("playbooks/revoke.yml", limit="ca:robot-1", extra=extra)
    assert revoked.rc == 0, revoked.output
    run = site(limit="robot-1")
    assert run.rc == 0, run.output
    assert "installed (revoked)" in run.row("robot-1")
    assert served(converged.endpoint("robot-1")) not in ("", before)
    assert site(limit="robot-1").changed == {}


def _serial(fingerprint: str) -> str:
    """What the ledger calls the certificate with this fingerprint."""
    select = (
        "import sqlite3, sys; print(sqlite3.connect('file:/var/lib/certfleet/ledger.sqlite?mode=ro', uri=True).execute("
        "'SELECT serial FROM certificates WHERE fingerprint = ?', sys.argv[1:]).fetchone()[0])"
    )
    return on("ca", "python3", "-c", select, fingerprint.replace(":", "").lower()).strip()
