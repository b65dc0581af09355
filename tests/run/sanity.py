"""All sanity tests of ansible-test, on a copy: it refuses a tree that is reached through a link.

Arguments are handed on to `ansible-test sanity` (`--test pep8`, paths). Its environments are kept in
~/.ansible/test between runs; the first run takes some minutes, since each test installs its own.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tree import ROOT, copy_tree

COPY = ROOT / ".cache/sanity/ansible_collections/certfleet/tls"
MARK = "# certfleet.tls: in place of get-pip.py"
SHIM = f"""{MARK}: pip from the interpreter itself, then from the configured index.
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)
wanted = [word for word in sys.argv[1:] if not word.startswith("--no-")]
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", *wanted])
"""


def pip_version_wanted() -> str:
    """The release of pip that the installed ansible-test brings into its environments."""
    spec = find_spec("ansible_test")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("sanity: ansible-test is not installed beside this Python; run `make venv`")
    source = Path(spec.submodule_search_locations[0], "_internal/python_requirements.py").read_text(encoding="utf-8")
    found = re.search(r"pip='([0-9.]+)'", source)
    if not found:
        raise SystemExit("sanity: this release of ansible-test names its pip in another way; adapt pip_version_wanted")
    return found.group(1)


def place_shim(cache: Path) -> None:
    """ansible-test downloads get-pip.py from a host that many machines cannot reach, unless it lies here."""
    cache.mkdir(parents=True, exist_ok=True)
    shim = cache / f"get_pip_{pip_version_wanted().replace('.', '_')}.py"
    if not shim.exists() or shim.read_text(encoding="utf-8").startswith(MARK):
        shim.write_text(SHIM, encoding="utf-8")


def starts(interpreter: Path) -> bool:
    return subprocess.run([interpreter, "-c", ""], check=False, capture_output=True).returncode == 0


def search_path() -> str:
    """The PATH, in which ansible-test looks for interpreters, without those that do not start.

    pyenv puts a python3.N there for every release it ever installed. In place of its stubs comes the oldest
    Python that targets may have, where it is installed: what runs on targets is tried on it as well.
    """
    kept = [str(Path(sys.executable).parent)]
    oldest: list[str] = []
    for entry in os.environ["PATH"].split(os.pathsep):
        interpreters = [path for path in Path(entry).glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name)]
        if all(starts(interpreter) for interpreter in interpreters):
            kept.append(entry)
        else:
            oldest += [str(path.parent) for path in Path(entry).parent.glob("versions/3.9.*/bin/python3.9")]
    return os.pathsep.join(kept + oldest[:1])


def main() -> int:
    state = Path.home() / ".ansible/test"
    place_shim(state / "cache")
    environment = dict(os.environ, PATH=search_path())
    # Two checkouts share these environments: one builds them, the other waits.
    with (state / "certfleet.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        count = copy_tree(COPY)
        # Without one of its own it asks the checkout's git, which ignores the copy.
        subprocess.run(["git", "init", "--quiet"], cwd=COPY, check=True)
        print(f"sanity: {count} files copied to {COPY.relative_to(ROOT)}", flush=True)
        command = ["ansible-test", "sanity", "--color", "no", "--python", "default", *sys.argv[1:]]
        return subprocess.run(command, cwd=COPY, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
