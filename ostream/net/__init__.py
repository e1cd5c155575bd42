"""The rim to the network: addresses, clocks, sockets, TLS, HTTP; the only rooms that know of them."""
