"""The network layer: addresses, timeouts, sockets, TLS and HTTP. All requests to a server are sent from here."""
