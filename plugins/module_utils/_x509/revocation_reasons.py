# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why certificates are taken back, as the ledger and CRLs say it."""

from __future__ import annotations

# RFC 5280, 5.3.1, in snake case. No certificate is put on hold or taken off a CRL again here.
REASONS = (
    "unspecified",
    "key_compromise",
    "ca_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "privilege_withdrawn",
)
# Whoever shows the key may be anybody: it identifies nobody any more.
COMPROMISING = ("key_compromise", "ca_compromise")
