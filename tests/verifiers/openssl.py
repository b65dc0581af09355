# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSL: `openssl verify -x509_strict`, with the purpose, the name and, where there are CRLs, `-crl_check_all`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .case import CLIENT, CRL, Case, Verdict, write


class OpenSSL:
    """The `openssl` on the PATH."""

    name = "openssl"

    @property
    def version(self) -> str:
        return _run(["openssl", "version"]).stdout.split("(")[0].strip()

    def excuse(self, case: Case) -> str | None:
        return None

    def verify(self, cases: Sequence[Case], folder: Path) -> list[Verdict]:
        return [self._verify(case, folder) for case in cases]

    def _verify(self, case: Case, folder: Path) -> Verdict:
        anchors = write(folder, "anchors.pem", case.anchors)
        if case.purpose == CRL:
            # Its issuer is in the chain; OpenSSL looks for it among the trusted ones.
            trusted = write(folder, "issuer.pem", *case.chain)
            crl = write(folder, "crl.pem", *case.crls)
            done = _run(["openssl", "crl", "-verify", "-noout", "-CAfile", str(trusted), "-in", str(crl)])
            return Verdict(done.returncode == 0 and "verify OK" in done.stderr, _last(done.stderr))
        command = ["openssl", "verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile", str(anchors)]
        command += ["-purpose", "sslclient" if case.purpose == CLIENT else "sslserver"]
        if case.chain[1:]:
            command += ["-untrusted", str(write(folder, "untrusted.pem", *case.chain[1:]))]
        if case.name:
            kind, _colon, text = case.name.partition(":")
            command += ["-verify_ip" if kind == "IP" else "-verify_hostname", text]
        if case.crls:
            check = "-crl_check_all" if len(case.crls) > 1 else "-crl_check"
            command += [check, "-CRLfile", str(write(folder, "crls.pem", *case.crls))]
        done = _run([*command, str(write(folder, "leaf.pem", case.chain[0]))])
        return Verdict(done.returncode == 0, _last(done.stderr))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def _last(said: str) -> str:
    """The line that names the error."""
    lines = [line for line in said.splitlines() if line.startswith("error ")]
    return (lines or said.splitlines() or [""])[0]
