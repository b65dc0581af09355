# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One emulated device: what it serves, what an upload does to it, how it is switched."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .configuration import Configuration, DeviceSettings
from .pairs import PairError, PairFiles, check_pair, make_self_signed, server_context

# A device that reboots after an upload has answered it by then.
TIME_TO_ANSWER = 0.2


class UploadError(ValueError):
    """An upload that the device does not take; C(status) is what it answers."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Workshop:
    """Makes and keeps what devices have in common: built-in pairs, and TLS contexts by the file they were made of."""

    def __init__(self, configuration: Configuration) -> None:
        self._folder = configuration.state_dir
        self._shared = configuration.shared
        self._contexts: dict[Path, ssl.SSLContext] = {}

    def built_in(self, settings: DeviceSettings) -> PairFiles:
        """The pair that a device left the factory with; made when it is missing."""
        if settings.certificate is not None and settings.key is not None:
            files = PairFiles(settings.certificate, settings.key)
        else:
            name = "shared" if self._shared else settings.name
            files = PairFiles(self._folder / "builtin" / f"{name}.pem", self._folder / "builtin" / f"{name}.key")
        if not files.exist():
            make_self_signed(files, common_name=f"{settings.name} built-in")
        return files

    def uploaded(self, settings: DeviceSettings) -> PairFiles:
        """Where a device keeps what was uploaded."""
        folder = self._folder / "uploaded" / settings.name
        return PairFiles(folder / "certificate.pem", folder / "key.pem")

    def impostor(self) -> PairFiles:
        """Somebody else's pair."""
        files = PairFiles(self._folder / "builtin" / "impostor.pem", self._folder / "builtin" / "impostor.key")
        if not files.exist():
            make_self_signed(files, common_name="somebody else")
        return files

    def context(self, files: PairFiles) -> ssl.SSLContext:
        """The context of a pair. One that cannot be served gives a context without: every handshake fails."""
        if files.certificate not in self._contexts:
            try:
                self._contexts[files.certificate] = server_context(files)
            except PairError:
                self._contexts[files.certificate] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return self._contexts[files.certificate]

    def changed(self, files: PairFiles) -> None:
        """Forget the context of files that were written or deleted."""
        self._contexts.pop(files.certificate, None)


class Device:
    """The state of one device."""

    def __init__(self, settings: DeviceSettings, workshop: Workshop) -> None:
        self.settings = settings
        self.switches = settings.switches
        self._workshop = workshop
        self._built_in = workshop.built_in(settings)
        self._uploaded = workshop.uploaded(settings)
        self._installed = self._uploaded.exist()
        self._later: list[asyncio.TimerHandle] = []
        self._disliked: tuple[str, float] | None = None
        self.away = False
        # Called when the device has gone away, or come back.
        self.on_change: Callable[[Device], None] | None = None

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self.settings.name

    @property
    def has_upload(self) -> bool:
        """Whether another pair than the built-in one is installed."""
        return self._installed

    @property
    def reachable(self) -> bool:
        """Whether it is switched on, and not rebooting."""
        return self.switches.power == "on" and not self.away

    def view_of_fleet(self) -> str:
        """How Fleet sees it: seen (as it really answers), unavailable, error, gone."""
        if self._disliked is not None:
            view, until = self._disliked
            if time.monotonic() < until:
                return view
        return self.switches.fleet_view

    def context(self) -> ssl.SSLContext:
        """What it serves just now."""
        return self._workshop.context(self._serving())

    def fingerprint(self) -> str:
        """SHA-256 of the leaf that it serves, as hex."""
        text = self._serving().certificate.read_text(encoding="utf-8")
        first = text[text.index("-----BEGIN") : text.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----"
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()

    def upload(self, certificate: str, key: str) -> None:
        """Take a new pair, as far as the switches let it. Raises UploadError."""
        same = self._installed and self._uploaded.certificate.read_text(encoding="utf-8") == certificate
        if self.switches.conflict == "always" or (self.switches.conflict == "same" and same):
            raise UploadError(409, "A certificate exists already")
        if self.switches.mismatch == "reject":
            try:
                check_pair(certificate, key)
            except PairError as exc:
                raise UploadError(400, f"The certificate is not valid: {exc}") from exc
        if self.switches.upload not in {"ignore", "error"}:
            self._take(certificate, key)
        if self.switches.upload.startswith("error"):
            raise UploadError(500, "Internal error")
        if self.switches.conflict == "applied":
            raise UploadError(409, "Conflict")

    def remove(self) -> bool:
        """Go back to the built-in pair; whether there was anything to remove."""
        if not self._installed:
            return False
        self._soon(self.forget)
        return True

    def forget(self) -> None:
        """The built-in pair at once."""
        self._uploaded.forget()
        self._installed = False
        self._disliked = None
        self._workshop.changed(self._uploaded)

    def factory(self) -> None:
        """As it left the factory."""
        for handle in self._later:
            handle.cancel()
        self._later.clear()
        self.forget()
        self.away = False
        self.switches = self.settings.switches

    def set(self, settings: dict[str, Any]) -> None:
        """Change switches. Raises SwitchError."""
        self.switches = self.switches.changed(settings)

    def unset(self, names: list[str]) -> None:
        """Switches (all when none is named) back to those of the configuration."""
        before = self.settings.switches
        known = {name: getattr(before, name) for name in names} if names else before.as_dict()
        self.switches = replace(self.switches, **known)
        if self.switches.fleet_view_after == "seen":
            self._disliked = None

    def status(self) -> dict[str, Any]:
        """For control.py."""
        return {
            "profile": self.settings.profile,
            "addresses": list(self.settings.addresses),
            "uploaded": self._installed,
            "away": self.away,
            "fingerprint": self.fingerprint(),
            "switches": self.switches.as_dict(),
        }

    def _serving(self) -> PairFiles:
        if self.switches.impostor == "on":
            return self._workshop.impostor()
        return self._uploaded if self._installed else self._built_in

    def _take(self, certificate: str, key: str) -> None:
        if not self.switches.reboot:
            self._soon(lambda: self._install(certificate, key))
            return
        down = self.switches.answer_delay + TIME_TO_ANSWER
        self._after(down, lambda: self._set_away(True))
        self._after(down + self.switches.reboot, lambda: self._boot(certificate, key))

    def _boot(self, certificate: str, key: str) -> None:
        self._soon(lambda: self._install(certificate, key))
        self._set_away(False)

    def _set_away(self, away: bool) -> None:
        self.away = away
        if self.on_change is not None:
            self.on_change(self)

    def _install(self, certificate: str, key: str) -> None:
        self._uploaded.store(certificate, key)
        self._installed = True
        self._workshop.changed(self._uploaded)
        self._disliked = None
        if self.switches.fleet_view_after != "seen":
            seconds = self.switches.fleet_view_time or float("inf")
            self._disliked = (self.switches.fleet_view_after, time.monotonic() + seconds)
        if self.switches.revert:
            self._after(self.switches.revert, self.forget)

    def _soon(self, act: Callable[[], None]) -> None:
        if self.switches.delay:
            self._after(self.switches.delay, act)
        else:
            act()

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._later.append(asyncio.get_running_loop().call_later(seconds, act))
