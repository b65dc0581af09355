# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What certificates cost, whole runs, wall clock, each against a peer in the same run. Its last line is one JSON object:

floor_1000, floor_10000  `ca_issue` in a playbook / (`cryptography` alone in a loop + a playbook that echoes the same payload)
memory_mb                the most memory of the process tree while 10,000 are issued (sum of proportional shares)
crypto_playbook          30 keys, CSRs and certificates with community.crypto / the same with our role
crypto_signing           its signing task / ours
openssl_script           the guide's commands, 30 times / our role
ledger_100k              a run where nothing is due, with a ledger of 100,000 certificates / with an empty one
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger import Entry, Ledger, Signed
from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import new_serial
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.tests.certificate_request import certificate_request

sys.path.insert(0, str(Path(__file__).parent))
from plays import LOCAL, OURS, PEER, Cost, Workplace, no_op, play

LIFETIME = 90 * 86400
PAIRS = 30
SIZES = (100, 1000, 10000)
FEW = 200
NODE = "device"
SIGNING = "certfleet.tls.tls_certificate : Issue | Sign all that the batch asks for"


def main() -> int:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each short measurement, whose median counts")
    parser.add_argument("--ledger", type=int, default=100_000, help="certificates of the large ledger")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="certfleet-bench-") as name:
        bench = Bench(Path(name), given.rounds)
        bench.make_authority()
        print(f"cores: {os.cpu_count()}, medians of {given.rounds}\n", flush=True)
        figures = {**bench.floors(), **bench.peers(), **bench.large_ledger(given.ledger)}
    print(json.dumps(figures))
    return 0


