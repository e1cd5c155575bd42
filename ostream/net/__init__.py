"""The network: addresses, timeouts, sockets, TLS and HTTP. Only this package knows about them."""
