"""Parse OLLAMA_HOST, check headers, and decide which hosts may receive credentials."""

from __future__ import annotations

from ostream.errors import RequestError

DEFAULT_PORT = 11434

# text.strip(ALLOWED) is empty if all characters are allowed. This replaces regular expressions, whose compilation would
# take 1 % of the start-up time of `send`.
_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IN_NAME = f"{_LETTERS}{_DIGITS}._~-"
_IN_PATH = f"{_LETTERS}{_DIGITS}!$%&'()*+,-./:;=@_~"
_IN_HEADER_NAME = f"{_LETTERS}{_DIGITS}!#$%&'*+.^_`|~-"


class Host:
    """The address of a server.

    Attributes:
        scheme: "http" or "https".
        name: the host name or IP address; an IPv6 address has no brackets.
        port: the port number.
        path: the path before /api, without a trailing slash; usually "".
        netloc: host and port in the form of a Host header.
        url: scheme, host, port and path.
        allow_plain_http: True if credentials may be sent over plain http to another machine.
    """

    def __init__(self, scheme: str, name: str, port: int, path: str = "", allow_plain_http: bool = False) -> None:
        self.scheme = scheme
        self.name = name
        self.port = port
        self.path = path.rstrip("/")
        self.netloc = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        self.url = f"{scheme}://{self.netloc}{self.path}"
        self.allow_plain_http = allow_plain_http

    @property
    def is_loopback(self) -> bool:
        """True if the host name or address refers to this machine."""
        return is_loopback(self.name)

    @property
    def accepts_credentials(self) -> bool:
        """True if a key may be sent: over TLS, to this machine, or if the user has allowed plain http."""
        return self.scheme == "https" or self.is_loopback or self.allow_plain_http


def is_loopback(name: str) -> bool:
    """True if `name`, a host name or an IP address without brackets, refers to this machine."""
    name = name.lower()
    if name in ("localhost", "::1", "0.0.0.0", "::") or (name.endswith(".localhost") and name != ".localhost"):
        return True
    octets = name.split(".")
    return len(octets) == 4 and octets[0] == "127" and all(map(_is_octet, octets))


def _is_octet(text: str) -> bool:
    return 0 < len(text) < 4 and not text.strip(_DIGITS) and int(text) < 256


def parse_host(text: str | None, allow_plain_http: bool = False) -> Host:
    """Parse an address by Ollama's own rules for OLLAMA_HOST. None and "" mean http://127.0.0.1:11434.

    Raises RequestError for an invalid host name, port or path, for user:password@, for a query or fragment, and for a
    scheme other than http and https. Ollama's own client does not report these errors. It replaces an invalid port with
    the default, misreads user:password@, and ignores an unknown scheme or a query.
    """
    value = (text or "").strip().strip("\"'").strip()
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "http", value
        port = DEFAULT_PORT
        if rest == "ollama.com":
            scheme, port = "https", 443
    else:
        # Ollama compares the scheme case-sensitively: HTTP://localhost gets port 11434, not 80.
        port = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT)
        scheme = scheme.lower()
    authority, slash, path = rest.partition("/")
    if scheme not in ("http", "https"):
        raise _invalid(value, "the scheme must be http or https")
    if "@" in authority:
        raise _invalid(value, "user and password are not supported", "send credentials with --header-file")
    if "?" in rest or "#" in rest:
        raise _invalid(value, "a query or fragment is not allowed")
    name, port_text = _split_authority(value, authority)
    if port_text:
        if len(port_text) > 5 or port_text.strip(_DIGITS) or not 0 < int(port_text) < 65536:
            raise _invalid(value, f"invalid port {port_text!r}")
        port = int(port_text)
    try:
        name = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        raise _invalid(value, "invalid host name") from None
    if name.strip(_IN_NAME) and not _is_ipv6(name):
        raise _invalid(value, "invalid host name")
    if path.strip(_IN_PATH):
        raise _invalid(value, "invalid path", "percent-encode characters that are not allowed in a path")
    # A server can listen on an unspecified address, but a client cannot connect to it.
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    return Host(scheme, name, port, slash + path, allow_plain_http)


def _split_authority(value: str, authority: str) -> tuple[str, str]:
    """Return the host name or address without brackets, and the port as text ("" if there is none)."""
    if authority.count(":") > 1 and not authority.startswith("["):
        return authority, ""
    if authority.startswith("["):
        name, bracket, port = authority[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _invalid(value, "invalid host and port")
        return name, port[1:]
    name, _, port = authority.partition(":")
    if "[" in name or "]" in name:
        raise _invalid(value, "invalid host and port")
    return name, port


def _is_ipv6(name: str) -> bool:
    address, percent, zone = name.partition("%")
    if percent and (not zone or zone.strip(_IN_NAME)):
        return False
    import socket

    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):  # ValueError: a NUL
        return False
    return True


def _invalid(value: str, problem: str, advice: str = "") -> RequestError:
    # Hide a password, so that it does not appear on a terminal or in a log.
    shown = f"***@{value.rpartition('@')[2]}" if "@" in value else value
    return RequestError(f"host {shown!r}: {problem}", advice=advice)


def check_header(name: str, value: str) -> None:
    """Raise RequestError if a header can't be sent.

    The name must be a token of RFC 9110, and the value ASCII text without control characters, which could add another
    header or end the headers. Content-Length and Transfer-Encoding are rejected, because ostream sets them.
    """
    if not isinstance(name, str):
        raise RequestError(f"header: the name must be text, not {type(name).__name__}")
    if not name or name.strip(_IN_HEADER_NAME):
        # Show only the first word: if the user forgot the colon, the other words are the value, perhaps a secret.
        raise RequestError(f"header {''.join(name.split()[:1])!r}: invalid name", advice="write 'Name: value'")
    if name.lower() in ("content-length", "transfer-encoding"):
        raise RequestError(f"header {name}: set by ostream and can't be overridden")
    if not isinstance(value, str):
        raise RequestError(f"header {name}: the value must be text, not {type(value).__name__}")
    if not is_header_value(value):
        raise RequestError(f"header {name}: the value contains a control or non-ASCII character")


def is_header_value(value: str) -> bool:
    """True if `value` is ASCII and has no control characters other than tabs."""
    return value.isascii() and value.replace("\t", " ").isprintable()
