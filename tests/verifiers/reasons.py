# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each verifier says of each fault, as regular expressions: a certificate rejected for another one has proved nothing."""

from __future__ import annotations

_FOREIGN = {
    "openssl": "permitted subtree violation|excluded subtree violation",
    "gnutls": "violates the signer's constraints",
    "pyca": "no permitted name constraints matched|excluded name constraint matched",
    "go": "not authorized to sign for this name",
    "rustls": "NameConstraintViolation",
}
REASONS: dict[str, dict[str, str]] = {
    "foreign DNS": _FOREIGN,
    "foreign IPv4": _FOREIGN,
    "foreign IPv6": _FOREIGN,
    "leaf as CA": {
        "openssl": "invalid CA certificate|path length constraint exceeded",
        "gnutls": "issuer is not a CA|violates the signer's constraints",
        "pyca": "basicConstraints|path length constraint violated",
        "go": "parent certificate cannot sign this kind of certificate|too many intermediates for path length constraint",
        "rustls": "EndEntityUsedAsCa|PathLenConstraintViolated",
    },
    "expired": {
        "openssl": "certificate has expired",
        "gnutls": "expired certificate",
        "pyca": "not valid at validation time",
        "go": "has expired or is not yet valid: .* is after ",
        "rustls": "certificate expired",
    },
    "not yet valid": {
        "openssl": "certificate is not yet valid",
        "gnutls": "not yet valid certificate",
        "pyca": "not valid at validation time",
        "go": "has expired or is not yet valid: .* is before ",
        "rustls": "certificate not valid yet",
    },
    "wrong usage": {
        "openssl": "unsuitable certificate purpose",
        "gnutls": "does not match the intended purpose",
        "pyca": "required EKU not found",
        "go": "incompatible key usage",
        "rustls": "does not allow extended key usage for server authentication",
    },
    "revoked": {
        "openssl": "certificate revoked",
        "gnutls": "revoked",
    },
    "other authority": {
        "openssl": "unable to get (?:local )?issuer certificate",
        "gnutls": "issuer is unknown",
        "pyca": "candidates exhausted: all candidates exhausted with no interior errors",
        "go": "signed by unknown authority",
        "rustls": "UnknownIssuer",
    },
    "other name": {
        "openssl": "hostname mismatch|IP address mismatch",
        "gnutls": "name in the certificate does not match",
        "pyca": "no matching subjectAltName",
        "go": "certificate is valid for .*, not ",
        "rustls": "certificate not valid for name",
    },
}
