"""The collection as a user gets it: built, installed offline elsewhere, its main playbook found by name."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tree import ROOT

BIN = Path(sys.executable).parent
BUILD = ROOT / ".cache/build"
# What is needed at run time or to be read, and galaxy's own files: nothing else may be at the top of the archive.
NEEDED = frozenset({"LICENSE", "MANIFEST.json", "README.md", "meta", "playbooks", "plugins", "roles"})
SHIPPED = NEEDED | {"CHANGELOG.rst", "FILES.json", "changelogs", "docs", "extensions"}


def ansible(*command: str, cwd: Path, collections: Path) -> None:
    """Run a command of ansible-core that sees `collections` and nothing of this checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    program, *arguments = command
    print(f"package: {' '.join(command)}", flush=True)
    subprocess.run(
        [BIN / program, *arguments], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True
    )


def build() -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    for old in BUILD.glob("*.tar.gz"):
        old.unlink()
    ansible("ansible-galaxy", "collection", "build", "--output-path", str(BUILD), cwd=ROOT, collections=BUILD)
    return next(BUILD.glob("*.tar.gz"))


def complaints(archive: Path) -> list[str]:
    """What lies in the archive and should not, or the other way round."""
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    top = {name.split("/")[0] for name in names}
    found = [f"{name} should not be in the archive (galaxy.yml, build_ignore)" for name in sorted(top - SHIPPED)]
    found += [f"{name} is missing from the archive" for name in sorted(NEEDED - top)]
    strays = [name for name in names if "__pycache__" in name or name.endswith((".key", ".pyc"))]
    found += [f"{name} should not be in the archive" for name in strays]
    return found


def try_installed(archive: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="certfleet-package-") as directory:
        where = Path(directory)
        install = ("ansible-galaxy", "collection", "install", "--offline", "--collections-path", directory)
        ansible(*install, str(archive), cwd=where, collections=where)
        playbook = ("ansible-playbook", "--syntax-check", "--inventory", "localhost,", "certfleet.tls.site")
        ansible(*playbook, cwd=where, collections=where)


def main() -> int:
    archive = build()
    print(f"package: built {archive.relative_to(ROOT)}")
    if sys.argv[1:] == ["--build-only"]:
        return 0
    found = complaints(archive)
    for line in found:
        print(f"package: {line}", file=sys.stderr)
    if found:
        return 1
    try_installed(archive)
    print("package: installs offline, and certfleet.tls.site is found")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as exc:
        sys.exit(f"package: {Path(exc.cmd[0]).name} ended with {exc.returncode}")
