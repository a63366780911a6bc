"""Why TLS failed, in the words of the person who has to put it right."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

CHAIN_MAX = 10

_BY_VERIFY_CODE = {
    9: "the server's certificate is not valid yet",
    10: "the server's certificate has expired",
    18: "the server's certificate is self-signed and not trusted (unknown CA)",
    19: "the server's certificate comes from an unknown CA",
    20: "the server's certificate comes from an unknown CA",
    21: "the server's certificate comes from an unknown CA",
    23: "the server's certificate was revoked",
    24: "the server's certificate was issued by what is not a CA",
    26: "the server's certificate is not meant for servers",
    62: "host name mismatch",
    64: "host name mismatch (IP address)",
    66: "the key of the server's certificate is too small",
    67: "the key of the server's CA is too small",
    68: "the server's certificate uses a digest that is too weak",
}
"""By OpenSSL's X509_V_ERR code."""

_NAME_MISMATCHES = {62, 64}
_VERSION = "the two sides have no TLS version in common"
_NOT_TLS = "the other side does not speak TLS: should its address begin with http://?"
_BY_REASON = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "client certificate required",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server broke off the handshake: client certificate required, or no cipher in common",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not trust our client certificate (unknown CA)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refused our client certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the server refused our client certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the server refused our client certificate: its kind is not supported",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our client certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "our client certificate was revoked",
    "TLSV1_ALERT_ACCESS_DENIED": "the server does not admit our client certificate",
    "TLSV1_ALERT_DECRYPT_ERROR": "the server refused our client certificate: its signature does not fit",
    "TLSV1_UNRECOGNIZED_NAME": "the server does not know the host name",
    "TLSV1_ALERT_UNRECOGNIZED_NAME": "the server does not know the host name",
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "NO_PROTOCOLS_AVAILABLE": _VERSION,
    "WRONG_SSL_VERSION": _VERSION,
    "VERSION_TOO_LOW": _VERSION,
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "UNEXPECTED_EOF_WHILE_READING": "the other side hung up during the handshake",
}
"""By OpenSSL's reason; an alert is what the other side said."""


def tls_reason(error: BaseException) -> str | None:
    """Why TLS failed, found in an error or its causes; None when it was not TLS."""
    for cause in _chain(error):
        # Clients wrap these in classes of their own, which are of the same type but carry none of the details.
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_code"):
            known = _BY_VERIFY_CODE.get(cause.verify_code, cause.verify_message)
            detail = f": {cause.verify_message.rstrip('.')}" if cause.verify_code in _NAME_MISMATCHES else ""
            return f"TLS: {known}{detail}"
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None):
            return f"TLS: {_BY_REASON.get(cause.reason, cause.reason.replace('_', ' ').lower())}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(CHAIN_MAX):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__