class Bench:
    """A CA in a temporary folder and playbooks over it; the CA host and the device are this machine."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder, self.rounds = folder, rounds
        self.fresh = folder / "fresh"
        variables = {
            "tls_ca_host": "ca",
            "tls_ca_directory": str(folder / "ca"),
            "tls_ca_passphrase_file": str(folder / "passphrase"),
            "tls_certificate_ca_become": False,
            "tls_certificate_become": False,
            "tls_certificate_watchdog": "none",
        }
        hosts = {"ca": LOCAL, NODE: LOCAL}
        self.workplace = Workplace(folder, {"all": {"vars": variables, "hosts": hosts}}, forks=5)

    def make_authority(self) -> None:
        """One authority and no leaf; each measurement begins with a copy of it."""
        self.workplace.run(OURS, "authority", [play("ca", [{"name": "Authority", **_authority(self.folder)}])])
        shutil.copytree(self.folder / "ca", self.fresh)

    def floors(self) -> dict[str, float]:
        """Ours against the bare loop and the echo, for each size; the cost of one certificate should not depend on it."""
        figures: dict[str, float] = {}
        print(f"{'certificates':>12} {'ours':>8} {'each more':>10} {'loop':>8} {'echo':>8} {'ratio':>6}")
        fewer, before = 0, 0.0
        for size in SIZES:
            (self.folder / "requests.json").write_text(json.dumps({"requests": _requests(size)}))
            rounds = self.rounds if size < max(SIZES) else 1
            ours = self._median(rounds, lambda: self._issue("issue").wall)
            loop = self._median(rounds, self._loop)
            echo = self._median(rounds, lambda: self._with_requests("echo", _echo(self.folder)).wall)
            figures[f"floor_{size}"] = round(ours / (loop + echo), 2)
            # What a start costs is in both; flat is what one certificate more costs.
            more = f"{1000 * (ours - before) / (size - fewer):.2f} ms" if fewer else "-"
            print(
                f"{size:12} {ours:6.1f} s {more:>10} {loop:6.1f} s {echo:6.1f} s {figures[f'floor_{size}']:6.2f}",
                flush=True,
            )
            fewer, before = size, ours
        del figures[f"floor_{SIZES[0]}"]
        figures["memory_mb"] = round(self._issue("watched", watch=True).peak / 1e6)
        print(f"most memory of all processes while {SIZES[-1]} are issued: {figures['memory_mb']} MB\n", flush=True)
        return figures

    def peers(self) -> dict[str, float]:
        """Keys, CSRs and certificates as files of one host."""
        start = self._median(self.rounds, lambda: self.workplace.run(OURS, "start", [play(NODE, [no_op()])]).wall)
        crypto = self.workplace.run(PEER, "crypto", [play(NODE, _crypto_tasks(self.folder))])
        runs = [self._role() for _round in range(self.rounds)]
        ours = statistics.median(run.wall for run in runs)
        signing = statistics.median(run.tasks[SIGNING] for run in runs)
        script = self._median(self.rounds, self._script)
        print(f"{PAIRS} certificates on one host (ansible-playbook alone takes {start:.1f} s)")
        print(f"  ours              {ours:7.1f} s, of which signing {signing:6.2f} s")
        print(
            f"  community.crypto  {crypto.wall:7.1f} s, of which signing {crypto.tasks['Certificates']:6.2f} s (one run)"
        )
        print(f"  openssl           {script:7.1f} s\n", flush=True)
        return {
            "crypto_playbook": round(crypto.wall / ours, 1),
            "crypto_signing": round(crypto.tasks["Certificates"] / signing, 1),
            "openssl_script": round(script / ours, 2),
        }

    def large_ledger(self, size: int) -> dict[str, float]:
        """The CA's part of a run where nothing is due: the authority looked at, hosts asked about, what is in force returned."""
        (self.folder / "requests.json").write_text(json.dumps({"requests": _requests(FEW)}))
        tasks = [
            {"name": "Authority", **_authority(self.folder)},
            {
                "name": "Info",
                "certfleet.tls.ca_info": {
                    "directory": str(self.folder / "ca"),
                    "identities": [f"robot-{number}" for number in range(FEW)],
                },
            },
            _issue_task(self.folder),
        ]
        self._begin_anew()
        self._with_requests("first", tasks)
        empty = self._median(self.rounds, lambda: self._nothing_due("empty", tasks))
        began = time.monotonic()
        _fill(self.folder / "ca" / "ledger.sqlite", size)
        print(f"{size} certificates entered into the ledger in {time.monotonic() - began:.1f} s")
        full = self._median(self.rounds, lambda: self._nothing_due("full", tasks))
        print(f"nothing due: empty ledger {empty:.2f} s, {size} certificates {full:.2f} s\n", flush=True)
        return {"ledger_100k": round(full / empty, 2)}

    def _empty(self, name: str) -> Path:
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    def _begin_anew(self) -> None:
        shutil.rmtree(self.folder / "ca")
        shutil.copytree(self.fresh, self.folder / "ca")

    def _issue(self, name: str, *, watch: bool = False) -> Cost:
        self._begin_anew()
        cost = self._with_requests(name, [_issue_task(self.folder)], watch=watch)
        if " changed=1 " not in cost.output:
            raise SystemExit(f"{name}: nothing was issued:\n{cost.output[-2000:]}")
        return cost

    def _nothing_due(self, name: str, tasks: list[dict[str, Any]]) -> float:
        cost = self._with_requests(name, tasks)
        if " changed=0 " not in cost.output:
            raise SystemExit(f"{name}: something was due:\n{cost.output[-2000:]}")
        return cost.wall

    def _with_requests(self, name: str, tasks: list[dict[str, Any]], *, watch: bool = False) -> Cost:
        return self.workplace.run(OURS, name, [play("ca", tasks)], watch=watch)

    def _loop(self) -> float:
        command = [sys.executable, Path(__file__).with_name("bare_signing.py"), self.folder / "requests.json"]
        return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)

    def _median(self, rounds: int, measure: Any) -> float:
        return statistics.median(measure() for _round in range(rounds))

    def _role(self) -> Cost:
        """Our role on a host that has nothing yet: request, issue, deploy, record."""
        self._begin_anew()
        place = self._empty("ours")
        certificates = [
            {
                "name": f"cert-{number}",
                "subject_alt_names": [f"DNS:cert-{number}.plant.example"],
                "where": {"certificate": f"{place}/{number}.pem", "key": f"{place}/{number}.key"},
                "reload": {"method": "none"},
            }
            for number in range(PAIRS)
        ]
        role = {"name": "certfleet.tls.tls_certificate"}
        tasks = [{"name": "Ours", "ansible.builtin.import_role": role}]
        return self.workplace.run(
            OURS, "role", [play(NODE, tasks, vars={"tls_certificate_certificates": certificates})]
        )

    def _script(self) -> float:
        """The commands of a vendor's guide, one certificate after the other."""
        place = self._empty("openssl")
        began = time.monotonic()
        subprocess.run(
            ["bash", "-euc", _OPENSSL_SCRIPT, "bash", str(PAIRS)], cwd=place, check=True, capture_output=True
        )
        return time.monotonic() - began


_OPENSSL_SCRIPT = """
openssl req -new -x509 -days 100 -extensions v3_ca -nodes -subj "/O=plant/CN=bench-ca" -keyout ca.key -out ca.crt
for number in $(seq "$1"); do
    openssl genrsa -out "$number.key" 2048
    openssl req -out "$number.csr" -key "$number.key" -subj "/O=plant/CN=cert-$number" -new
    cat > v3.ext << EOF
authorityKeyIdentifier=keyid
basicConstraints=CA:FALSE
keyUsage = digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName=DNS:cert-$number.plant.example
EOF
    openssl x509 -req -in "$number.csr" -CA ca.crt -CAkey ca.key -extfile v3.ext -CAcreateserial -out "$number.crt" -days 100
done
"""


