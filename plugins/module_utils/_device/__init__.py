# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices with a REST API and no shell: who they are, what their API looks like, how a certificate gets there and back.

Runs in the controller's worker alone: keys and logins pass through here, and must never pass through a module.
"""
