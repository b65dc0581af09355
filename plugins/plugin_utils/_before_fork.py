# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every forked worker would otherwise do for itself.

An action plugin is imported by the parent process before it forks; what is done here, all workers inherit. OpenSSL loads its
algorithms when they are first used, and a worker's garbage collector touches, and so copies, all of the parent's objects.
"""

from __future__ import annotations

import contextlib
import gc
import ssl
import time

from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import HAS_CRYPTOGRAPHY


def prepare_workers() -> None:
    """Call it at the end of an action plugin's imports."""
    _load_algorithms()
    gc.collect()
    gc.freeze()


def _load_algorithms() -> None:
    """Use both copies of OpenSSL once (Python's own for TLS, cryptography's for certificates), in the way that a look does."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    conversation = client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="nobody.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        conversation.do_handshake()  # into memory: as far as the first message
    if not HAS_CRYPTOGRAPHY:
        return
    from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_root, ca_name
    from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
    from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import is_issued_by, to_leaf

    now = int(time.time())
    for key_type in ("ec-p256", "ec-p384"):
        root = to_leaf(build_root(new_key(key_type), subject=ca_name("x"), not_before=now, not_after=now + 60))
        is_issued_by(root, root)
