"""A target for sockrates in Python: see docs/TARGET.md.

On one event loop of aiohttp it serves all that clients rely on. Left out are the floor, other flags, the usage report,
the limits of time and those of histories in bytes. What aiohttp decides for itself stays so: origins are not checked,
an unmasked frame is accepted, and a head that is too large is answered with 400.
"""

import argparse
import asyncio
import itertools
import math
import os
import random
import re
import signal
import socket
import struct
import sys
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic_ns
from types import SimpleNamespace
from typing import Callable

from aiohttp import WSMsgType, web

MESSAGE_BYTES = 1 << 20
HISTORY_ENTRIES = 4096
WRITTEN_TOGETHER_BYTES = 64 << 10
SILENCE_S = 15
# Half of what fits into 64 bits: an instant that never comes.
NEVER_NS = 1 << 63
HEAD, OLDEST = "x-sockrates-head", "x-sockrates-oldest"


def key_stream(seed, index, count):
    """Returns the beginning of the key stream of ChaCha8, counter and nonce 0, that payloads follow from.

    All its blocks are computed at once, each in 64 bits of the same long integers: plain Python has no faster way.
    """
    blocks = -(-count // 64)
    ones = int.from_bytes(struct.pack("<Q", 1) * blocks, "little")
    mask = ones * 0xFFFF_FFFF
    fixed = struct.unpack("<12I", b"expand 32-byte k" + struct.pack("<QQ16s", seed, index, b"payload"))
    counter = int.from_bytes(struct.pack(f"<{blocks}Q", *range(blocks)), "little")
    start = [word * ones for word in fixed] + [counter, 0, 0, 0]
    state = start.copy()
    # Four times the columns and then the diagonals, which begin one column further to the right in each row.
    for shift, column in itertools.product((0, 1) * 4, range(4)):
        a, b, c, d = (4 * row + (column + shift * row) % 4 for row in range(4))
        for to, other, mixed, bits in (a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7):
            state[to] = (state[to] + state[other]) & mask
            word = state[mixed] ^ state[to]
            state[mixed] = (word << bits | word >> 32 - bits) & mask
    sums = (((a + b) & mask).to_bytes(8 * blocks, "little") for a, b in zip(state, start))
    words = zip(*(struct.unpack(f"<{blocks}Q", word) for word in sums))
    return struct.pack(f"<{16 * blocks}I", *itertools.chain.from_iterable(words))[:count]


def printable(seed, index, count):
    return key_stream(seed, index, count).translate(PRINTABLE)


PRINTABLE = bytes(0x30 + (byte & 63) for byte in range(256))
PAYLOAD = key_stream(0, 0, MESSAGE_BYTES)


class Source:
    """What has news from time to time. Nothing is queued for those who wait for it: they are woken, and look."""

    def __init__(self):
        self.seats = set()
        self.clockwork = None
        self.is_over = False

    def wake(self):
        for event in self.seats:
            event.set()

    def end(self):
        self.is_over = True
        if self.clockwork:
            self.clockwork.cancel()
        self.wake()


class Log(Source):
    """The latest updates of a topic or frames of a room, numbered from 1 on."""

    def __init__(self, farewell="oldest {}"):
        super().__init__()
        self.farewell = farewell
        self.entries = {}
        self.head, self.oldest = 0, 1

    def add(self, entry):
        self.head += 1
        self.entries[self.head] = entry
        if len(self.entries) > HISTORY_ENTRIES:
            del self.entries[self.oldest]
            self.oldest += 1
        self.wake()


class Ended(Exception):
    """Why there is nothing more to read: a code and a reason for closing a WebSocket."""


@dataclass
class Reading:
    """How far a client has read a log, and how it is told."""

    log: Log
    known: int
    encode: Callable[[bytes], bytes]

    def news(self, most_bytes=WRITTEN_TOGETHER_BYTES):
        """Returns what is new, encoded: as much as fits into so many bytes, but at least one entry."""
        if self.log.is_over:
            raise Ended(1012, "topic replaced")
        if self.known + 1 < self.log.oldest:
            raise Ended(4410, self.log.farewell.format(self.log.oldest))
        parts = []
        while self.known < self.log.head:
            part = self.encode(self.log.entries[self.known + 1])
            most_bytes -= len(part)
            if parts and most_bytes < 0:
                break
            parts.append(part)
            self.known += 1
        return b"".join(parts)


class Game(Source):
    """The latest tick of a game, and its players by name."""

    def __init__(self):
        super().__init__()
        self.players = {}
        self.number, self.due_ns, self.created_ns, self.payload = 0, 0, 0, b""

    def player(self, name):
        check_room_for(name, self.players, 16_384)
        return self.players.setdefault(name, SimpleNamespace(largest=0, acknowledged=0, is_connected=False))

    def line(self, player):
        return b"%d %d %d %d %b" % (self.number, self.due_ns, self.created_ns, player.acknowledged, self.payload)


topics, rooms, games = {"default": Log()}, {}, {}
routes = web.RouteTableDef()


@contextmanager
def seat(*sources):
    """Gives an event that is set whenever one of these has news."""
    event = asyncio.Event()
    for source in sources:
        source.seats.add(event)
    try:
        yield event
    finally:
        for source in sources:
            source.seats.discard(event)


async def wait(event, patience_s):
    """Waits for an event as long as patience lasts; for ever without one."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            await event.wait()


async def next_news(readings, event, patience_s):
    """Returns what is new in any of the logs as soon as something is; nothing once patience is at its end."""
    while True:
        event.clear()
        for _ in range(len(readings)):
            # The connection whose turn it is now is the last in the next round.
            readings.rotate(-1)
            if news := readings[-1].news():
                return news
        await wait(event, patience_s)
        if not event.is_set():
            return b""


async def until(due_ns):
    """Waits for an instant, up to a millisecond too long: finer an event loop does not wait, and the stamps show it."""
    # So that others have a turn even when it is past.
    await asyncio.sleep(0)
    while (left_ns := due_ns - monotonic_ns()) > 0:
        await asyncio.sleep(left_ns / 1e9)


async def publish(topic, rate, arrivals, count, seed):
    """Publishes by a schedule that is all from the start and not from update to update: lateness does not add up."""
    start_ns, draw = monotonic_ns(), random.Random(seed)
    if arrivals == "periodic":
        offsets = (number / rate for number in itertools.count(draw.random()))
    else:
        offsets = itertools.accumulate(draw.expovariate(rate) for _ in itertools.repeat(None))
    for sequence, offset_s in enumerate(offsets, 1):
        # Made before it is due, since that takes a while.
        payload = printable(seed, sequence, count)
        due_ns = start_ns + int(min(offset_s * 1e9, NEVER_NS))
        await until(due_ns)
        topic.add(b"%d %d %b" % (sequence, due_ns, payload))


async def play(game, hz, count, seed):
    """Ticks by the clock. Of several ticks that are due only the latest comes."""

    def due_ns(number):
        return start_ns + int(min(number * 1e9 / hz, NEVER_NS))

    start_ns, number = monotonic_ns(), 0
    while True:
        number += 1
        payload = printable(seed, number, count)
        await until(due_ns(number))
        latest = int((monotonic_ns() - start_ns) * hz / 1e9)
        if latest > number:
            number, payload = latest, printable(seed, latest, count)
        for player in game.players.values():
            player.acknowledged = player.largest
        game.number, game.due_ns, game.created_ns, game.payload = number, due_ns(number), monotonic_ns(), payload
        game.wake()


def check_room_for(name, others, most):
    if name not in others and len(others) >= most:
        raise web.HTTPServiceUnavailable(text="there are too many\n")


def checked_name(name):
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name or ""):
        raise web.HTTPBadRequest(text="a name is 1 to 64 letters, digits, `-`, `_` and `.`\n")
    return name


def whole_number(text, default=None, least=0, most=2**64 - 1, headers=None):
    if text is None and default is not None:
        return default
    if not re.fullmatch(r"[0-9]{1,20}", text or "") or not least <= int(text) <= most:
        raise web.HTTPBadRequest(text=f"a whole number from {least} to {most} is needed\n", headers=headers)
    return int(text)


def rate_of(text, least):
    with suppress(ValueError):
        if least <= float(text or "") <= 1e6:
            return float(text)
    raise web.HTTPBadRequest(text="a number a second is needed, up to 1000000\n")


def payload_of(query):
    """Returns the length of payloads, and the seed that they follow from."""
    return whole_number(query.get("bytes"), 64, most=MESSAGE_BYTES), whole_number(query.get("seed"), 1)


def input_number(message):
    return whole_number(message.split(b" ", 1)[0].decode("latin-1"), least=1)


def begin(query, encode, since=None):
    """Begins to read the topic that a query names, after the sequence that it knows."""
    topic = topics.get(query.get("topic", "default"))
    if topic is None:
        raise web.HTTPNotFound(text="no such topic\n")
    head, since = {HEAD: str(topic.head)}, query.get("since") if since is None else since
    known = whole_number(since, topic.head, most=topic.head, headers=head)
    if known + 1 < topic.oldest:
        raise web.HTTPGone(text="this has left the history\n", headers=head | {OLDEST: str(topic.oldest)})
    return Reading(topic, known, encode)


def find_player(query):
    """Returns the game, and the name of the player; makes the player only when the whole request is understood."""
    game, name = checked_name(query.get("game")), checked_name(query.get("player"))
    if game not in games:
        raise web.HTTPNotFound(text="no such game\n")
    return games[game], name


async def whole_body(request):
    try:
        if (request.content_length or 0) > MESSAGE_BYTES:
            raise web.HTTPRequestEntityTooLarge(MESSAGE_BYTES)
        return await request.read()
    except web.HTTPRequestEntityTooLarge as refusal:
        refusal.force_close()
        raise
    except web.RequestPayloadError:
        raise web.HTTPBadRequest(text="broken body\n") from None


def reply(body, content_type="text/plain", headers=None):
    return web.Response(body=body, content_type=content_type, headers=headers)


@routes.post("/echo")
async def echo(request):
    return reply(await whole_body(request), "application/octet-stream")


@routes.get("/payload", allow_head=False)
async def payload(request):
    count = whole_number(request.query.get("bytes"), most=MESSAGE_BYTES)
    return reply(PAYLOAD[:count], "application/octet-stream")


@routes.get("/healthz", allow_head=False)
async def healthz(_):
    return reply(b"ok")


def put(sources, name, source, most, headers=None):
    """Puts a source in the place of the one that has its name, if there is one."""
    check_room_for(name, sources, most)
    former, sources[name] = sources.get(name), source
    if former is None:
        return web.Response(status=201, headers=headers)
    former.end()
    return web.Response(headers=headers)


@routes.put("/updates/topics/{name:.*}")
async def put_topic(request):
    name, query, topic = checked_name(request.match_info["name"]), request.query, Log()
    rate, arrivals = rate_of(query.get("rate"), least=0), query.get("arrivals", "poisson")
    if arrivals not in ("poisson", "periodic"):
        raise web.HTTPBadRequest(text="arrivals are poisson or periodic\n")
    count, seed = payload_of(query)
    response = put(topics, name, topic, 16_384, {HEAD: "0"})
    if rate > 0:
        topic.clockwork = asyncio.create_task(publish(topic, rate, arrivals, count, seed))
    return response


@routes.put("/duplex/games/{name:.*}")
async def put_game(request):
    name, game = checked_name(request.match_info["name"]), Game()
    hz, (count, seed) = rate_of(request.query.get("hz"), least=sys.float_info.min), payload_of(request.query)
    response = put(games, name, game, 1024)
    game.clockwork = asyncio.create_task(play(game, hz, count, seed))
    return response


def updates(reading):
    lines = b""
    # To whoever waits for it, a topic that is over has nothing new.
    with suppress(Ended):
        lines = reading.news(math.inf)
    head = {HEAD: str(reading.known)}
    return reply(lines, headers=head) if lines else web.Response(status=204, headers=head)


@routes.get("/updates/poll", allow_head=False)
async def poll(request):
    return updates(begin(request.query, lambda line: line + b"\n"))


@routes.get("/updates/long-poll", allow_head=False)
async def long_poll(request):
    reading = begin(request.query, lambda line: line + b"\n")
    head = {HEAD: str(reading.log.head)}
    patience_ms = whole_number(request.query.get("timeout_ms"), 25_000, least=1, most=30_000, headers=head)
    if reading.known == reading.log.head:
        with seat(reading.log) as event:
            await wait(event, patience_ms / 1e3)
    return updates(reading)


@routes.get("/updates/stream", allow_head=False)
async def stream(request):
    def event_of(line):
        return b"id: %b\ndata: %b\n\n" % tuple(line.split(b" ", 1))

    # A browser that connects again repeats `since` as it was: what it saw last says more.
    reading = begin(request.query, event_of, request.headers.get("Last-Event-ID"))
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", HEAD: str(reading.log.head)}
    response = web.StreamResponse(headers=headers)
    # A client that is just going is no error.
    with seat(reading.log) as event, suppress(ConnectionError):
        await response.prepare(request)
        try:
            while True:
                news = await next_news(deque([reading]), event, SILENCE_S)
                await response.write(news or b": keep-alive\n\n")
        except Ended:
            if not reading.log.is_over:
                await response.write(b"event: gap\ndata: %d\n\n" % reading.log.oldest)
    return response


@routes.post("/duplex/input")
async def duplex_input(request):
    game, name = find_player(request.query)
    number = input_number(await whole_body(request))
    player = game.player(name)
    player.largest = max(player.largest, number)
    return web.Response(status=204)


@routes.get("/duplex/snapshot", allow_head=False)
async def duplex_snapshot(request):
    game, name = find_player(request.query)
    since = whole_number(request.query.get("since"), 0)
    player = game.player(name)
    return reply(game.line(player) + b"\n") if game.number > since else web.Response(status=204)


def frame(opcode, message=b""):
    """Encodes a frame, so that it is done once for all who get it. aiohttp would do it for each."""
    first, length = 0x80 | opcode, len(message)
    if length < 126:
        return struct.pack("!BB", first, length) + message
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length) + message
    return struct.pack("!BBQ", first, 127, length) + message


async def send(request, frames):
    """Writes frames, and waits until the client takes them."""
    if request.transport:
        request.transport.write(frames)
        await request.writer.drain()


def close(request, code, reason=""):
    """Says goodbye and closes the connection first. aiohttp would wait for the client, or not repeat its code."""
    if request.transport:
        message = struct.pack("!H", code) + reason.encode() if code else b""
        request.transport.write(frame(WSMsgType.CLOSE, message))
        request.transport.close()


async def converse(request, hear, speak=None, headers=()):
    """Opens a WebSocket, and hears and speaks at once until one of both ends. What is heard may have an answer."""
    tokens = ",".join(request.headers.getall("Connection", ())).lower().replace(" ", "").split(",")
    is_websocket = "upgrade" in tokens and request.headers.get("Upgrade", "").lower() == "websocket"
    if not is_websocket or request.headers.get("Sec-WebSocket-Version") != "13":
        needed = {"Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        raise web.HTTPUpgradeRequired(text="WebSocket version 13 only\n", headers=needed)
    # aiohttp refuses its maximum already, not only what is above.
    websocket = web.WebSocketResponse(autoclose=False, compress=False, max_msg_size=MESSAGE_BYTES + 1)
    websocket.headers.update(headers)
    await websocket.prepare(request)
    speaking = asyncio.create_task(speak()) if speak else None
    try:
        while (message := await websocket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            is_text = message.type is WSMsgType.TEXT
            if answer := hear(message.type, message.data.encode() if is_text else message.data):
                await send(request, answer)
        if message.type is WSMsgType.CLOSE:
            close(request, message.data, message.extra)
    except web.HTTPBadRequest:
        close(request, 1007)
    finally:
        if speaking:
            speaking.cancel()
    return websocket


async def tell(request, readings, event, patience_s=None):
    """Sends what is new in logs of frames, and a ping where that is nothing for too long."""
    try:
        while True:
            await send(request, await next_news(readings, event, patience_s) or frame(WSMsgType.PING))
    except Ended as end:
        close(request, *end.args)


@routes.get("/ws/echo", allow_head=False)
async def ws_echo(request):
    return await converse(request, frame)


@routes.get("/ws/updates", allow_head=False)
async def ws_updates(request):
    names = request.query.getall("topic", ["default"])
    sinces = request.query.getall("since", [None] * len(names))
    if len(names) > 1024 or len(sinces) != len(names):
        raise web.HTTPBadRequest(text="up to 1024 topics, with `since` for each of them or for none\n")

    def begin_one(name, since):
        prefix = name.encode() + b" "
        return begin({"topic": name}, lambda line: frame(WSMsgType.TEXT, prefix + line), since)

    readings = deque(map(begin_one, names, sinces))
    heads = {HEAD: ",".join(str(reading.log.head) for reading in readings)}
    with seat(*(reading.log for reading in readings)) as event:
        return await converse(request, lambda *_: None, lambda: tell(request, readings, event, SILENCE_S), heads)


@routes.get("/ws/room/{name:.*}", allow_head=False)
async def ws_room(request):
    name = checked_name(request.match_info["name"])
    check_room_for(name, rooms, 16_384)
    room = rooms.setdefault(name, Log("too slow"))
    # A member from before the reply on, so that nothing is missed after it.
    readings = deque([Reading(room, room.head, lambda frame: frame)])
    try:
        with seat(room) as event:
            return await converse(request, lambda *said: room.add(frame(*said)), lambda: tell(request, readings, event))
    finally:
        if not room.seats:
            del rooms[name]


@routes.get("/ws/duplex", allow_head=False)
async def ws_duplex(request):
    game, name = find_player(request.query)
    player, seen = game.player(name), game.number
    if player.is_connected:
        raise web.HTTPConflict(text="this player is connected already\n")

    def hear(_, message):
        player.largest = max(player.largest, input_number(message))

    async def show():
        nonlocal seen
        while not game.is_over:
            event.clear()
            if game.number == seen:
                await event.wait()
                continue
            seen = game.number
            await send(request, frame(WSMsgType.TEXT, game.line(player)))
        close(request, 1012, "game replaced")

    player.is_connected = True
    try:
        with seat(game) as event:
            return await converse(request, hear, show)
    finally:
        player.is_connected = False


async def watch_stdin(_):
    loop = asyncio.get_running_loop()

    def read():
        if not os.read(0, 4096):
            loop.remove_reader(0)
            signal.raise_signal(signal.SIGTERM)

    loop.add_reader(0, read)


def main():
    parser = argparse.ArgumentParser(description="A target for sockrates")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--stop-with-stdin", action="store_true")
    arguments = parser.parse_args()
    app = web.Application(client_max_size=MESSAGE_BYTES)
    app.add_routes(routes)
    if arguments.stop_with_stdin:
        app.on_startup.append(watch_stdin)
    listener = socket.create_server(("127.0.0.1", arguments.port))
    # Accepted sockets inherit this. aiohttp sets TCP_NODELAY on each of them.
    with suppress(OSError):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    web.run_app(
        app,
        sock=listener,
        print=lambda _: print(f'{{"ready":true,"http":"{address}"}}', flush=True),
        backlog=4096,
        access_log=None,
        auto_decompress=False,
        # What waits for news on behalf of a client that is gone would wait for ever.
        handler_cancellation=True,
        keepalive_timeout=75,
        # Room for the names of 1024 topics.
        max_line_size=16_384,
        # Waited for twice: until replies have ended, and until streams have.
        shutdown_timeout=0.5,
    )


if __name__ == "__main__":
    main()
