"""`make verifiers`: what we issue, shown to five verifiers and to pkilint; tables for people, then one JSON object.

The last line: {"accepted": {verifier: [n, of]}, "rejected": {verifier: [n, of]}, "lint_errors": n}. What a verifier does not
check, by its documentation, is not in its numbers; the tables say what that is and where it is written.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible_collections.certfleet.tls.tests.lab.certfleet_lab import packages
from ansible_collections.certfleet.tls.tests.verifiers import lint, material, tally
from ansible_collections.certfleet.tls.tests.verifiers.case import Verifier
from ansible_collections.certfleet.tls.tests.verifiers.gnutls import GnuTLS
from ansible_collections.certfleet.tls.tests.verifiers.go import Go
from ansible_collections.certfleet.tls.tests.verifiers.openssl import OpenSSL
from ansible_collections.certfleet.tls.tests.verifiers.pyca import Pyca
from ansible_collections.certfleet.tls.tests.verifiers.rustls import Rustls

VERIFIERS: tuple[Verifier, ...] = (OpenSSL(), GnuTLS(), Pyca(), Go(), Rustls())
NEEDED = {"certtool": "gnutls-bin", "openssl": "openssl"}


def ask_all(shown: material.Material, folder: Path) -> list[tally.Answers]:
    """All verifiers, two at a time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda verifier: tally.ask(verifier, shown.cases, folder), VERIFIERS))


def lint_all(shown: material.Material) -> list[lint.Finding]:
    """Every certificate, every signature within a chain, every CRL."""
    findings = [found for pem, title in shown.certificates.items() for found in lint.lint_certificate(pem, title=title)]
    for signer, signee in shown.links:
        title = f"{shown.certificates[signee]} under {shown.certificates[signer]}"
        findings += lint.lint_link(signer, signee, title=title)
    return findings + [found for title, pem in shown.crls.items() for found in lint.lint_crl(pem, title=title)]


def report(shown: material.Material, answers: Sequence[tally.Answers], findings: Sequence[lint.Finding]) -> int:
    """Print it all; 0 when everything is as it has to be."""
    for answer in answers:
        print(f"{answer.verifier}: {answer.version}")
    print("\n" + "\n".join(tally.table("accepted", shown.good, answers)))
    print("\n" + "\n".join(tally.table("rejected, and for that reason", shown.bad, answers)))
    print("\nnot counted, since by its documentation the verifier")
    for answer in answers:
        for excuse, count in answer.excused.items():
            print(f"  {answer.verifier} {excuse}: {count}")
    looked_at = f"{len(shown.certificates)} certificates, {len(shown.links)} signatures, {len(shown.crls)} CRLs"
    errors = [found for found in findings if not found.is_set_aside]
    print(f"\n{lint.VERSION}: {len(errors)} errors in {looked_at}")
    print(f"  set aside: {lint.SET_ASIDE}: {len(findings) - len(errors)}")
    wrong = tally.faults(shown.cases, answers)
    wrong += [f"pkilint: {found.title}: {found.code}: {found.message}" for found in errors]
    for line in wrong:
        print(f"  WRONG  {line}")
    good, bad = ([case for cases in group.values() for case in cases] for group in (shown.good, shown.bad))
    figures = {
        "accepted": {answer.verifier: answer.count(good) for answer in answers},
        "rejected": {answer.verifier: answer.count(bad) for answer in answers},
        "lint_errors": len(errors),
    }
    print(json.dumps(figures), flush=True)
    return 1 if wrong else 0


def main() -> int:
    started = time.monotonic()
    missing = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    if missing:
        packages.install(missing)
    with tempfile.TemporaryDirectory(prefix="certfleet-verifiers-") as name:
        folder = Path(name)
        print("verifiers: issuing, renewing and revoking in a folder of its own", flush=True)
        shown = material.make(folder)
        print(f"verifiers: {len(shown.cases)} cases for each of them, {time.monotonic() - started:.0f} s", flush=True)
        answers = ask_all(shown, folder)
        print(f"verifiers: linting, {time.monotonic() - started:.0f} s\n", flush=True)
        return report(shown, answers, lint_all(shown))


if __name__ == "__main__":
    sys.exit(main())
