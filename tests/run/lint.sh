#!/usr/bin/env bash
# lint.sh: every linter over everything; all of them run, then it fails if one found something.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
export PATH="$PWD/.venv/bin:$PATH"

failed=()
check() {
    local name=$1
    shift
    echo "lint: $name"
    "$@" || failed+=("$name")
}

types() {
    # Packages by their full names, as the code itself imports them.
    local arguments=() package
    for package in plugins/module_utils/_*/ plugins/{action,filter,inventory,lookup,modules,plugin_utils}/; do
        if compgen -G "$package*.py" >/dev/null; then
            arguments+=(-p "ansible_collections.certfleet.tls.$(tr / . <<<"${package%/}")")
        fi
    done
    mypy "${arguments[@]}" && mypy tests/run
}

check ruff ruff check --output-format concise
check 'the form (make format)' ruff format --check --output-format concise
check mypy types
check ansible-lint ansible-lint --nocolor
check changelog antsibull-changelog lint

if [ "${#failed[@]}" -gt 0 ]; then
    echo "lint: failed: ${failed[*]}" >&2
    exit 1
fi
echo "lint: clean"
