# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an emulated MiR Fleet thinks of its robots before and after a change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.acquaintance import Acquaintance
from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Access, Waiting
from ansible_collections.certfleet.tls.plugins.module_utils._device.description import find_api
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.health import Wanted
from ansible_collections.certfleet.tls.plugins.module_utils._device.login import Credentials
from ansible_collections.certfleet.tls.plugins.module_utils._device.manager import Manager
from ansible_collections.certfleet.tls.plugins.module_utils._device.view import Source, look_after, look_before
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME, Emulator
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

from .conftest import Plant

ROBOTS = [f"robot-{number}" for number in range(1, 7)]


class Site(Plant):
    """A Fleet and its robots."""

    def fleet(self, *, password: str = PASSWORD, pinned: bool = True, **overrides: Any) -> Access:
        known = self.known(*([self.served("fleet").spki] if pinned else []))
        return Access(
            "fleet",
            self.target("fleet"),
            find_api("mir", described={}, overrides=overrides, where="fleet"),
            Credentials(USERNAME, password),
            Acquaintance(known, known.anchors),
        )

    def source(self, name: str = "fleet", hosts: list[str] | None = None, **more: Any) -> Source:
        def view() -> Any:
            return self.fleet(**more).api.view

        managed = None if hosts is None else frozenset(hosts)
        return Source(name, managed, view, lambda deadline: Manager(self.fleet(**more), deadline=deadline))

    def wanted(self, *robots: str) -> list[Wanted]:
        return [Wanted.of(robot, addresses=[self.emulator.address(robot)]) for robot in robots]

    def before(self, *robots: str, **more: Any) -> dict[str, Any]:
        return look_before([self.source(**more)], self.wanted(*robots), timeout=10)

    def after(self, earlier: dict[str, Any], *robots: str) -> dict[str, Any]:
        """One look: there is no time for a second."""
        return look_after([self.source()], self.wanted(*robots), earlier, timeout=10, interval=10)

    def asked(self) -> list[str]:
        """The paths that Fleet was asked for, below its base."""
        return [entry["path"].removeprefix("/api/v2.0.0") for entry in self.emulator.log("request", "fleet")]


@pytest.fixture(scope="module")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    devices: list[dict[str, Any]] = [{"name": "fleet", "profile": "fleet"}, *({"name": name} for name in ROBOTS)]
    with Emulator(tmp_path_factory.mktemp("site"), *devices) as emulator:
        yield Site(emulator, TestAuthority("Fleet"))


@pytest.fixture
def site(running_site: Site) -> Site:
    """All as they left the factory, and an empty log."""
    running_site.emulator.control("all", "factory")
    running_site.emulator.forget_log()
    return running_site


def test_it_stops_as_soon_as_all_are_found(site: Site) -> None:
    told = site.before("robot-2", "robot-3")
    assert told["available"]
    assert told["said"] == "fleet could be asked about 2 of 2 devices"
    entry = told["devices"]["robot-3"]
    assert entry["before"] == {
        "id": "3",
        "by": "address",
        "values": {"active": "true", "fleet_state": "Ready", "state": "3"},
    }
    assert (entry["manager"], entry["now"], entry["worse"]) == ("fleet", None, False)
    assert site.asked() == ["/robots", "/robots/1", "/robots/2", "/robots/3"]
    # This test's own look at the pin, the two of a look whether it is recognised, and one conversation.
    assert site.emulator.handshakes("fleet", 4) == [True, False, True, True]


def test_a_full_list_is_taken_as_a_hint_where_to_look_first(site: Site) -> None:
    site.emulator.control("fleet", "set", "robots_list=full")
    assert site.before("robot-5")["devices"]["robot-5"]["before"]["id"] == "5"
    assert site.asked() == ["/robots", "/robots/5"]


def test_a_status_as_text_and_a_robot_that_is_known_by_name_only(site: Site) -> None:
    site.emulator.control("fleet", "set", "status_as=string")
    behind_a_router = [Wanted.of("robot-4", addresses=["198.18.0.1"], names=["robot-4"])]
    told = look_before([site.source()], behind_a_router, timeout=10)
    assert told["devices"]["robot-4"]["before"] == {
        "id": "4",
        "by": "name",
        "values": {"active": "true", "fleet_state": "Ready", "state": "3"},
    }
    assert len(site.asked()) == 1 + len(ROBOTS)  # another might have had the address


