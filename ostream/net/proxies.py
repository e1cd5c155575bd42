"""Choose the proxy of the environment for a host."""

from __future__ import annotations

import base64
import urllib.parse
import urllib.request

from ostream.errors import RequestError
from ostream.net.host import Host, parse_host


class Proxy:
    """An http proxy: `netloc` is its host and port, `headers` the credentials for it, `url` all of it."""

    def __init__(self, host: Host, credentials: str) -> None:
        self.netloc = host.netloc
        self.url = f"http://{credentials}@{host.netloc}"
        self.headers = {}
        if credentials:
            user, _, password = map(urllib.parse.unquote, credentials.partition(":"))
            token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
            self.headers["Proxy-Authorization"] = f"Basic {token}"


def proxy_for(host: Host) -> Proxy | None:
    """Return the proxy for this host, None if it has none; this machine never has one.

    http_proxy, https_proxy, all_proxy and no_proxy are read on every system; the proxy settings of macOS and Windows
    are not. Raises RequestError for a proxy that cannot be used.
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
    # A / in a password would begin the path, and what is before it would be taken for the host.
    if not proxy or not address or address.endswith(":") or "@" in path:
        # The value is not shown: it may hold a password.
        raise RequestError(f"{host.scheme}_proxy or all_proxy: invalid host and port")
    return Proxy(proxy, credentials)
