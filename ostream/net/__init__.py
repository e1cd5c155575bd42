"""The rim to the network: addresses, timeouts, sockets, TLS, HTTP; the only rooms that know of them."""
