"""TLS verification settings, and the TLS handshake on a connected socket."""

from __future__ import annotations

import errno
import os

from ostream.errors import ConnectError, OstreamError, RequestError, reason
from ostream.system.polling import READABLE

try:
    import ssl
except ImportError:  # a python3 built without OpenSSL
    ssl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.net.socket import WatchedSocket


class TLSConfig:
    """TLS verification settings.

    Arguments:
        cacert: a PEM file of the certificate authorities to trust, or an SSLContext, which is used unchanged (default:
            trust the authorities of the system).
        insecure: True to accept any certificate.
    """

    def __init__(self, cacert: str | os.PathLike[str] | ssl.SSLContext | None = None, insecure: bool = False) -> None:
        self.cacert = cacert
        self.insecure = insecure
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return the SSL context, which is created once and shared by all threads.

        Raises RequestError if the PEM file can't be used, and ConnectError if Python has no ssl module.
        """
        if self._context is None:
            self._context = self._new_context()
        return self._context

    def _new_context(self) -> ssl.SSLContext:
        if ssl is None:
            raise ConnectError(
                "https: this python3 has no ssl module",
                advice="use an http:// address, or a python3 built with OpenSSL",
            )
        if isinstance(self.cacert, ssl.SSLContext):
            return self.cacert
        try:
            context = ssl.create_default_context(cafile=self.cacert)
        except (OSError, TypeError, ValueError) as error:
            raise RequestError(f"{self.cacert}: {reason(error)}", advice="--cacert needs a PEM file") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def start_tls(wire: WatchedSocket, name: str, port: int, tls_config: TLSConfig) -> None:
    """Do the TLS handshake on a connected socket. Raises ConnectError, StreamTimeout or ReaderGone."""
    context = tls_config.context()
    try:
        # Raises if the connection is already lost. wrap_socket() would raise too, but leave the socket open.
        wire.sock.getpeername()
        wire.sock = tls = context.wrap_socket(wire.sock, server_hostname=name, do_handshake_on_connect=False)
        wire.attempt(tls.do_handshake, READABLE)
    except OstreamError:
        raise
    except (OSError, ValueError) as error:
        raise _tls_error(error, f"{name}:{port}") from None


def _tls_error(error: Exception, where: str) -> ConnectError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectError(f"{where}: TLS: {error.verify_message}", advice="use --cacert FILE to trust a private CA")
    if isinstance(error, OSError) and error.errno == errno.ENOTCONN:
        # The server has reset the connection. Report the reset instead of "not connected".
        error = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    failure = getattr(error, "reason", None) or reason(error)
    if failure in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return ConnectError(f"{where}: TLS: the server does not use TLS on this port", advice="try http://")
    broken = ConnectError(f"{where}: TLS: {failure}")
    broken.retryable = isinstance(error, ConnectionError)
    return broken
