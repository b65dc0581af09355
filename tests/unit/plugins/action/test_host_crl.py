# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs on their way to a host, as ansible-playbook runs it: what is not the authority's own does not get there."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import Found, refresh
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import parse_crl
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.workshop import DAY, Workshop

from .test_host_actions import Site, unreachable


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    workshop = Workshop(tmp_path_factory.mktemp("ca"))
    # So long ago that there is a next CRL by now.
    workshop.now = int(time.time()) - 12 * DAY
    for name in ("fleet", "things"):
        workshop.create(name)
    return workshop


def crls_of(workshop: Workshop, authority: str = "things", *, now: int | None = None) -> Found:
    return refresh(workshop.store, authority, passphrase=workshop.passphrase(), now=now or workshop.now)[0]


def told(found: Found, **changes: Any) -> dict[str, Any]:
    """What ca_crl answers."""
    entry = {
        "pem": "".join(crl.pem for crl in found.crls),
        "parts": [],
        "complete": True,
        "chain": found.chain.issuing.pem,
        "anchors": found.chain.root.pem,
        **changes,
    }
    return {"available": True, "ca_host": "ca", "crls": {"things": entry}, "problems": {}}


def hand_over(site: Site, ca: Any, path: Path, *options: str, host: dict[str, Any] | None = None, **item: Any) -> Any:
    run = site.run(
        "host_crl", {"web": host or {}}, *options, crls=[{"authority": "things", "path": str(path), **item}], ca=ca
    )
    return run.rc, run.results["web"], run.output


def test_check_then_apply_then_nothing(site: Site, workshop: Workshop, tmp_path: Path) -> None:
    found = crls_of(workshop)
    path = tmp_path / "crl.pem"
    rc, predicted, output = hand_over(site, told(found), path, "--check", "--diff")
    assert (rc, predicted["changed"], predicted["files"][0]["state"], path.exists()) == (0, True, "installed", False)
    assert f"CRL number {found.crls[0].number} " in output
    assert "BEGIN" not in output
    rc, done, _output = hand_over(site, told(found), path)
    assert (rc, done["changed"], path.read_text()) == (0, True, "".join(crl.pem for crl in found.crls))
    rc, again, _output = hand_over(site, told(found), path)
    assert (rc, again["changed"], again["files"][0]["state"]) == (0, False, "unchanged")