def _authority(folder: Path) -> dict[str, Any]:
    options = {**_where(folder), "name": "fleet", "generate_passphrase": True}
    return {"certfleet.tls.ca_authority": options}


def _issue_task(folder: Path) -> dict[str, Any]:
    issue = {**_where(folder), "requests": _read(folder)}
    return {"name": "Issue", "certfleet.tls.ca_issue": issue, "register": "issued", "no_log": True}


def _echo(folder: Path) -> list[dict[str, Any]]:
    echo = {"requests": _read(folder)}
    return [{"name": "Echo", "echo_payload": echo, "register": "echoed", "no_log": True}]


def _read(folder: Path) -> str:
    """Where the worker finds them: as variables of the play they would be in the memory of all processes."""
    return f"{{{{ (lookup('ansible.builtin.file', '{folder}/requests.json') | from_json).requests }}}}"


def _where(folder: Path) -> dict[str, Any]:
    return {"directory": str(folder / "ca"), "passphrase_file": str(folder / "passphrase")}


def _requests(count: int) -> list[dict[str, Any]]:
    """What so many robots would ask for, with a key each."""
    requests = []
    for number in range(count):
        name, key = f"robot-{number}", new_key("ec-p256")
        names = [f"DNS:{name}.plant.example", f"IP:198.18.{number // 250}.{number % 250 + 1}"]
        requests.append(certificate_request(name, key=key, common_name=name, names=names))
    return requests


def _crypto_tasks(folder: Path) -> list[dict[str, Any]]:
    """As the documentation of community.crypto shows it: three tasks, each with a loop."""
    place = folder / "crypto"
    place.mkdir()
    loop = {"loop": f"{{{{ range({PAIRS}) | list }}}}"}
    authority = [
        {"name": "CA key", "community.crypto.openssl_privatekey": _crypto_key(f"{place}/ca.key")},
        {
            "name": "CA request",
            "community.crypto.openssl_csr": {
                "path": f"{place}/ca.csr",
                "privatekey_path": f"{place}/ca.key",
                "common_name": "bench CA",
                "basic_constraints": ["CA:TRUE"],
                "basic_constraints_critical": True,
                "key_usage": ["keyCertSign"],
                "key_usage_critical": True,
            },
        },
        {
            "name": "CA certificate",
            "community.crypto.x509_certificate": {
                "path": f"{place}/ca.pem",
                "privatekey_path": f"{place}/ca.key",
                "csr_path": f"{place}/ca.csr",
                "provider": "selfsigned",
            },
        },
    ]
    leaves = [
        {"name": "Keys", "community.crypto.openssl_privatekey": _crypto_key(f"{place}/{{{{ item }}}}.key"), **loop},
        {
            "name": "Requests",
            "community.crypto.openssl_csr": {
                "path": f"{place}/{{{{ item }}}}.csr",
                "privatekey_path": f"{place}/{{{{ item }}}}.key",
                "common_name": "cert-{{ item }}",
                "subject_alt_name": ["DNS:cert-{{ item }}.plant.example"],
            },
            **loop,
        },
        {
            "name": "Certificates",
            "community.crypto.x509_certificate": {
                "path": f"{place}/{{{{ item }}}}.pem",
                "csr_path": f"{place}/{{{{ item }}}}.csr",
                "provider": "ownca",
                "ownca_path": f"{place}/ca.pem",
                "ownca_privatekey_path": f"{place}/ca.key",
            },
            **loop,
        },
    ]
    return authority + leaves


def _crypto_key(path: str) -> dict[str, Any]:
    return {"path": path, "type": "ECC", "curve": "secp256r1"}


def _fill(ledger: Path, count: int) -> None:
    """Certificates of other machines, entered as issuing enters them, five of each. Their PEM is of the usual size."""
    now = int(time.time())
    pem, most = "x" * 1000, 10_000
    with Ledger.open(str(ledger)) as open_ledger:
        for begin in range(0, count, most):
            entries = [_entry(number, now) for number in range(begin, min(begin + most, count))]
            open_ledger.reserve(entries, now=now)
            signed = (Signed(entry.serial, hashlib.sha256(entry.serial.encode()).hexdigest(), pem) for entry in entries)
            open_ledger.store(signed, now=now)


def _entry(number: int, now: int) -> Entry:
    identity = f"other-{number // 5}"
    return Entry(
        serial=f"{new_serial():x}",
        authority="fleet",
        issuer="0" * 64,
        identity=identity,
        name="https",
        profile="server",
        common_name=identity,
        names=(f"DNS:{identity}.plant.example",),
        spki=hashlib.sha256(str(number).encode()).hexdigest(),
        not_before=now,
        not_after=now + LIFETIME,
        why=("missing",),
    )


if __name__ == "__main__":
    sys.exit(main())
