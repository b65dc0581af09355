#!/usr/bin/env bash
# venv.sh DIRECTORY REQUIREMENTS: makes a virtual environment, or brings it up to date.
# Costs nothing when nothing changed. Needs python3 alone: where Debian split `ensurepip` off, it installs
# the package (as root). Everything that is said goes to stderr, since `make lab-info` owns stdout.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec >&2

directory=$1
requirements=$2

supported_python() {
    # Where pyenv is used, python3.12 may exist on the PATH and yet refuse to start.
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    echo "venv: no Python 3.11 or newer found; Debian 12 and 13 have it in the package python3" >&2
    return 1
}

install_ensurepip() {
    local package
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    echo "venv: $python has no ensurepip; installing $package"
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        echo "venv: cannot install $package here (needs root and apt-get); install it and run this again"
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends "$package" </dev/null
}

mkdir -p .cache
exec 9>".cache/$(basename "$directory").lock"
flock 9

python=$(supported_python)
# The path belongs to it: a virtual environment does not survive being moved.
made_by="$PWD $python $("$python" -VV | tr '\n' ' ')"
holds=$(sha256sum "$requirements")
recorded() { [ "$(cat "$directory/.state/$1" 2>/dev/null)" = "$2" ]; }

if recorded made_by "$made_by" && "$directory/bin/python" -c ''; then
    if recorded holds "$holds"; then
        exit 0
    fi
    echo "venv: bringing $directory up to date with $requirements"
else
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_ensurepip
    echo "venv: making $directory with $("$python" -V) from $requirements; takes about a minute"
    "$python" -m venv --clear "$directory"
    mkdir "$directory/.state"
    printf '%s\n' "$made_by" >"$directory/.state/made_by"
fi
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements" </dev/null
printf '%s\n' "$holds" >"$directory/.state/holds"
echo "venv: $directory is ready"
