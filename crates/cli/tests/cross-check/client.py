"""The library `websockets` as a client of our server.

`client.py HOST:PORT` prints, as one line of JSON, how many demands are met and which are not.
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL = f"ws://{sys.argv[1]}/ws/echo"
LENGTHS = [0, 1, 125, 126, 65_535, 65_536, 1 << 20]
passed, problems = 0, []


def demand(name, found, wanted):
    global passed
    if found == wanted:
        passed += 1
    else:
        problems.append(f"{name}: {str(found)[:100]!r}, not {str(wanted)[:100]!r}")


async def main():
    async with connect(URL, max_size=None) as connection:
        demand("extensions", connection.protocol.extensions, [])
        for length in LENGTHS:
            text = ("sockrates " * (length // 10 + 1))[:length]
            for message in (text, bytes(index * 31 & 255 for index in range(length))):
                await connection.send(message)
                demand(f"{type(message).__name__} of {length} bytes", await connection.recv(), message)
        for payload in (b"", b"ping", b"p" * 125):
            pong = await connection.ping(payload)
            demand(f"ping of {len(payload)} bytes is answered", await pong >= 0, True)
        await connection.send(["in ", "three ", "fragments"])
        demand("fragments", await connection.recv(), "in three fragments")
        many = [f"message {index}" for index in range(1000)]
        for message in many:
            await connection.send(message)
        demand("messages at once", [await connection.recv() for _ in many], many)
    for code in (1000, 3000, 3999, 4000, 4999):
        connection = await connect(URL)
        await connection.close(code, "enough")
        demand(f"close with {code}", (connection.close_code, connection.close_reason), (code, "enough"))
        demand(f"close with {code} ends the connection", await is_over(connection), True)
    print(json.dumps({"passed": passed, "problems": problems}))


async def is_over(connection):
    try:
        await connection.recv()
    except ConnectionClosed:
        return True
    return False


asyncio.run(main())
