# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog as one file that any Python of the host can run: the very sources that this process runs from.

On a target they come out of the archive that Ansible has sent, which is gone when the run is.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator

from . import watchdog_run
from .errors import HostError

_TOP = "certfleet_watchdog"
# The earliest date that the format knows: the same sources are the same file.
_DATE = (1980, 1, 1, 0, 0, 0)


def program() -> bytes:
    """A zip archive that C(python) runs."""
    start = f"from {_TOP}.{watchdog_run.__name__.partition('.module_utils.')[2]} import main\n\nmain()\n"
    files = {f"{_TOP}/__init__.py": "", "__main__.py": start, **dict(_sources())}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(name, _DATE), text, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _sources() -> Iterator[tuple[str, str]]:
    """(path in the archive, text) of all modules of C(_host) and C(_probe) that are loaded."""
    above = f"{__name__.rpartition('._host.')[0]}."
    for name, module in sorted(sys.modules.items()):
        inside = name[len(above) :].split(".")
        if not name.startswith(above) or inside[0] not in ("_host", "_probe"):
            continue
        spec = module.__spec__
        get_source = getattr(spec.loader if spec else None, "get_source", None)
        text = get_source(name) if get_source else None
        if spec is None or text is None:
            raise HostError(f"The source of {name} cannot be read, so the watchdog cannot be made.")
        is_package = spec.submodule_search_locations is not None
        yield "/".join([_TOP, *inside]) + ("/__init__.py" if is_package else ".py"), text
