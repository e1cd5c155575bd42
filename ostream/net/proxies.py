"""Choose the proxy for a host from the environment variables."""

from __future__ import annotations

import base64
import urllib.parse
import urllib.request

from ostream.errors import RequestError
from ostream.net.host import Host, parse_host


class Proxy:
    """An http proxy.

    Attributes:
        netloc: its host and port.
        headers: the headers for the proxy: Proxy-Authorization, or none.
        url: its address with the credentials.
    """

    def __init__(self, host: Host, credentials: str) -> None:
        self.netloc = host.netloc
        self.url = f"http://{credentials}@{host.netloc}"
        self.headers = {}
        if credentials:
            user, _, password = map(urllib.parse.unquote, credentials.partition(":"))
            token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
            self.headers["Proxy-Authorization"] = f"Basic {token}"


def proxy_for(host: Host) -> Proxy | None:
    """Return the proxy for this host, or None for a direct connection. A server on this machine gets no proxy.

    Reads http_proxy, https_proxy, all_proxy and no_proxy from the environment, but not the proxy settings of macOS and
    Windows. Raises RequestError for a proxy that can't be used.
    """
    if host.is_loopback:
        return None
    proxies = urllib.request.getproxies_environment()
    if urllib.request.proxy_bypass_environment(host.netloc, proxies):  # type: ignore[attr-defined]
        return None
    value = (proxies.get(host.scheme) or proxies.get("all") or "").strip()
    if not value:
        return None
    kind, separator, rest = value.partition("://")
    if separator and kind.lower() != "http":
        raise RequestError(f"proxy {kind}://...: only http proxies are supported", advice="set no_proxy for this host")
    authority, _, path = (rest if separator else value).partition("/")
    credentials, _, address = authority.rpartition("@")
    try:
        proxy = parse_host(f"http://{address}")
    except RequestError:
        proxy = None
    # A / in a password would start the path, and the text before it would be parsed as the host.
    if not proxy or not address or address.endswith(":") or "@" in path:
        # Do not show the value: it may contain a password.
        raise RequestError(f"{host.scheme}_proxy or all_proxy: invalid host and port")
    return Proxy(proxy, credentials)
