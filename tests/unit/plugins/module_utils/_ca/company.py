# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A company's CA as its own people run it: the openssl command, a root and an intermediate CA."""

from __future__ import annotations

import datetime
import itertools
import subprocess
from pathlib import Path

from .workshop import DAY, NOW

CONFIGURATION = """
[ca]
default_ca = this
[this]
dir = {folder}
database = $dir/index.txt
serial = $dir/serial
new_certs_dir = $dir
default_md = sha256
policy = anything
copy_extensions = copy
unique_subject = no
rand_serial = yes
[anything]
countryName = optional
organizationName = optional
commonName = supplied
[request]
distinguished_name = nothing
[nothing]
"""
USAGE = "keyUsage = critical, keyCertSign, cRLSign"
IDENTIFIERS = "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid"


class Company:
    """C(root) and C(intermediate) are PEM; C(sign) is what its people do with a CSR."""

    def __init__(self, folder: Path, *, name: str = "Company") -> None:
        folder.mkdir()
        self.folder = folder
        self._numbers = itertools.count()
        (folder / "index.txt").touch()
        (folder / "ca.cnf").write_text(CONFIGURATION.format(folder=folder))
        self.root = self._self_signed(name)
        self.intermediate = self.sign(
            self._request("intermediate", f"/C=DE/O={name}/CN={name} Intermediate"),
            by="root",
            days=4000,
            extensions=f"basicConstraints = critical, CA:TRUE, pathlen:1\n{USAGE}",
        )
        (folder / "intermediate.pem").write_text(self.intermediate)

    def sign(
        self, csr: str, *, by: str = "intermediate", begin: int = NOW - DAY, days: int = 1000, extensions: str = ""
    ) -> str:
        """The certificate for a CSR, as PEM; O(extensions) replace those that the CSR asks for."""
        number = next(self._numbers)
        request, wanted = self.folder / f"{number}.csr", self.folder / f"{number}.ext"
        request.write_text(csr)
        wanted.write_text(f"{extensions or 'basicConstraints = critical, CA:TRUE, pathlen:0'}\n{IDENTIFIERS}\n")
        return self._run(
            *("ca", "-batch", "-notext", "-config", "ca.cnf", "-in", request.name, "-extfile", wanted.name),
            *(
                "-cert",
                f"{by}.pem",
                "-keyfile",
                f"{by}.key",
                "-startdate",
                _date(begin),
                "-enddate",
                _date(begin + days * DAY),
            ),
            *("-preserveDN",),
        )

    def chain(self, csr: str, *, days: int = 1000, begin: int = NOW - DAY, extensions: str = "") -> str:
        """Issuing CA, intermediate and root, as they are sent back."""
        return self.sign(csr, days=days, begin=begin, extensions=extensions) + self.intermediate + self.root

    def _self_signed(self, name: str) -> str:
        request = self._request("root", f"/C=DE/O={name}/CN={name} Root")
        (self.folder / "root.csr").write_text(request)
        (self.folder / "root.ext").write_text(
            f"basicConstraints = critical, CA:TRUE\n{USAGE}\nsubjectKeyIdentifier = hash\n"
        )
        signed = self._run(
            *("ca", "-batch", "-notext", "-config", "ca.cnf", "-selfsign", "-in", "root.csr", "-keyfile", "root.key"),
            *(
                "-extfile",
                "root.ext",
                "-startdate",
                _date(NOW - 100 * DAY),
                "-enddate",
                _date(NOW + 5000 * DAY),
                "-preserveDN",
            ),
        )
        (self.folder / "root.pem").write_text(signed)
        return signed

    def _request(self, name: str, subject: str) -> str:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
        return self._run("req", "-new", "-config", "ca.cnf", "-section", "request", "-subj", subject, *key)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _date(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc).strftime("%Y%m%d%H%M%SZ")
