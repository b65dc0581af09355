# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GnuTLS: `certtool --verify`, with the purpose, the name and, where there are any, the CRLs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .case import CLIENT, CRL, Case, Verdict, write

PURPOSES = {CLIENT: "1.3.6.1.5.5.7.3.2"}
SERVER_AUTH = "1.3.6.1.5.5.7.3.1"


class GnuTLS:
    """The `certtool` of Debian's gnutls-bin."""

    name = "gnutls"

    @property
    def version(self) -> str:
        return "GnuTLS " + _run(["certtool", "--version"]).stdout.splitlines()[0].split()[-1]

    def excuse(self, case: Case) -> str | None:
        return None

    def verify(self, cases: Sequence[Case], folder: Path) -> list[Verdict]:
        return [self._verify(case, folder) for case in cases]

    def _verify(self, case: Case, folder: Path) -> Verdict:
        if case.purpose == CRL:
            trusted, crl = write(folder, "issuer.pem", *case.chain), write(folder, "crl.pem", *case.crls)
            done = _run(["certtool", "--verify-crl", "--load-ca-certificate", str(trusted), "--infile", str(crl)])
            words = " ".join((done.stdout + done.stderr).split())
            return Verdict(done.returncode == 0 and "Verified" in words, words[-160:])
        command = ["certtool", "--verify", "--load-ca-certificate", str(write(folder, "anchors.pem", case.anchors))]
        command += ["--verify-purpose", PURPOSES.get(case.purpose, SERVER_AUTH)]
        if case.name:
            command += ["--verify-hostname", case.name.partition(":")[2]]
        if case.crls:
            command += ["--load-crl", str(write(folder, "crls.pem", *case.crls))]
        done = _run([*command, "--infile", str(write(folder, "chain.pem", *case.chain))])
        said = [line for line in done.stdout.splitlines() if line.startswith("Chain verification output")]
        return Verdict(done.returncode == 0, (said or [done.stderr.strip()])[-1])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
