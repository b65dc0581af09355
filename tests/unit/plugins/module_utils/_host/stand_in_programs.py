# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker and systemd as programs on the PATH that answer as the real ones do; the lab has those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def program(folder: Path, name: str, script: str) -> Path:
    """A command on the PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def container(name: str = "web", **state: Any) -> dict[str, Any]:
    """What Docker says of a container; C(mounts), C(user), C(labels), and the rest is its state."""
    labels, mounts, user = state.pop("labels", None), state.pop("mounts", []), state.pop("user", "")
    described = {"Status": "running", "ExitCode": 0, **state}
    return {"Name": f"/{name}", "State": described, "Mounts": mounts, "Config": {"User": user, "Labels": labels}}


def docker(folder: Path, **state: Any) -> None:
    """A Docker with one container, web, beside another one; restarting it makes it run, unless it is C(broken)."""
    dockers(folder, container(**{name: value for name, value in state.items() if name != "broken"}), **state)


def dockers(folder: Path, *containers: dict[str, Any], broken: bool = False, **_state: Any) -> None:
    """A Docker with these containers, whose number is also their id; C(hang) in the folder makes a restart hang."""
    by_name = {one["Name"].lstrip("/"): one for one in containers}
    cases = []
    for number, (name, one) in enumerate(by_name.items()):
        (folder / f"{name}.json").write_text(json.dumps(one))
        after = {**one, "State": {**one["State"], "Status": "exited" if broken else "running"}}
        (folder / f"{name}.after").write_text(json.dumps(after))
        cases.append(f"id{number}|{name}) file={name};;")
    found = " ".join(f"id{number}" for number in range(len(by_name)))
    labels = "labels=com.docker.compose.project=plant com.docker.compose.service=web"
    program(
        folder,
        "docker",
        f"""# {labels}
file_of() {{ case $1 in {" ".join(cases)} *) echo "Error: No such container: $1" >&2; exit 1;; esac; }}
command=$1; shift
case "$command" in
inspect) shift 2; between=[; for one; do file_of $one; printf '%s' "$between"; cat {folder}/$file.json; between=,; done; echo ];;
ps) case "$*" in
    *label=com.docker.compose.project=plant*label=com.docker.compose.service=web*) echo {found};;
    *label=*) ;;
    *) echo web; echo db;; esac;;
restart) echo restart "$@" >> {folder}/calls; test ! -e {folder}/hang || sleep 60
    for one; do file_of $one; cp {folder}/$file.after {folder}/$file.json; done;;
esac""",
    )


def systemctl(folder: Path, *, after: str = "active", load: str = "loaded", user: str = "", **state: str) -> None:
    """A systemd with one unit. C(hang) in the folder makes an action hang, with C(during) as its state."""
    (folder / "active").write_text(state.get("active", "active"))
    (folder / "sub").write_text(state.get("sub", "running"))
    (folder / "control").write_text("0")
    during = state.get("during", "activating")
    program(
        folder,
        "systemctl",
        f"""case $1 in
show) case "$*" in *docker.service) echo LoadState={load}; echo ActiveState=$(cat {folder}/active); exit;; esac
    echo LoadState={load}; echo ActiveState=$(cat {folder}/active); echo SubState=$(cat {folder}/sub)
    echo User={user}; echo ControlPID=$(cat {folder}/control);;
cat) echo '{state.get("text", "[Service]")}';;
*) echo "$@" >> {folder}/calls
    if test -e {folder}/hang; then printf {during} > {folder}/active; sleep 60; fi
    printf {after} > {folder}/active; printf {state.get("after_sub", "running")} > {folder}/sub;;
esac""",
    )


def calls(folder: Path) -> list[str]:
    """What the programs were told to do."""
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []
