# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Anchors in a trust store that the real update-ca-certificates makes, in folders of its own."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host import pem
from ansible_collections.certfleet.tls.plugins.module_utils._host.anchors import Anchors, Plan
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.trust_stores import STORES, TrustStore, this_store
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

ROOTS = [TestAuthority(name).anchors for name in ("One", "Two", "Three")]
DISTRIBUTION = TestAuthority("Distribution").anchors


def fingerprints(path: Path) -> set[str]:
    return {pem.fingerprint(block) for block in pem.certificates(path.read_text())}


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    """A Debian store with one CA of the distribution's."""
    folders = {name: tmp_path / name for name in ("local", "etc", "shipped", "hooks")}
    for folder in folders.values():
        folder.mkdir()
    (folders["shipped"] / "distribution.crt").write_text(DISTRIBUTION)
    (tmp_path / "conf").write_text("distribution.crt\n")
    command = ["update-ca-certificates", "--localcertsdir", str(folders["local"]), "--etccertsdir", str(folders["etc"])]
    command += ["--certsdir", str(folders["shipped"]), "--certsconf", str(tmp_path / "conf")]
    command += ["--hooksdir", str(folders["hooks"])]
    bundle = str(folders["etc"] / "ca-certificates.crt")
    found = TrustStore("debian", str(folders["local"]), bundle, tuple(command), (*command, "--fresh"))
    Anchors(found)._make_bundle(fresh=True)
    return found


def apply(store: TrustStore, *anchors: tuple[str, str], state: str = "present") -> Plan:
    """A whole run of the module."""
    wanted: list[dict[str, Any]] = [{"name": name, "certificate": text} for name, text in anchors]
    plan = Anchors(store).plan(wanted, state=state)
    if plan.is_due:
        Anchors(store).carry_out(plan)
        assert not Anchors(store).plan(wanted, state=state).is_due
    return plan


def names(store: TrustStore) -> list[str]:
    return sorted(path.name for path in Path(store.folder).iterdir())


def states(plan: Plan) -> list[str]:
    return sorted(entry["state"] for entry in plan.anchors)


def test_an_anchor_is_added_and_is_in_the_bundle(store: TrustStore) -> None:
    plan = apply(store, ("certfleet-fleet", ROOTS[0]))
    assert states(plan) == ["added"]
    assert names(store) == ["certfleet-fleet.crt"]
    assert (Path(store.folder) / "certfleet-fleet.crt").stat().st_mode & 0o777 == 0o644
    assert fingerprints(Path(store.bundle)) == {pem.fingerprint(ROOTS[0]), pem.fingerprint(DISTRIBUTION)}
    assert len(ssl.create_default_context(cafile=store.bundle).get_ca_certs()) == 2
    assert "CN=One Root" in plan.diff(store.bundle)["after"]
    assert "BEGIN" not in str(plan.diff(store.bundle))


def test_an_anchor_gone_from_the_bundle_comes_back(store: TrustStore) -> None:
    apply(store, ("certfleet-fleet", ROOTS[0]))
    Path(store.bundle).write_text(DISTRIBUTION)
    plan = apply(store, ("certfleet-fleet", ROOTS[0]))
    assert states(plan) == ["repaired"]
    assert pem.fingerprint(ROOTS[0]) in fingerprints(Path(store.bundle))


@pytest.mark.parametrize("harm", ["deleted", "emptied", "no PEM", "two in one", "hidden"])
def test_a_damaged_file_is_mended(store: TrustStore, harm: str) -> None:
    apply(store, ("certfleet-fleet", ROOTS[0]))
    path = Path(store.folder) / "certfleet-fleet.crt"
    if harm == "deleted":
        path.unlink()
    elif harm == "hidden":
        path.chmod(0o600)
    else:
        path.write_text({"emptied": "", "no PEM": "hello", "two in one": ROOTS[0] + ROOTS[1]}[harm])
    plan = apply(store, ("certfleet-fleet", ROOTS[0]))
    assert states(plan) == ["added"]
    assert path.read_text() == ROOTS[0]


