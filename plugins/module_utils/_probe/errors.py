# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error of this package."""

from __future__ import annotations


class ProbeError(Exception):
    """A probe that could not even be made (bad anchors, no C(openssl) command): a sentence with the next step.

    What a peer does wrong is no error: it is what the probe answers.
    """
