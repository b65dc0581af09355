# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What the request modules have in common where something is due, but has to wait."""

    DOCUMENTATION = r"""
options: {}
notes:
  - What is due may have to wait, and is then told as C(deferred). These variables of the host (or its group) decide; they may be
    templates, and are read only where something is due.
  - 'C(tls_change_windows) is a list of the hours in which the host may be changed, each as C({days, from, to, timezone}), such as
    C({days: [mon, tue], from: "22:00", to: "05:00", timezone: Europe/Berlin}). A window that ends before it begins passes midnight
    and belongs to the day on which it opens. By default it opens every day, in C(UTC); without windows the host may be changed at
    any time.'
  - "C(tls_backoff) says how long a certificate rests after its deploys have failed, by default C({first: 1h, factor: 4, most: 7d}):
    an hour after the first failure, four after the second, at most seven days, and never more than half of what its leaf had left."
  - C(tls_retry_now) set to V(true) tries it at once.
  - C(tls_clock_limit), by default C(30m), is how far the clock of the host or device may be from the controller's. Where a certificate is
    to be issued and it is further, it is refused (V(clock)) before a key is made.
  - With C(tls_certificate_plans) set to V(true) the task only judges. It makes no key and reports no change; C(due) says whether
    another play has to go on with the host.
"""