def spoiled(workshop: Workshop, folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """What is wrong with the answer of a CA, and what is to be said of it."""
    past = Workshop(folder / "past")
    past.now = int(time.time()) - 60 * DAY
    past.create("things")
    future = Workshop(folder / "future")
    # Its CRL begins an hour before: 31 minutes ahead of the clock here, one more than is allowed.
    future.now = int(time.time()) + 3600 + 31 * 60
    future.create("things")
    found = crls_of(workshop)
    real = found.crls[0].pem.splitlines()
    # One character of the signature.
    altered = "\n".join([*real[:-2], ("B" if real[-2][0] == "A" else "A") + real[-2][1:], real[-1], ""])
    half = {"things": "Half a CA: its key is gone."}
    return {
        "foreign": (told(found, pem=crls_of(workshop, "fleet").crls[0].pem), "not signed by the authority's own key"),
        "altered": (told(found, pem=altered), "not signed by the authority's own key"),
        "roots-only": (told(found, pem=found.crls[1].pem), "no CRL of its issuing CA"),
        "nothing": (told(found, pem=""), "no CRL of its issuing CA"),
        "ended": (told(crls_of(past)), "has ended"),
        "early": (told(crls_of(future)), "begins only"),
        "half": ({"available": True, "crls": {}, "problems": half}, "Half a CA: its key is gone."),
        "other": (
            {"available": True, "crls": {"fleet": {}}, "problems": {}},
            "no authority 'things' (there are: fleet)",
        ),
    }


def test_what_is_not_the_authoritys_or_has_ended_does_not_get_there(
    site: Site, workshop: Workshop, tmp_path: Path
) -> None:
    cases = spoiled(workshop, tmp_path)
    path = tmp_path / "crl.pem"
    hosts = {name: {"its_ca": ca} for name, (ca, _said) in cases.items()}
    # In a whole run the report fails it at the end.
    hosts["half"]["tls_certificate_fails"] = False
    run = site.run("host_crl", hosts, crls=[{"authority": "things", "path": str(path)}], ca="{{ its_ca }}")
    assert run.rc != 0
    for name, (_ca, said) in cases.items():
        result = run.results[name]
        assert said in result["msg"], name
        assert said in result["problems"][0], name
        assert result["failed"] is (name != "half"), name
    assert not path.exists()


def test_one_that_has_not_begun_is_never_put_over_one_that_is_good(
    site: Site, workshop: Workshop, tmp_path: Path
) -> None:
    path, fast = tmp_path / "crl.pem", Workshop(tmp_path / "ca")
    shutil.copytree(workshop.folder, fast.folder, dirs_exist_ok=True)
    good = crls_of(workshop)
    assert hand_over(site, told(good), path)[0] == 0
    fast.now = int(time.time()) + 2 * 3600
    early = crls_of(fast, now=fast.now)
    assert early.crls[0].number > good.crls[0].number
    rc, result, _output = hand_over(site, told(early), path)
    assert (rc != 0, "A clock is wrong" in result["msg"]) == (True, True)
    # After a restore nothing is handed over in its place either, and nobody fails.
    assert hand_over(site, told(early, forgotten=True), path)[:1] == (0,)
    assert path.read_text() == "".join(crl.pem for crl in good.crls)
    # Who allows such a difference gets it.
    assert hand_over(site, told(early), path, host={"tls_clock_limit": "61m"})[0] == 0
    assert path.read_text() == "".join(crl.pem for crl in early.crls)


def test_without_a_ca_the_server_keeps_what_it_has(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    path.write_text("what it has")
    away = {"available": False, "message": "the CA host is off"}
    rc, result, output = hand_over(site, away, path)
    assert (rc, result["changed"], path.read_text()) == (0, False, "what it has")
    assert "the CA host is off" in " ".join(output.split())
    assert hand_over(site, away, path, "--check")[1]["changed"] is True


def test_host_that_is_off_is_absent(site: Site, workshop: Workshop, tmp_path: Path) -> None:
    rc, result, _output = hand_over(site, told(crls_of(workshop)), tmp_path / "crl.pem", host=unreachable())
    assert (rc, result["absent"], result["changed"]) == (0, True, False)


def test_missing_crl_of_the_root_is_said_where_it_matters(site: Site, workshop: Workshop, tmp_path: Path) -> None:
    found = crls_of(workshop)
    alone = told(found, pem=found.crls[0].pem, complete=False)
    output = " ".join(hand_over(site, alone, tmp_path / "crl.pem")[2].split())
    assert "Give the root's CRL to ca_crl as 'published'" in output
    # The issuing CA's alone is what this form is.
    assert "published" not in hand_over(site, alone, tmp_path / "ca.crl", format="der")[2]
    assert (tmp_path / "ca.crl").read_bytes() == found.crls[0].der


def test_older_one_is_refused(site: Site, workshop: Workshop, tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    old = told(crls_of(workshop))
    newer = crls_of(workshop, now=workshop.now + 11 * DAY)
    assert hand_over(site, told(newer), path)[0] == 0
    rc, result, _output = hand_over(site, old, path)
    assert rc != 0
    assert "it is older" in result["msg"]
    assert parse_crl(path.read_text()).number == newer.crls[0].number


@pytest.mark.parametrize("form", ["pem", "der"])
def test_what_servers_have_is_told_to_a_restored_ca(site: Site, tmp_path: Path, form: str) -> None:
    path, plant = tmp_path / "crl", Workshop(tmp_path / "plant")
    plant.now = int(time.time()) - 12 * DAY
    for name in ("fleet", "things"):
        plant.create(name)
    old, newer = crls_of(plant), crls_of(plant, now=plant.now + 11 * DAY)
    assert hand_over(site, told(newer), path, format=form)[0] == 0
    before = path.read_bytes()
    rc, result, _output = hand_over(site, told(old, forgotten=True), path, format=form)
    assert (rc, result["changed"], path.read_bytes()) == (0, False, before)
    assert result["published"][0] == {"pem": newer.crls[0].pem, "is_newer": True}
    assert len(result["published"]) == (2 if form == "pem" else 1)
    # One that the CA knows is told as such; what is older, foreign or damaged is not told at all.
    same = hand_over(site, told(newer, forgotten=True), path, format=form)[1]
    assert {item["is_newer"] for item in same["published"]} == {False}
    assert hand_over(site, told(newer), path, format=form)[1]["published"] == []
    path.write_text((crls_of(plant, "fleet") if form == "pem" else old).crls[0].pem)
    assert hand_over(site, told(newer, forgotten=True), path, format=form)[1]["published"] == []


def test_a_restored_ca_without_any_crl_touches_no_file(site: Site, workshop: Workshop, tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    rc, result, _output = hand_over(site, told(crls_of(workshop), pem="", forgotten=True), path)
    assert (rc, result["changed"], path.exists()) == (0, False, False)


def test_an_ended_crl_of_a_root_elsewhere_does_not_hold_up_revocations_where_it_is_not_wanted(
    site: Site, tmp_path: Path
) -> None:
    plant = Workshop(tmp_path / "plant")
    plant.now = int(time.time()) - 60 * DAY
    plant.create("things")
    crls_of(plant)
    Path(plant.store.path("things", "root.key")).unlink()
    found = crls_of(plant, now=int(time.time()))
    path = tmp_path / "things.crl"
    rc, result, _output = hand_over(site, told(found), path)
    assert (rc != 0, "has ended" in result["msg"], path.exists()) == (True, True, False)
    rc, result, output = hand_over(site, told(found), path, format="der")
    assert (rc, path.exists() and path.read_bytes()) == (0, found.crls[0].der), output
