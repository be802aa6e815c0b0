"""Answers that no server should give, and a server that gives them byte for byte."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

WELL_FORMED = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
)
ODD = (
    b"", b"\r\n\r\n", b"\0" * 64, b"\xff" * 4096, b"HTTP", b"HTTP/1.1", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"ICY 200 OK\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 99 Low\r\n\r\n", b"HTTP/1.1 999 High\r\n\r\n",
    b"HTTP/1.1 -200 OK\r\n\r\n", b"HTTP/1.1 2e2 OK\r\n\r\n", b"HTTP/1.1 0000000200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000,
    b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 " + b"A" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nnogzi",
    b"HTTP/1.1 200 OK\r\nContent-Type: \xff\xfe; charset=\0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=;;;=\"; expires=never\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\n", b"HTTP/1.1 200 OK\nX: y\n\n",
    b"HTTP/1.1 200 OK\r\nLink: <http://[::1>; rel=\"a\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: \r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 304 Not Modified\r\n\r\n",
    *(
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: " + value + b"\r\n\r\n"
        for value in (
            b"", b"-1", b"1e9", b"NaN", b"99999999999999999999999999", b"Fri, 31 Dec 9999 23:59:59 GMT", b"\xff",
            b"soon",
            b"Thu, 00 Foo 0000 99:99:99 GMT", b"Thu, 01 Jan 1970 00:00:00 +9999", "٣".encode(), b"1" * 5000,
        )
    ),
)  # fmt: skip


def mutated(seed: int) -> bytes:
    """A well-formed answer with some bytes dropped, doubled, changed or put in."""
    rng = random.Random(seed)
    answer = bytearray(rng.choice(WELL_FORMED))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(answer) + 1)
        match rng.randrange(5):
            case 0:
                del answer[at : at + rng.randint(1, 8)]
            case 1:
                answer[at:at] = answer[at : at + rng.randint(1, 40)]
            case 2:
                answer[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                answer[at:at] = rng.choice([b"\r\n", b"\n", b"\0", b":", b" ", b"\xff", b"HTTP/1.1 ", b"9" * 30])
            case _:
                answer[at:at] = rng.randbytes(rng.randint(1, 64))
    return bytes(answer)


@dataclass
class RawServer:
    """Answers each connection with `answer`, then ends it, or keeps it open and silent."""

    port: int = 0
    answer: bytes = WELL_FORMED[0]
    stays_open: bool = False
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
            if self.stays_open:
                await reader.read()
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def raw_server(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[RawServer]:
    """A running RawServer."""
    raw = RawServer()
    server = await asyncio.start_server(raw.serve, host, port)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
