# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_deploy's last word: what others do not accept is kept or removed, as on_failure says. The former key is gone by then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import take_back
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import describe

from ._device_flow import Setting, open_access
from ._engine import EngineError
from ._seal import SealError
from ._wider_proof import Verdict

_NEW = frozenset({"installed", "reloaded"})


def confirmed_entries(
    deployed: Iterable[Mapping[str, Any]],
    requested: Iterable[Mapping[str, Any]],
    verdicts: Mapping[str, Verdict],
    *,
    setting: Setting,
) -> list[dict[str, Any]]:
    """The entries of the deploy step after the others have looked; C(revised) is on those that came out otherwise."""
    by_id = {str(entry["id"]): entry for entry in requested}
    found = []
    for entry in deployed:
        verdict = verdicts.get(str(entry["id"]))
        if verdict is None or entry["outcome"] not in _NEW:
            found.append(dict(entry))
        elif verdict.ok is None:
            found.append({**entry, "said": f"{entry.get('said') or ''} Not confirmed: {verdict.said}.".strip()})
        elif verdict.ok:
            found.append({**entry, "confirmed": True})
        else:
            found.append(_revised(entry, by_id[str(entry["id"])], verdict, setting=setting))
    return found


def _revised(
    entry: Mapping[str, Any], requested: Mapping[str, Any], verdict: Verdict, *, setting: Setting
) -> dict[str, Any]:
    why = f"Served as wanted, but: {verdict.said.rstrip('.')}."
    if requested["spec"]["on_failure"] != "remove":
        return {**entry, "outcome": "kept", "said": f"{why} The new certificate was left in place.", "revised": True}
    try:
        access, _secret, _settings = open_access(requested, setting=setting)
        done = take_back(access, fingerprint=str((entry.get("after") or {}).get("fingerprint")), why=why)
    except (DeviceError, X509Error, EngineError, SealError) as exc:
        said = f"{why} It was to be removed, but: {exc}"
        return {**entry, "outcome": "kept", "said": said, "revised": True}
    after = describe(done.after) if done.after else None
    return {**entry, "outcome": done.outcome, "after": after, "said": done.said, "revised": True}
