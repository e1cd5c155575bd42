"""Run a command whose names are resolved by a scripted name server: name_server.py HOW COMMAND...

Runs in its own network and mount namespaces. The system resolver asks 127.0.0.1, port 53, where HOW selects the reply.
`ollama.test` resolves to this machine, where a server listens.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.fault_matrix.answer import ANSWER
from tests.fault_matrix.servers import talk
from tests.server import http_answer, tcp

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
TYPE_A, NO_SUCH_NAME = 1, 3


def main(how: str, *command: str) -> int:
    """HOW: nobody (no name server), unknown (no such name), silent, or slow (the right answer, after a second)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    with tempfile.TemporaryDirectory() as directory:
        for name, text in (("resolv.conf", "nameserver 127.0.0.1\n"), ("nsswitch.conf", "hosts: files dns\n")):
            instead = Path(directory) / name
            instead.write_text(text)
            if (Path("/etc") / name).exists():
                subprocess.run(["mount", "--bind", str(instead), f"/etc/{name}"], check=True)
        if how == "nobody":
            return subprocess.call(command)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 53))
            threading.Thread(target=_answer, args=(server, how), daemon=True).start()
            with tcp(talk(http_answer(200, ANSWER)), socket.create_server(("127.0.0.1", 11434))):
                return subprocess.call(command)


def _answer(server: socket.socket, how: str) -> None:
    while True:
        question, client = server.recvfrom(512)
        if how == "silent":
            continue
        if how == "slow":
            time.sleep(1)
        server.sendto(_reply(question, how == "unknown"), client)


def _reply(question: bytes, unknown: bool) -> bytes:
    """RFC 1035, section 4: the header, the question again, and at most one address."""
    end = question.index(b"\0", 12) + 5
    (kind,) = struct.unpack("!H", question[end - 4 : end - 2])
    found = kind == TYPE_A and not unknown
    flags = 0x8180 | (NO_SUCH_NAME if unknown else 0)
    address = struct.pack("!HHHIH4B", 0xC00C, TYPE_A, 1, 0, 4, 127, 0, 0, 1) if found else b""
    return question[:2] + struct.pack("!HHHHH", flags, 1, int(found), 0, 0) + question[12:end] + address


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
