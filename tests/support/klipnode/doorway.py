"""Lets pods of the local node reach what listens on loopback: `python -m klipnode.doorway PORT...`.

Each port of the node's own address is passed on to the same port of 127.0.0.1. For tests alone.
"""

import asyncio
import contextlib
import sys

from klipcluster.node import ADDRESS


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(ports: list[int]) -> None:
    """Serve until the process is stopped."""

    def doorway(port: int) -> asyncio.Task[asyncio.Server]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.close()
                return
            await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))

        return asyncio.create_task(asyncio.start_server(connected, ADDRESS, port))

    await asyncio.gather(*map(doorway, ports))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main([int(word) for word in sys.argv[1:]]))
