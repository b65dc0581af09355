# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client of an endpoint sees. Standard library and C(openssl s_client) only; no certificate is parsed here.

An endpoint may be behind a proxy: then C(ssh) may be needed too.

It runs on targets as well: Python 3.9, nothing of the collection is imported.
"""
