# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Behaviours of real devices that are guessed, or that tests need: each is a switch.

A switch is set in the configuration (`switches`) or at run time (`control.py DEVICE set NAME=VALUE`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

CHOICES: dict[str, tuple[str, ...]] = {
    "power": ("on", "off"),
    "https": ("on", "off", "hang"),
    "http": ("on", "off"),
    "upload": ("apply", "ignore", "error", "error_applied"),
    "conflict": ("never", "same", "always", "applied"),
    "mismatch": ("reject", "accept"),
    "reset": ("never", "before", "after", "body", "body_applied"),
    "error_body": ("documented", "nested", "empty", "text"),
    "impostor": ("off", "on"),
    "status": ("documented", "error", "no_state"),
    "fleet_view": ("seen", "unavailable", "error", "gone"),
    "fleet_view_after": ("seen", "unavailable", "error", "gone"),
    "robots_list": ("shallow", "full", "error", "garbage"),
    "status_as": ("object", "string"),
    "date": ("on", "off"),
}


class SwitchError(ValueError):
    """No such switch, or no such position of it."""


@dataclass(frozen=True)
class Switches:
    """How a device behaves."""

    # off: nothing listens at all; the device is away
    power: str = "on"
    # off: 443 is closed, as below software 2.10; hang: accepts, and never answers
    https: str = "on"
    http: str = "on"
    # what an accepted upload does: apply it, ignore it (serves the old one), answer 500, answer 500 and apply it
    upload: str = "apply"
    # when an upload is answered with 409: when the same pair is installed already, always, always but applied
    conflict: str = "never"
    # a key that does not belong to the certificate: 400, or taken (nothing usable is served then)
    mismatch: str = "reject"
    # cut the connection in the middle of the answer to an upload, before or after it took effect; body: in the middle of
    # reading any body, nothing takes effect; body_applied: the upload takes effect, and no byte of an answer is sent
    reset: str = "never"
    error_body: str = "documented"
    # on: somebody else's self-signed key is served
    impostor: str = "off"
    # GET /status: as it should be, 500, or without the state
    status: str = "documented"
    # how the Fleet sees this robot (seen: as it really answers over HTTPS), always, and from its next upload on: for
    # fleet_view_time seconds (0: for good), at most until its certificate is removed
    fleet_view: str = "seen"
    fleet_view_after: str = "seen"
    fleet_view_time: float = 0.0
    # of the Fleet: its list of robots (shallow: ids and addresses of records only), and how it gives a robot's status
    robots_list: str = "shallow"
    status_as: str = "object"
    upload_status: int = 201
    remove_status: int = 204
    # removing where nothing is installed
    remove_absent_status: int = 404
    login_status: int = 401
    # seconds until an upload or a removal takes effect, until an upload is answered, and after which the built-in
    # certificate comes back by itself (0: never)
    delay: float = 0.0
    answer_delay: float = 0.0
    revert: float = 0.0
    # seconds that the device is away after an upload (0: it does not reboot); it comes back with the new certificate
    reboot: float = 0.0
    # whether answers carry a date, and by how many seconds the device's clock is fast (negative: slow)
    date: str = "on"
    clock: float = 0.0
    state_id: int = 3
    software: str = "2.13.5.3"

    def changed(self, settings: dict[str, Any]) -> Switches:
        """A copy with other positions; texts from a command line are converted. Raises SwitchError."""
        known = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        values: dict[str, Any] = {}
        for name, value in settings.items():
            if name not in known:
                raise SwitchError(f"there is no switch '{name}'; there are {', '.join(sorted(known))}")
            kind = known[name]
            try:
                values[name] = kind(value)
            except (TypeError, ValueError) as exc:
                raise SwitchError(f"switch {name}: '{value}' is no {kind.__name__}") from exc
            if name in CHOICES and values[name] not in CHOICES[name]:
                raise SwitchError(f"switch {name}: '{value}' is none of {', '.join(CHOICES[name])}")
        return replace(self, **values)

    def as_dict(self) -> dict[str, Any]:
        """All positions."""
        return asdict(self)


def settings_of(words: list[str]) -> dict[str, str]:
    """`["https=off", "delay=5"]` as a dictionary. Raises SwitchError."""
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise SwitchError(f"'{word}' is not NAME=VALUE")
        settings[name] = value
    return settings
