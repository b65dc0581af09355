# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the user on the controller, read in the worker's memory (also where they are encrypted with ansible-vault)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError


def file_reader(action: Any, *, where: str) -> Callable[[str], str]:
    """A function that gives the text of a file: an absolute path, or one in C(files) beside role and playbook."""

    def read(path: str) -> str:
        try:
            # get_real_file() would leave a decrypted copy on disk.
            content, _hidden = action._loader._get_file_contents(action._find_needle("files", path))
        except (AnsibleError, OSError) as exc:
            raise DeviceError(f"{where}: the file '{path}' cannot be read on the controller: {_reason(exc)}") from exc
        try:
            return bytes(content).decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DeviceError(
                f"{where}: the file '{path}' is no text. PEM is needed (openssl converts others)."
            ) from exc

    return read


def _reason(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200]
