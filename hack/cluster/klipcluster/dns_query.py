"""One DNS question, asked by hand: whether a server knows a name. The system's resolver would ask its own servers."""

import secrets
import socket
import struct

TIMEOUT_SECONDS = 1.0


def resolves(server: str, name: str) -> bool:
    """Whether the server answers with at least one IPv4 address (RFC 1035, section 4); False where it is silent."""
    number = secrets.randbelow(1 << 16)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(TIMEOUT_SECONDS)
        try:
            asking.sendto(question, (server, 53))
            answer = asking.recv(1232)
        except OSError:
            return False
    if len(answer) < 12:
        return False
    echoed, flags, _, answers, _, _ = struct.unpack(">6H", answer[:12])
    return bool(echoed == number and flags & 0x000F == 0 and answers > 0)
