"""Where the server is, and what may be said to it: the grammar of OLLAMA_HOST, headers, and who keeps a secret."""

from __future__ import annotations

import re

from ostream.errors import RequestError

DEFAULT_PORT = 11434

_LOOPBACK = re.compile(r"localhost|.+\.localhost|127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}|::1|0\.0\.0\.0|::", re.IGNORECASE)
_HOST = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>.*))?", re.DOTALL)
# What may stand in a host name on the wire, and in an address with a zone.
_NAME = re.compile(r"[A-Za-z0-9._~-]*|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._~-]+)?")


class Host:
    """Where a server is: `url` is scheme, host, port and base path, as requests need it."""

    def __init__(self, scheme: str, name: str, port: int, path: str) -> None:
        self.scheme = scheme
        self.name = name
        self.port = port
        bracketed = f"[{name}]" if ":" in name else name
        self.url = f"{scheme}://{bracketed}:{port}{path.rstrip('/')}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.name)

    @property
    def keeps_secrets(self) -> bool:
        """May a key be sent there? Over TLS, or without leaving the machine."""
        return self.scheme == "https" or self.is_loopback


def is_loopback(name: str) -> bool:
    """Does this host name, or address without brackets, mean this machine?"""
    return _LOOPBACK.fullmatch(name) is not None


def parse_host(text: str | None) -> Host:
    """Ollama's own grammar for OLLAMA_HOST, as the Go client reads it.

    Where that one falls back to a default in silence (a bad port), mangles (user:password@) or makes no sense of it
    (another scheme, a query), this raises RequestError.
    """
    value = (text or "").strip().strip("\"'").strip()
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "http", value
        port = DEFAULT_PORT
        if rest == "ollama.com":
            scheme, port = "https", 443
    else:
        # Go compares as written: HTTP://localhost has the default port.
        port = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT)
        scheme = scheme.lower()
    # A password belongs neither on a terminal nor into a log.
    shown = f"host {re.sub('.*@', '***@', value, flags=re.DOTALL)!r}"
    if scheme not in ("http", "https"):
        raise RequestError(f"{shown}: the scheme must be http or https")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise RequestError(f"{shown}: no user and password here", advice="give a header with --header-file")
    if set("?#") & set(rest):
        raise RequestError(f"{shown}: no query or fragment here")
    if authority.count(":") > 1 and not authority.startswith("["):
        authority = f"[{authority}]"
    match = _HOST.fullmatch(authority)
    if not match:
        raise RequestError(f"{shown}: not a host and a port")
    name = match["v6"] if match["v6"] is not None else match["name"]
    if match["port"]:
        if not re.fullmatch(r"[0-9]{1,5}", match["port"]) or not 0 < int(match["port"]) < 65536:
            raise RequestError(f"{shown}: not a port: {match['port']!r}")
        port = int(match["port"])
    try:
        name = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        raise RequestError(f"{shown}: not a host name") from None
    if not _NAME.fullmatch(name):
        raise RequestError(f"{shown}: not a host name")
    if not re.fullmatch(r"[!$-;=@-Z_a-z~]*", path):
        raise RequestError(f"{shown}: not a path; escape what is unusual in it with %")
    # What a server listens on is not what a client can dial.
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    return Host(scheme, name, port, slash + path)


def check_header(name: str, value: str) -> None:
    """Raises RequestError for what could forge another header or the end of the request, and for what is not text."""
    if not isinstance(name, str):
        raise RequestError(f"header: its name must be text, not {type(name).__name__}")
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        # Where the colon was forgotten, the name goes on into the value: a secret, maybe.
        raise RequestError(f"header {''.join(name.split()[:1])!r}: not a header name", advice="write 'Name: value'")
    if name.lower() in ("content-length", "transfer-encoding"):
        raise RequestError(f"header {name}: each request has its own")
    if not isinstance(value, str):
        raise RequestError(f"header {name}: its value must be text, not {type(value).__name__}")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) or not value.isascii():
        raise RequestError(f"header {name}: its value holds a control or a non-ASCII character")