def test_an_address_counts_more_than_a_name(site: Site) -> None:
    swapped = [Wanted.of("robot-1", addresses=[site.emulator.address("robot-6")], names=["robot-1"])]
    found = look_before([site.source()], swapped, timeout=10)["devices"]["robot-1"]["before"]
    assert (found["id"], found["by"]) == ("6", "address")


def test_who_is_not_listed_is_said_and_never_worse(site: Site) -> None:
    stranger = [Wanted.of("robot-9", addresses=["198.18.0.9"], names=["robot-9"])]
    told = look_before([site.source()], stranger, timeout=10)
    assert told["available"]
    assert told["devices"]["robot-9"]["before"] is None
    assert told["devices"]["robot-9"]["said"] == "not found in what fleet manages"
    later = look_after([site.source()], stranger, told, timeout=0.3)
    assert later["devices"]["robot-9"]["worse"] is False
    assert not later["available"]


def test_nothing_worse_is_seen_at_the_first_look(site: Site) -> None:
    earlier = site.before("robot-1", "robot-2")
    site.emulator.forget_log()
    told = site.after(earlier, "robot-1", "robot-2")
    assert (told["available"], told["said"]) == (True, "none of 2 devices is worse than before")
    assert told["devices"]["robot-1"]["now"]["values"]["fleet_state"] == "Ready"
    assert [entry["worse"] for entry in told["devices"].values()] == [False, False]
    assert site.asked() == ["/robots/1", "/robots/2"]


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (
            "unavailable",
            "fleet thinks worse of it than before the change: active was true and is false; fleet_state was ",
        ),
        ("error", "fleet_state was Ready and is Error; state was 3 and is 12"),
        ("gone", "fleet does not list it any more, which it did before the change"),
    ],
)
def test_what_is_worse_and_stays_so(site: Site, view: str, said: str) -> None:
    earlier = site.before("robot-1", "robot-2")
    site.emulator.control("robot-2", "set", f"fleet_view={view}")
    told = site.after(earlier, "robot-1", "robot-2")
    assert told["available"]
    assert told["said"] == "worse than before: robot-2"
    assert (told["devices"]["robot-1"]["worse"], told["devices"]["robot-2"]["worse"]) == (False, True)
    assert said in told["devices"]["robot-2"]["said"]
    assert site.asked().count("/robots/1") == 1 + 1 + (view == "gone")  # who is fine is not asked for again and again


def test_worse_for_a_moment_is_no_verdict(site: Site) -> None:
    earlier = site.before("robot-1")
    site.emulator.control("robot-1", "set", "fleet_view=unavailable")
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            site.emulator.control("robot-1", "set", "fleet_view=seen")

    waiting = Waiting(sleep=nap)
    told = look_after([site.source()], site.wanted("robot-1"), earlier, timeout=20, waiting=waiting)
    assert told["devices"]["robot-1"]["worse"] is False
    assert naps == [2.0, 2.0, 2.0]


def test_bad_before_is_not_worse_now(site: Site) -> None:
    site.emulator.control("robot-1", "set", "fleet_view=error")
    earlier = site.before("robot-1")
    assert site.after(earlier, "robot-1")["devices"]["robot-1"]["worse"] is False


def test_a_robot_that_is_off_is_not_seen_by_a_real_fleet(site: Site) -> None:
    earlier = site.before("robot-1")
    site.emulator.control("robot-1", "set", "https=off")
    assert site.after(earlier, "robot-1")["devices"]["robot-1"]["worse"] is True


def test_a_record_that_moved_to_another_id_is_found_again(site: Site) -> None:
    earlier = site.before("robot-2")
    earlier["devices"]["robot-2"]["before"]["id"] = "5"
    told = site.after(earlier, "robot-2")
    assert (told["devices"]["robot-2"]["worse"], told["devices"]["robot-2"]["now"]["id"]) == (False, "2")


