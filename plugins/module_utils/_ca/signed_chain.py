# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain that was signed elsewhere, by an offline root or the company's CA: read, put in order, and checked before it is adopted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from .._x509.constraints import Constraints, constraints_of
from .._x509.crypto import hashes, rsa, x509
from .._x509.errors import X509Error
from .._x509.parse import Leaf, is_issued_by, iso, load_certificate, parse_bundle
from .errors import CAError
from .local import Chain
from .own_certificates import describe_limits
from .wish import Wish

_ANY_USAGE = "2.5.29.37.0"


def read_signed(wish: Wish, *, spki: str) -> Chain:
    """The chain for the key with that SPKI, up to its root. Raises CAError when the text holds no such chain."""
    where = f"authority '{wish.name}'"
    try:
        given = parse_bundle(wish.signed, where=f"{where}, chain")
        anchors = parse_bundle(wish.anchor, where=f"{where}, root_certificate")
    except X509Error as exc:
        raise _bad(wish, str(exc)) from exc
    ours = [leaf for leaf in given if leaf.spki == spki]
    if not ours:
        raise _bad(wish, f"none of its {len(given)} certificates is for the key of the CSR")
    if wish.anchor and (len(anchors) != 1 or not is_issued_by(anchors[0], anchors[0])):
        raise _bad(wish, "root_certificate is not one self-signed certificate")
    issuing = max(ours, key=lambda leaf: leaf.not_after)
    # Where the root is named, no other self-signed certificate counts.
    pool = [leaf for leaf in given if not anchors or not leaf.self_signed] + anchors
    expected = wish.fingerprint or (anchors[0].fingerprint if anchors else "")
    path = _path_to_root(issuing, pool, expected=expected)
    if not is_issued_by(path[-1], path[-1]):
        raise _bad(wish, _why_unsigned(path[-1], pool))
    if len(path) == 1:
        raise _bad(wish, "the certificate for the key of the CSR is self-signed")
    if wish.fingerprint and path[-1].fingerprint != wish.fingerprint:
        raise _bad(
            wish,
            f"it ends in '{path[-1].subject}' with the fingerprint {path[-1].fingerprint}, the root that is expected (root.fingerprint) "
            f"has {wish.fingerprint}",
        )
    return Chain(issuing, tuple(path[1:-1]), path[-1])


def _path_to_root(issuing: Leaf, pool: Sequence[Leaf], *, expected: str) -> list[Leaf]:
    """The shortest way up: to the root with the fingerprint O(expected) if one leads there, else to any other root, else as far as
    it goes.

    A key may have several certificates, of which others lead to another root: that of a root which its predecessor has signed too.
    """
    paths, ends, path, seen = deque([[issuing]]), [], [issuing], {issuing.fingerprint}
    while paths:
        path = paths.popleft()
        if is_issued_by(path[-1], path[-1]):
            ends.append(path)
            continue
        signers = [leaf for leaf in pool if leaf.fingerprint not in seen and is_issued_by(path[-1], leaf)]
        # In whichever order they are handed in: the one that lasts longest.
        signers.sort(key=lambda leaf: (-leaf.not_after, leaf.serial))
        seen.update(leaf.fingerprint for leaf in signers)
        paths.extend([*path, leaf] for leaf in signers)
    return next((end for end in ends if end[-1].fingerprint == expected), ends[0] if ends else path)


def _why_unsigned(leaf: Leaf, pool: Sequence[Leaf]) -> str:
    """Why there is no signer."""
    if not any(other.subject == leaf.issuer for other in pool):
        return (
            f"'{leaf.subject}' is signed by '{leaf.issuer}', which is not there: give all certificates up to the root"
        )
    return (
        f"'{leaf.subject}' is signed by '{leaf.issuer}', and the key of the certificate of that name which is there does not fit the "
        "signature: it is another one of that name, or signs in a way that the library cryptography on the CA host cannot check "
        "(RSASSA-PSS before version 41)"
    )


def check_signed(chain: Chain, wish: Wish, *, now: int) -> None:
    """Raise CAError unless verifiers would accept leaves under this chain."""
    for below, leaf in enumerate((*chain.sent, chain.root)):
        said = next(_faults(leaf, below, now=now), None)
        if said:
            raise _bad(wish, f"'{leaf.subject}' {said}")


def remarks(chain: Chain, wish: Wish) -> list[str]:
    """What is not as asked for, but no reason to refuse the chain."""
    said, where = [], f"authority '{wish.name}'"
    limits, wanted = constraints_of(chain.issuing.pem) or Constraints(), wish.policy.constraints
    if limits != wanted:
        said.append(
            f"{where}: the issuing CA that was signed elsewhere has {describe_limits(limits)}, asked for is "
            f"{describe_limits(wanted)}. Verifiers see only what the certificate says."
        )
    for leaf in (*chain.above, chain.root):
        if constraints_of(leaf.pem):
            own = describe_limits(constraints_of(leaf.pem))
            said.append(f"{where}: '{leaf.subject}' above its issuing CA has limits of its own: {own}.")
    wanted_usages = {usage for profile in wish.policy.profiles.values() for usage in profile.usages}
    for leaf in chain.sent:
        missing = sorted(wanted_usages - set(leaf.usages)) if leaf.usages else []
        if missing and not {_ANY_USAGE, "anyExtendedKeyUsage"} & set(leaf.usages):
            said.append(
                f"{where}: '{leaf.subject}' is only for {', '.join(leaf.usages)}. Leaves for {', '.join(missing)} will not be "
                "accepted; allow only the other profiles (profiles_allowed)."
            )
    return said


def _faults(leaf: Leaf, below: int, *, now: int) -> Iterator[str]:
    """What keeps one certificate of the chain from its place; O(below): how many CA certificates are below it."""
    certificate = load_certificate(leaf.pem)
    basic: Any = _extension(certificate, x509.BasicConstraints)
    usage: Any = _extension(certificate, x509.KeyUsage)
    if not leaf.is_ca:
        yield "is no CA certificate (basicConstraints)"
    if basic is not None and basic.path_length is not None and basic.path_length < below:
        yield f"permits only {basic.path_length} further CA certificates below it (path length), there are {below}"
    if below == 0 and (usage is None or not usage.key_cert_sign or not usage.crl_sign):
        yield "may not sign certificates and CRLs (key usage keyCertSign and cRLSign)"
    if usage is not None and not usage.key_cert_sign:
        yield "may not sign certificates (key usage keyCertSign)"
    if leaf.subject_key_id is None and not leaf.self_signed:
        yield "has no subject key identifier, which a CA certificate must have"
    if not leaf.not_before <= now < leaf.not_after:
        yield f"is valid from {iso(leaf.not_before)} to {iso(leaf.not_after)}, it is now {iso(now)} here"
    key, digest = certificate.public_key(), certificate.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        yield f"has an RSA key of only {key.key_size} bits"
    if isinstance(digest, (hashes.SHA1, hashes.MD5)) and not leaf.self_signed:
        yield f"is signed with {digest.name}, which verifiers do not accept any more"


def _extension(certificate: x509.Certificate, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _bad(wish: Wish, said: str) -> CAError:
    return CAError(
        f"The chain for authority '{wish.name}' cannot be adopted: {said.rstrip('.')}. Nothing was changed. Have its CSR signed as "
        "docs/docsite/rst/authorities.rst says, then hand in the issuing CA and all certificates above it.",
        code="bad_chain",
    )
