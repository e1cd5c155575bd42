"""Parse OLLAMA_HOST, check headers, and decide where credentials may go."""

from __future__ import annotations

from ostream.errors import RequestError

DEFAULT_PORT = 11434

# Characters are checked with str.strip(): compiling regular expressions would take 1 % of the start of `send`.
_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IN_NAME = f"{_LETTERS}{_DIGITS}._~-"
_IN_IPV6 = f"{_DIGITS}abcdefABCDEF:."
_IN_PATH = f"{_LETTERS}{_DIGITS}!$%&'()*+,-./:;=@_~"
_IN_HEADER_NAME = f"{_LETTERS}{_DIGITS}!#$%&'*+.^_`|~-"


class Host:
    """The address of a server.

    `scheme` is http or https, `name` the host name or address, `path` the base path, `netloc` host and port as a Host
    header has them, and `url` all of these. With `allow_plain_http`, credentials may go over plain http to another
    machine.
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
        """True if the host name or address means this machine."""
        return is_loopback(self.name)

    @property
    def accepts_credentials(self) -> bool:
        """True if a key may be sent: over TLS, to this machine, or where the user allowed plain http."""
        return self.scheme == "https" or self.is_loopback or self.allow_plain_http


def is_loopback(name: str) -> bool:
    """True if this host name, or address without brackets, means this machine."""
    name = name.lower()
    if name in ("localhost", "::1", "0.0.0.0", "::") or (name.endswith(".localhost") and name != ".localhost"):
        return True
    octets = name.split(".")
    return len(octets) == 4 and octets[0] == "127" and all(map(_is_octet, octets))


def _is_octet(text: str) -> bool:
    return 0 < len(text) < 4 and not text.strip(_DIGITS) and int(text) < 256


def parse_host(text: str | None, allow_plain_http: bool = False) -> Host:
    """Parse an address by Ollama's own rules for OLLAMA_HOST; None and "" mean http://127.0.0.1:11434.

    The Go client replaces an invalid port by the default without a message, misreads user:password@, and ignores
    another scheme or a query. Here these raise RequestError.
    """
    value = (text or "").strip().strip("\"'").strip()
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "http", value
        port = DEFAULT_PORT
        if rest == "ollama.com":
            scheme, port = "https", 443
    else:
        # Go compares case-sensitively: HTTP://localhost has the default port.
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
        raise _invalid(value, "invalid path", "percent-encode unusual characters")
    # A server can listen on an unspecified address, but a client cannot connect to it.
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    return Host(scheme, name, port, slash + path, allow_plain_http)


def _split_authority(value: str, authority: str) -> tuple[str, str]:
    """Return the name or address without brackets, and the text of the port."""
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
    return ":" in address and "." not in address.partition(":")[0] and not address.strip(_IN_IPV6)


def _invalid(value: str, problem: str, advice: str = "") -> RequestError:
    # A password must not appear on a terminal or in a log.
    shown = f"***@{value.rpartition('@')[2]}" if "@" in value else value
    return RequestError(f"host {shown!r}: {problem}", advice=advice)


def check_header(name: str, value: str) -> None:
    """Raise RequestError for a header that could forge another header or end the request, or that is not text."""
    if not isinstance(name, str):
        raise RequestError(f"header: the name must be text, not {type(name).__name__}")
    if not name or name.strip(_IN_HEADER_NAME):
        # If the colon was forgotten, the rest of the name is the value, which may be a secret.
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
