# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs that the user brings: within the flow, and with device_deploy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.action.device_deploy import ActionModule as Deploy
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME
from ansible_collections.certfleet.tls.tests.unit.tls_peers import free_port

from .device_fleet import Fleet, codes, files_of, verdict


@pytest.mark.parametrize("vaulted", [False, True])
def test_a_pair_that_the_user_brings(fleet: Fleet, tmp_path: Path, vaulted: bool) -> None:
    paths = files_of(tmp_path, fleet, vaulted=vaulted)
    pair = {"certificate": paths["certificate"], "key": paths["key"]}
    spec = fleet.spec(pair=pair, api={"ca_path": paths["ca"], "pinned_spki": fleet.pins})
    requested = fleet.request(spec, ca={})
    assert (verdict(requested), codes(requested)) == ("install", ["not_served"])
    assert "PRIVATE KEY" not in json.dumps(requested)
    done = fleet.deploy(requested, {})
    assert [entry["outcome"] for entry in done["certificates"]] == ["installed"]
    assert verdict(fleet.request(spec, ca={})) == "none"
    assert len(fleet.requests()) == 1


def test_a_pair_for_a_stranger_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    paths = files_of(tmp_path, fleet)
    fleet.pins = []
    spec = fleet.spec(pair={"certificate": paths["certificate"], "key": paths["key"]}, api={"ca_path": paths["ca"]})
    assert verdict(fleet.request(spec, ca={})) == "refuse"


def test_a_pair_whose_ca_nobody_names(fleet: Fleet, tmp_path: Path) -> None:
    paths = files_of(tmp_path, fleet)
    spec = fleet.spec(pair={"certificate": paths["certificate"], "key": paths["key"]})
    assert "Set api.ca_path" in fleet.request(spec, ca={})["msg"]


def test_a_pair_that_is_about_to_end_is_noted(fleet: Fleet, tmp_path: Path) -> None:
    paths = files_of(tmp_path, fleet, not_before=-80, not_after=5)
    spec = fleet.spec(
        pair={"certificate": paths["certificate"], "key": paths["key"]},
        api={"ca_path": paths["ca"], "pinned_spki": fleet.pins},
    )
    assert "bring a new one" in fleet.request(spec, ca={})["certificates"][0]["notes"][0]


class Alone:
    """device_deploy without the flow."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.paths = files_of(folder, fleet)

    def run(self, *, check: bool = False, **more: Any) -> dict[str, Any]:
        args = {
            "address": self.fleet.address,
            "port": self.fleet.emulator.https_port,
            "username": USERNAME,
            "password": PASSWORD,
            "certificate": self.paths["certificate"],
            "key": self.paths["key"],
            "ca_path": self.paths["ca"],
            "pinned_spki": self.fleet.pins,
            "hold": 0.1,
            "timeout": 0.6,
            "api_options": {"wait": {"interval": 0.05}, "http_ports": self.fleet.emulator.http_ports},
            **more,
        }
        given = {name: value for name, value in args.items() if value is not None}
        return self.fleet.run(Deploy, given, check=check)


@pytest.fixture
def alone(fleet: Fleet, tmp_path: Path) -> Alone:
    return Alone(fleet, tmp_path)


def test_alone_check_apply_again_drift_repair_remove(alone: Alone) -> None:
    fleet = alone.fleet
    built_in = fleet.served()
    predicted = alone.run(check=True)
    assert (predicted["changed"], predicted["outcome"], fleet.requests()) == (True, "installed", [])
    done = alone.run()
    assert (done["changed"], done["outcome"], done["before"]["spki"]) == (True, "installed", built_in.spki)
    assert done["diff"]["after"] == predicted["diff"]["after"]
    assert "BEGIN" not in json.dumps(done["diff"])
    again = alone.run()
    assert (again["changed"], again["outcome"]) == (False, "unchanged")
    assert alone.run(check=True)["changed"] is False
    fleet.emulator.control("robot-1", "factory")
    assert alone.run()["changed"]

    assert alone.run(state="absent", check=True)["outcome"] == "removed"
    removed = alone.run(state="absent")
    assert (removed["changed"], removed["outcome"], removed["after"]["spki"]) == (True, "removed", built_in.spki)
    assert alone.run(state="absent", check=True)["changed"] is False
    again = alone.run(state="absent")
    assert (again["changed"], again["outcome"]) == (False, "unchanged")


def test_alone_it_fails_when_the_pair_is_not_served(alone: Alone) -> None:
    alone.fleet.emulator.control("robot-1", "set", "upload=ignore")
    done = alone.run()
    assert (done["failed"], done["changed"], done["outcome"]) == (True, False, "failed")
    assert done["msg"].startswith(f"robot-1, {alone.fleet.address}: failed: ")


def test_alone_a_stranger_is_refused(alone: Alone) -> None:
    for state in ("present", "absent"):
        done = alone.run(pinned_spki=[], state=state)
        assert (done["failed"], done["outcome"]) == (True, "refused")
    assert alone.fleet.requests() == []


def test_alone_a_device_that_is_away_fails(alone: Alone) -> None:
    done = alone.run(port=free_port(), api_options={"http_ports": [free_port()]})
    assert (done["failed"], done["outcome"]) == (True, "absent")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": None}, "needs certificate and key"),
        ({"ca_path": None}, "Set api.ca_path"),
        ({"state": "absent", "ca_path": None, "pinned_spki": None}, "Give ca_path or pinned_spki"),
        ({"api_options": {"password": "x"}}, "api_options holds password"),
        ({"api": "camera"}, "there is no API 'camera'"),
    ],
)
def test_alone_bad_options_are_clear_errors(alone: Alone, change: dict[str, Any], said: str) -> None:
    done = alone.run(**change)
    assert done["failed"]
    assert said in done["msg"]
    assert alone.fleet.requests() == []