def test_several_anchors_of_an_authority_are_files_of_their_own(store: TrustStore) -> None:
    apply(store, ("certfleet-fleet", ROOTS[0]))
    plan = apply(store, ("certfleet-fleet", ROOTS[1] + ROOTS[0]))
    assert states(plan) == ["added", "present"]
    second = f"certfleet-fleet.{pem.fingerprint(ROOTS[1])[:8]}.crt"
    assert names(store) == sorted([second, "certfleet-fleet.crt"])


def test_a_root_that_the_authority_no_longer_has_goes(store: TrustStore) -> None:
    apply(store, ("certfleet-fleet", ROOTS[0] + ROOTS[1]))
    plan = apply(store, ("certfleet-fleet", ROOTS[1]))
    assert states(plan) == ["present", "removed"]
    assert fingerprints(Path(store.bundle)) == {pem.fingerprint(ROOTS[1]), pem.fingerprint(DISTRIBUTION)}
    plan = apply(store, ("certfleet-fleet", ROOTS[2]))
    assert fingerprints(Path(store.bundle)) == {pem.fingerprint(ROOTS[2]), pem.fingerprint(DISTRIBUTION)}


def test_what_has_another_name_is_left_alone(store: TrustStore) -> None:
    (Path(store.folder) / "certfleet-fleet-old.crt").write_text(ROOTS[2])
    apply(store, ("certfleet-fleet", ROOTS[0]))
    apply(store, ("certfleet-other", ROOTS[1]))
    plan = apply(store, ("certfleet-fleet", ""), state="absent")
    assert states(plan) == ["removed"]
    assert names(store) == ["certfleet-fleet-old.crt", "certfleet-other.crt"]
    assert pem.fingerprint(ROOTS[0]) not in fingerprints(Path(store.bundle))
    assert {pem.fingerprint(ROOTS[1]), pem.fingerprint(ROOTS[2])} < fingerprints(Path(store.bundle))


def test_absent_twice_changes_nothing_the_second_time(store: TrustStore) -> None:
    apply(store, ("certfleet-fleet", ROOTS[0]))
    assert apply(store, ("certfleet-fleet", ""), state="absent").is_due
    assert not apply(store, ("certfleet-fleet", ""), state="absent").is_due


def test_a_bundle_that_would_shrink_is_put_back(store: TrustStore) -> None:
    with open(store.bundle, "a", encoding="ascii") as stream:
        stream.write(ROOTS[2])
    before = Path(store.bundle).read_bytes()
    with pytest.raises(HostError, match="lost 1 certificates that nobody asked to remove, the first of them CN=Three"):
        apply(store, ("certfleet-fleet", ROOTS[0]))
    assert Path(store.bundle).read_bytes() == before
    assert names(store) == []


def test_an_updater_that_ignores_the_file_is_found_out(store: TrustStore) -> None:
    deaf = TrustStore("debian", store.folder, store.bundle, ("true",), ("true",))
    with pytest.raises(HostError, match="does not hold it"):
        apply(deaf, ("certfleet-fleet", ROOTS[0]))
    assert names(store) == []


def test_an_updater_that_fails_is_told_of(store: TrustStore) -> None:
    broken = TrustStore("debian", store.folder, store.bundle, ("false",), ("false",))
    with pytest.raises(HostError, match="'false' failed with exit code 1"):
        apply(broken, ("certfleet-fleet", ROOTS[0]))
    assert names(store) == []


@pytest.mark.parametrize(("name", "text"), [("../x", ROOTS[0]), ("", ROOTS[0]), ("fleet", "no PEM")])
def test_bad_anchors_are_refused(store: TrustStore, name: str, text: str) -> None:
    with pytest.raises(HostError, match="anchor"):
        Anchors(store).plan([{"name": name, "certificate": text}], state="present")


def test_families_are_told_apart_by_folder_and_command(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="ca-certificates"):
        this_store((TrustStore("x", str(tmp_path / "none"), "", ("true",), ("true",)),))
    chosen = this_store(
        (
            TrustStore("no command", str(tmp_path), "", ("no-such-command",), ()),
            TrustStore("right", str(tmp_path), "", ("true",), ()),
        )
    )
    assert chosen.family == "right"
    assert len({store.folder for store in STORES}) == len(STORES)