def test_a_fleet_that_is_not_recognised_gets_no_login(site: Site) -> None:
    told = site.before("robot-1", pinned=False)
    assert not told["available"]
    assert "the peer is not known" in told["said"]
    assert told["devices"]["robot-1"]["said"] == "no managing system could be asked"
    site.emulator.control("fleet", "set", "impostor=on")
    assert site.emulator.log("request", "fleet") == []


def test_another_leaf_in_the_middle_of_it_gets_no_login(site: Site) -> None:
    access = site.fleet()
    with Manager(access, deadline=time.monotonic() + 10) as manager:
        site.emulator.control("fleet", "set", "impostor=on")
        with pytest.raises(DeviceError, match="suddenly serves another certificate"):
            manager.search(site.wanted("robot-1"))
    assert site.emulator.log("request", "fleet") == []


@pytest.mark.parametrize(
    ("switches", "more", "said"),
    [
        (["power=off"], {}, "refuses connections"),
        (["robots_list=error"], {}, "status 500"),
        (["robots_list=garbage"], {}, "no JSON"),
        ([], {"view": {"items": "robots"}}, "something that is no list"),
        ([], {"view": {"items": "[0]"}}, "something that is no list"),
        ([], {"password": "wrong-Passw0rd"}, "refuses the login of user 'operator'"),
        ([], {"password": ""}, "no login is given"),
        ([], {"view": None}, "does not say how devices are listed"),
    ],
)
def test_a_fleet_that_cannot_be_asked_is_a_note_before_and_afterwards(
    site: Site, switches: list[str], more: dict[str, Any], said: str
) -> None:
    fine, access = site.before("robot-1"), site.fleet(**more)
    fine["devices"]["robot-1"]["before"]["id"] = "99"  # so that the list is needed again
    view = site.fleet().api.view
    assert view is not None
    # A Fleet that is off cannot be looked at for its pin any more.
    source = Source("fleet", None, lambda: view, lambda deadline: Manager(access, deadline=deadline))
    if switches:
        site.emulator.control("fleet", "set", *switches)
    told = look_before([source], site.wanted("robot-1"), timeout=10)
    assert not told["available"]
    assert said in told["said"]
    assert "wrong-Passw0rd" not in str(told)
    later = look_after([source], site.wanted("robot-1"), fine, timeout=0.4, interval=0.1)
    assert not later["available"]
    assert later["devices"]["robot-1"]["worse"] is None


def fine_view(site: Site) -> Any:
    return site.fleet().api.view


def test_the_time_is_bounded_and_what_was_not_reached_is_not_called_absent(site: Site) -> None:
    turns = iter(range(1000))
    access = site.fleet()
    slow = Source(
        "fleet", None, lambda: fine_view(site), lambda _deadline: Manager(access, deadline=5, clock=lambda: next(turns))
    )
    told = look_before([slow], site.wanted("robot-1", "robot-6"), timeout=10)
    assert told["devices"]["robot-1"]["before"] is not None
    assert told["devices"]["robot-6"]["before"] is None
    turns = iter(range(1000))
    earlier = site.before("robot-1", "robot-6")
    earlier["devices"]["robot-6"]["before"]["id"] = "99"  # it has to search, and does not come as far as that
    later = look_after([slow], site.wanted("robot-6"), earlier, timeout=0.01)
    assert later["devices"]["robot-6"]["worse"] is None
    assert "could not tell" in later["devices"]["robot-6"]["said"]


def test_each_fleet_is_asked_about_its_own(site: Site) -> None:
    away = replace(site.source("other", hosts=["robot-2"]), open=refuse)
    told = look_before([away, site.source(hosts=["robot-1"])], site.wanted("robot-1", "robot-2"), timeout=10)
    assert told["available"]
    assert "other could not be asked: it is away" in told["said"]
    assert told["devices"]["robot-1"]["before"] is not None
    assert told["devices"]["robot-2"]["before"] is None


def refuse(_deadline: float) -> Manager:
    raise DeviceError("it is away")
