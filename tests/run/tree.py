"""The checkout's files as git knows them, uncommitted changes included."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked_files() -> list[Path]:
    """Paths relative to the checkout: tracked or new, not ignored, existing, no links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = {Path(name) for name in listed.split("\0") if name}
    return sorted(path for path in paths if (ROOT / path).is_file() and not (ROOT / path).is_symlink())


def copy_tree(destination: Path) -> int:
    """Make `destination` hold the checkout's files and nothing else; returns how many."""
    shutil.rmtree(destination, ignore_errors=True)
    files = tracked_files()
    for path in files:
        target = destination / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    return len(files)
