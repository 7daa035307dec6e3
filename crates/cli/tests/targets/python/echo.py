"""An echo over WebSocket with the library `websockets`: a server that knows nothing of sockrates.

Bound to 127.0.0.1, on a port that is free; prints one JSON line when it is ready, and ends on SIGTERM.
"""

import asyncio
import json
import signal

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"ready": True, "http": f"127.0.0.1:{port}"}), flush=True)
        await over.wait()


asyncio.run(main())
