# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The company's own CA, kept with the `openssl` command as many are: a root, an intermediate CA, and what they sign for us."""

from __future__ import annotations

import subprocess
from pathlib import Path

AUTHORITY = "basicConstraints=critical,CA:TRUE,pathlen:{length}\nkeyUsage=critical,keyCertSign,cRLSign\n"
ROOT = AUTHORITY.format(length=2) + "subjectKeyIdentifier=hash\n"
BELOW = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n"


class Company:
    """Signs the CSRs of issuing CAs. C(intermediate): by an intermediate CA, otherwise by the root itself."""

    def __init__(self, folder: Path, *, intermediate: bool = True, curve: str = "P-384") -> None:
        folder.mkdir()
        self._folder = folder
        self._make("root", curve=curve, extensions=ROOT, days=3650)
        self.root = self._read("root.pem")
        self._signers = ["root"]
        if intermediate:
            self._make(
                "intermediate", curve=curve, extensions=AUTHORITY.format(length=1) + BELOW, days=2000, signer="root"
            )
            self._signers.append("intermediate")

    def sign(self, request: str) -> str:
        """The issuing CA for that CSR, with the name constraints it asks for, and all above it: PEM."""
        (self._folder / "issuing.csr").write_text(request, encoding="ascii")
        self._sign("issuing", AUTHORITY.format(length=0) + BELOW, days=1000, signer=self._signers[-1], copy="copyall")
        return "".join(self._read(f"{name}.pem") for name in ("issuing", *reversed(self._signers)))

    def _make(self, name: str, *, curve: str, extensions: str, days: int, signer: str = "") -> None:
        key = ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-nodes", "-keyout", f"{name}.key"]
        self._openssl("req", "-new", *key, "-subj", f"/O=Big Company/CN=Company {name}", "-out", f"{name}.csr")
        self._sign(name, extensions, days=days, signer=signer, copy="none")

    def _sign(self, name: str, extensions: str, *, days: int, signer: str, copy: str) -> None:
        (self._folder / "extensions").write_text(f"[ca]\n{extensions}", encoding="ascii")
        by = ["-CA", f"{signer}.pem", "-CAkey", f"{signer}.key"] if signer else ["-signkey", f"{name}.key"]
        what = ["-in", f"{name}.csr", "-out", f"{name}.pem", "-days", str(days), "-copy_extensions", copy]
        self._openssl("x509", "-req", "-sha384", *what, *by, "-extfile", "extensions", "-extensions", "ca")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True, timeout=30)

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="ascii")
