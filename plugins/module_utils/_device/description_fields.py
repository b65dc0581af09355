# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a description field by field, with errors that name the field, what it means, and what to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import DeviceError
from .jmespath_library import JMESPathError, jmespath

MEANINGS = {
    "base_path": "the path before all others, such as /api/v2.0.0",
    "login": "how the API is logged in to, such as {scheme: basic}",
    "login.scheme": "basic, basic_sha256, bearer, header or none",
    "login.header": "the name of the header that carries the password",
    "upload": "the request that takes certificate and key",
    "upload.path": "the path of that request below base_path, such as /ssl/cert",
    "upload.body": "what is sent, such as {cert: {base64_pem: fullchain}, key: {base64_pem: key}}",
    "remove.path": "the path of the request that removes the certificate",
    "status.path": "the path of the request that tells the device's state, such as /status",
    "status.field": "a JMESPath expression that finds the state in the answer, such as state_id",
    "change_states": "the states in which the device may be changed, such as [3, 4]",
    "view.list": "the path of the request that lists all devices, such as /robots",
    "view.item": "the path of the request for one device, such as /robots/{id}",
    "view.health": "by what a device is seen to be worse, such as {state: {field: state_text, order: [[Ready], [Error]]}}",
}


def plain(value: Any) -> str | None:
    """A value as descriptions write it (C(true), C(3), C(Ready)), on one line and short; None for what is no plain value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if value is None or isinstance(value, (Mapping, list, tuple)):
        return None
    return " ".join(str(value).split())[:100] or None


class Fields:
    """One section of a description. Every field is asked for once; what is left in the end is unknown."""

    def __init__(self, data: Any, *, where: str, name: str = "") -> None:
        self.where, self._name = where, name
        if not isinstance(data, Mapping):
            raise self.error("", "is no dictionary")
        self._data = data
        self._asked: set[str] = set()

    def error(self, field: str, what: str) -> DeviceError:
        """An error about a field."""
        full = ".".join(part for part in (self._name, field) if part)
        meaning = f" ({MEANINGS[full]})" if full in MEANINGS else ""
        subject = f"{self.where}: {full}{meaning}" if full else f"{self.where}: the description"
        return DeviceError(
            f"{subject} {what}. Correct the description under tls_certificate_apis or in the host's api."
        )

    def has(self, field: str) -> bool:
        """Whether a field is given and not empty."""
        self._asked.add(field)
        return bool(self._data.get(field))

    def section(self, field: str, default: Mapping[str, Any] | None = None) -> Fields:
        """A section of its own."""
        return Fields(self._value(field, default), where=self.where, name=field)

    def text(self, field: str, default: str | None = None, choices: Sequence[str] = ()) -> str:
        """A text; without a default it must be there."""
        value = self._value(field, default)
        if isinstance(value, (Mapping, list, tuple, bool)):
            raise self.error(field, "is no text")
        if choices and str(value) not in choices:
            raise self.error(field, f"is '{value}', not one of {', '.join(choices)}")
        return str(value)

    def path(self, field: str, default: str | None = None) -> str:
        """A path of a URL: it begins with a slash and does not end with one."""
        value = self.text(field, default)
        if value and (not value.startswith("/") or any(character in value for character in " \r\n#")):
            raise self.error(field, f"is '{value}', which is no path that begins with a slash")
        return value.rstrip("/")

    def mapping(self, field: str) -> Mapping[str, Any]:
        """A dictionary that must be there."""
        value = self._value(field, None)
        if not isinstance(value, Mapping):
            raise self.error(field, "is no dictionary")
        return value

    def texts(self, field: str) -> dict[str, str]:
        """A dictionary of texts, empty by default."""
        value = self._value(field, {})
        if not isinstance(value, Mapping) or any(isinstance(item, (Mapping, list)) for item in value.values()):
            raise self.error(field, "is no dictionary of texts")
        return {str(name): str(text) for name, text in value.items()}

    def text_list(self, field: str, default: Sequence[str]) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(str(item) for item in self._list(field, default))

    def expression(self, field: str, default: str | None = None) -> str:
        """A JMESPath expression."""
        text = self.text(field, default)
        if text:
            self.check_expression(field, text)
        return text

    def check_expression(self, field: str, text: str) -> None:
        """Raise DeviceError for what is no JMESPath expression."""
        try:
            jmespath.compile(text)
        except JMESPathError as exc:
            raise self.error(field, f"holds '{text}', which is no JMESPath expression") from exc

    def states(self, field: str) -> tuple[str, ...]:
        """A list of states (numbers or texts), empty by default; in small letters."""
        return _plain_values(self._list(field, ()), self, field)

    def groups(self, field: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of states, which must be there; in small letters."""
        groups = self._list(field, None)
        if len(groups) < 2 or not all(isinstance(group, (list, tuple)) for group in groups):
            raise self.error(field, "is no list of at least two lists, from good to bad")
        return tuple(_plain_values(group, self, field) for group in groups)

    def statuses(self, field: str, default: Sequence[int]) -> tuple[int, ...]:
        """A list of HTTP status codes."""
        return self._numbers(field, default, 100, 599, "HTTP status codes")

    def ports(self, field: str, default: Sequence[int]) -> tuple[int, ...]:
        """A list of TCP ports."""
        return self._numbers(field, default, 1, 65535, "TCP ports")

    def seconds(self, field: str, default: float) -> float:
        """A number of seconds above zero."""
        value = self._value(field, default)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = 0.0
        if isinstance(value, bool) or not 0 < number <= 86400:
            raise self.error(field, f"is '{value}', which is no number of seconds")
        return number

    def finish(self) -> None:
        """Raise DeviceError for a field that nobody asked for."""
        unknown = sorted(set(map(str, self._data)) - self._asked)
        if unknown:
            names = ", ".join(repr(name) for name in unknown)
            raise self.error("", f"has no field {names}; there are {', '.join(sorted(self._asked))}")

    def _value(self, field: str, default: Any) -> Any:
        self._asked.add(field)
        value = self._data.get(field)
        if value is None or value == "":
            if default is None:
                raise self.error(field, "is missing")
            return default
        return value

    def _list(self, field: str, default: Sequence[Any] | None) -> Sequence[Any]:
        value = self._value(field, default)
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            raise self.error(field, "is no list")
        return value

    def _numbers(self, field: str, default: Sequence[int], low: int, high: int, what: str) -> tuple[int, ...]:
        values = self._list(field, default)
        try:
            numbers = tuple(int(value) for value in values)
        except (TypeError, ValueError):
            numbers = (-1,)
        if any(not low <= number <= high for number in numbers):
            raise self.error(field, f"is no list of {what}")
        return numbers


def _plain_values(values: Sequence[Any], fields: Fields, field: str) -> tuple[str, ...]:
    found = tuple(plain(value) for value in values)
    if None in found:
        raise fields.error(field, "holds something that is neither a number nor a text")
    return tuple(str(value).casefold() for value in found)
