#!/usr/bin/env python3
"""A server with one known fault, over HTTP and WebSocket, on a free port of 127.0.0.1.

    servers.py FAULT [--after N] [--every N] [--to HOST:PORT]

It echoes: bodies, and messages. The first N operations (`--after`) are answered well, then every Nth (`--every`, 1 by
default) is spoiled by FAULT; a fault of whole connections meets those that are opened from then on. With `--to`, it
hands everything on to another server, and spoils one piece of each stream of updates that comes back. Prints a line of
JSON with its address when it is ready, and one with its counts when it is ended by SIGTERM: the connections accepted,
the operations, those answered `well` and those `spoiled`, and the pongs that came. Exit code 2 for an unknown fault.
"""

import argparse
import base64
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HTML = b"<!DOCTYPE html><title>It works</title><h1>It works</h1>"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fault", choices=sorted({"none", *CONNECTIONS, *HTTP, *HANDSHAKES, *WEBSOCKET, *STREAMS}))
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--to")
    arguments = parser.parse_args()
    state = State(arguments)
    listener = socket.create_server(("127.0.0.1", arguments.port), backlog=1024)
    signal.signal(signal.SIGTERM, lambda *_: state.finish())
    print(json.dumps({"http": f"127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=relay if arguments.to else serve, args=(Peer(connection, state),), daemon=True).start()


class Faulty:
    """The side of whoever starts such a server in a lab."""

    def __init__(self, lab, fault, **options):
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.started = lab.program(sys.executable, Path(__file__), fault, *flags)
        self.process = self.started.process
        deadline = time.monotonic() + 30
        while "\n" not in self.started.out and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.01)
        self.host = json.loads(self.started.out.splitlines()[0])["http"]

    def stop(self):
        """Ends it and returns its counts; None when it had died, as some do."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        lines = self.started.out.splitlines()
        return json.loads(lines[1]) if len(lines) > 1 else None


class State:
    """What all connections share."""

    def __init__(self, arguments):
        self.fault, self.after, self.every, self.to = arguments.fault, arguments.after, arguments.every, arguments.to
        self.lock = threading.Lock()
        self.connections = self.operations = self.well = self.spoiled = self.pongs = 0
        self.last = b""

    def take(self, faults):
        """Counts an operation; says whether it is to be spoiled by the fault, if that is one of these."""
        with self.lock:
            self.operations += 1
            is_spoiled = self.operations > self.after and (self.operations - self.after) % self.every == 0
            is_spoiled = is_spoiled and self.fault in faults
            if is_spoiled:
                self.spoiled += 1
            else:
                self.well += 1
            return is_spoiled

    def is_due(self):
        """Says whether the fault concerns whatever begins now."""
        with self.lock:
            return self.operations >= self.after

    def swap(self, message):
        """Keeps a message and returns the one before, of whatever connection."""
        with self.lock:
            before, self.last = self.last, message
            return before

    def finish(self):
        counts = {name: getattr(self, name) for name in ("connections", "operations", "well", "spoiled", "pongs")}
        os.write(1, (json.dumps(counts) + "\n").encode())
        os._exit(0)


class Gone(Exception):
    """The connection is over."""


class Peer:
    """One connection, with what was read too much of it."""

    def __init__(self, connection, state):
        self.connection, self.state, self.early = connection, state, b""

    def send(self, data):
        self.connection.sendall(data)

    def read(self, count):
        while len(self.early) < count:
            self._more()
        data, self.early = self.early[:count], self.early[count:]
        return data

    def read_head(self):
        while b"\r\n\r\n" not in self.early:
            self._more()
        head, _, self.early = self.early.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def _more(self):
        data = self.connection.recv(65536)
        if not data:
            raise Gone
        self.early += data

    def reset(self):
        """Ends the connection with a RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise Gone

    def finish(self):
        """Ends the connection with a FIN, and reads what still comes, so that no RST follows."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(2)
        while self.connection.recv(65536):
            pass
        raise Gone

    def wait(self):
        """Reads and says nothing until the other side ends the connection."""
        while self.connection.recv(65536):
            pass
        raise Gone


def serve(peer):
    state = peer.state
    with state.lock:
        state.connections += 1
    try:
        if state.fault in CONNECTIONS and state.is_due():
            CONNECTIONS[state.fault](peer)
        while True:
            head = peer.read_head()
            if "upgrade: websocket" in head.lower():
                websocket(peer, head)
            answer(peer, head)
    except (Gone, OSError):
        pass
    finally:
        peer.connection.close()


# Faults of whole connections.

def tls_alert(peer):
    """What a TLS server says to plain text: a fatal alert, and the end."""
    peer.connection.recv(65536)
    peer.send(b"\x15\x03\x03\x00\x02\x02\x32")
    peer.finish()


def banner(peer):
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    peer.wait()


CONNECTIONS = {
    "tls-alert": tls_alert,
    "banner": banner,
    "reset-on-accept": Peer.reset,
}


# Faults of replies over HTTP. Each gets the peer and the request's body.

def answer(peer, head):
    """Answers a request with its own body, or as the fault wants it."""
    state = peer.state
    length = [line.partition(":")[2] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
    is_spoiled = state.take(HTTP)
    if is_spoiled and state.fault == "stops-reading":
        while True:
            time.sleep(60)
    body = peer.read(int(length[0])) if length else b""
    is_last = "connection: close" in head.lower()
    if is_spoiled:
        HTTP[state.fault](peer, body)
    else:
        peer.send(reply(body, close=is_last))
    if is_last:
        peer.finish()


def reply(body, status="200 OK", version="1.1", length=None, close=False, fields=""):
    length = len(body) if length is None else length
    closing = "Connection: close\r\n" if close else ""
    return f"HTTP/{version} {status}\r\nContent-Length: {length}\r\n{fields}{closing}\r\n".encode() + body


def sends(make):
    """A fault that is a reply, made of the request's body."""
    return lambda peer, body: peer.send(make(body))


def cut(make):
    """A fault that is a part of a reply, and a FIN."""

    def spoil(peer, body):
        peer.send(make(body))
        peer.finish()

    return spoil


def reset(peer, _):
    peer.reset()


def half_then_reset(peer, body):
    peer.send(reply(b"x" * 10, length=100))
    peer.reset()


def stall(peer, _):
    peer.wait()


def die(_peer, _body):
    os._exit(0)


def bytewise(peer, body):
    for byte in reply(body):
        peer.send(bytes([byte]))


def twice(peer, body):
    peer.send(reply(body) + reply(body))


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1]) if data else b"!"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"

HTTP = {
    "garbage": cut(lambda _: b"\x00\x7f\x01 not a protocol \xff\xfe" + bytes(range(128, 256)) + b"\r\n\r\n"),
    "http10": cut(lambda body: reply(body, version="1.0")),
    "html": sends(lambda _: reply(HTML, fields="Content-Type: text/html\r\n")),
    "never-answers": stall,
    "reset": reset,
    "half-then-reset": half_then_reset,
    "short": cut(lambda _: reply(b"x" * 10, length=100)),
    "head-cut": cut(lambda _: b"HTTP/1.1 200 OK\r\nContent-Le"),
    "chunk-cut": cut(lambda _: CHUNKED + b"\r\n40\r\n0123456789"),
    "chunks-without-end": cut(lambda _: CHUNKED + b"\r\n5\r\nhello\r\n"),
    "bad-chunk": cut(lambda _: CHUNKED + b"\r\nzz\r\nhello\r\n0\r\n\r\n"),
    "event-cut": cut(lambda _: CHUNKED + b"Content-Type: text/event-stream\r\n\r\n18\r\ndata: 1\n\nda"),
    "longer": sends(lambda body: reply(body + b"more than announced", length=len(body))),
    "fin-after-each": cut(lambda body: reply(body)),
    "close-after-each": cut(lambda body: reply(body, close=True)),
    "dies": die,
    "stalls": stall,
    "500": sends(lambda _: reply(b"oops", status="500 Internal Server Error")),
    "429": sends(lambda _: reply(b"slow down", status="429 Too Many Requests", fields="Retry-After: 1\r\n")),
    "503": sends(lambda _: reply(b"", status="503 Service Unavailable")),
    "302": sends(lambda _: reply(b"", status="302 Found", fields="Location: http://127.0.0.1:1/\r\n")),
    "corrupt": sends(lambda body: reply(flipped(body))),
    "too-short": sends(lambda body: reply(body[:-1])),
    "too-long": sends(lambda body: reply(body + b"!")),
    "empty": sends(lambda _: reply(b"")),
    "twice": twice,
    "bytewise": bytewise,
    "stops-reading": stall,
    "two-lengths": sends(lambda body: reply(body, fields=f"Content-Length: {len(body) + 1}\r\n")),
    "negative-length": sends(lambda body: reply(body, length=-1)),
    "huge-length": cut(lambda body: reply(body, length=2**64)),
}


# Faults of the opening handshake. Each gets the peer and the good answer's fields, and says the answer.

def websocket(peer, head):
    """Opens a WebSocket, or refuses it as the fault wants, and echoes."""
    state = peer.state
    lines = [line.partition(":") for line in head.split("\r\n")[1:]]
    key = next(value.strip() for name, _, value in lines if name.lower() == "sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    if state.fault in HANDSHAKES and state.is_due():
        peer.send(HANDSHAKES[state.fault](accept))
        peer.wait()
    peer.send(switch(f"Sec-WebSocket-Accept: {accept}\r\n"))
    try:
        while True:
            echo(peer)
    except (Gone, OSError):
        raise Gone from None


def switch(fields, upgrade="Upgrade: websocket\r\n"):
    return f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}Connection: Upgrade\r\n{fields}\r\n".encode()


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"

HANDSHAKES = {
    "wrong-accept": lambda _: switch(f"Sec-WebSocket-Accept: {base64.b64encode(bytes(20)).decode()}\r\n"),
    "no-accept": lambda _: switch(""),
    "two-accepts": lambda accept: switch(f"Sec-WebSocket-Accept: {accept}\r\n" * 2),
    "extension": lambda accept: switch(f"Sec-WebSocket-Accept: {accept}\r\n{DEFLATE}"),
    "subprotocol": lambda accept: switch(f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n"),
    "no-upgrade": lambda accept: switch(f"Sec-WebSocket-Accept: {accept}\r\n", upgrade=""),
    "refuses-503": lambda _: reply(b"", status="503 Service Unavailable"),
    "refuses-302": lambda _: reply(b"", status="302 Found", fields="Location: http://127.0.0.1:1/\r\n"),
    "refuses-html": lambda _: reply(HTML, fields="Content-Type: text/html\r\n"),
    "refuses-silently": lambda _: b"",
}


# Faults of WebSocket messages. Each gets the peer, the message's opcode and its payload.

def echo(peer):
    """Answers one message, or as the fault wants it."""
    state = peer.state
    opcode, payload = read_frame(peer)
    if opcode == CLOSE:
        peer.send(frame(CLOSE, payload[:125]))
        peer.finish()
    if opcode == PING:
        return peer.send(frame(PONG, payload))
    if opcode == PONG:
        with state.lock:
            state.pongs += 1
        return None
    before = state.swap(payload)
    if state.take(WEBSOCKET):
        return WEBSOCKET[state.fault](peer, opcode, payload, before)
    return peer.send(frame(opcode, payload))


def read_frame(peer):
    first, second = peer.read(2)
    length = second & 127
    if length > 125:
        length = int.from_bytes(peer.read(2 if length == 126 else 8), "big")
    mask = peer.read(4) if second & 128 else bytes(4)
    payload = peer.read(length)
    ring = (mask * (length // 4 + 1))[:length]
    plain = (int.from_bytes(payload, "big") ^ int.from_bytes(ring, "big")).to_bytes(length, "big")
    return first & 15, plain


def frame(opcode, payload, final=True, reserved=0, mask=False):
    first = opcode | reserved | (128 if final else 0)
    bit = 128 if mask else 0
    length = len(payload)
    if length < 126:
        head = bytes([first, bit | length])
    elif length < 65536:
        head = struct.pack(">BBH", first, bit | 126, length)
    else:
        head = struct.pack(">BBQ", first, bit | 127, length)
    return head + (bytes(4) if mask else b"") + payload


def says(make):
    """A fault that is bytes, made of opcode, payload and the message before."""
    return lambda peer, *message: peer.send(make(*message))


def closes(code):
    def spoil(peer, *_):
        peer.send(frame(CLOSE, struct.pack(">H", code) + b"so be it"))
        peer.finish()

    return spoil


def fragments(opcode, payload, _):
    count = len(payload)
    parts = [frame(opcode if at == 0 else 0, payload[at:at + 1], final=at == count - 1) for at in range(count)]
    return b"".join(parts)


def never_echoes(peer, *_):
    peer.wait()


def stops_reading(peer, *_):
    while True:
        time.sleep(60)


def ws_half_then_end(peer, opcode, payload, _):
    peer.send(frame(opcode, payload)[:-3])
    peer.finish()


WEBSOCKET = {
    "corrupt": says(lambda opcode, payload, _: frame(opcode, flip_text(payload))),
    "stale": says(lambda opcode, payload, before: frame(opcode, before)),
    "twice": says(lambda opcode, payload, _: frame(opcode, payload) * 2),
    "too-short": says(lambda opcode, payload, _: frame(opcode, payload[:-1])),
    "too-long": says(lambda opcode, payload, _: frame(opcode, payload + b"!")),
    "other-kind": says(lambda opcode, payload, _: frame(TEXT + BINARY - opcode, payload)),
    "news": says(lambda opcode, payload, _: frame(TEXT, b"news") * 5 + frame(opcode, payload)),
    "pings": says(lambda opcode, payload, _: frame(PING, b"there?") * 100 + frame(opcode, payload)),
    "fragments": says(fragments),
    "close-1001": closes(1001),
    "close-1011": closes(1011),
    "close-1013": closes(1013),
    "never-answers": never_echoes,
    "stops-reading": stops_reading,
    "reset": lambda peer, *_: peer.reset(),
    "half-then-end": ws_half_then_end,
    "dies": lambda *_: os._exit(0),
    "stalls": never_echoes,
    "masked": says(lambda opcode, payload, _: frame(opcode, payload, mask=True)),
    "reserved": says(lambda opcode, payload, _: frame(opcode, payload, reserved=64)),
    "not-utf-8": says(lambda opcode, payload, _: frame(TEXT, b"\xff" * len(payload))),
}


# Faults of streams of updates, for a server in between. Each makes other bytes of one piece that came from the server,
# which is one event or message as long as they do not follow each other closely; None is the end.

STREAMS = {
    "stream-cut": lambda piece: piece[:len(piece) // 2],
    "stream-flipped": lambda piece: piece[:-8] + bytes([piece[-8] ^ 1]) + piece[-7:],
    "stream-gap": lambda _: b"",
    "stream-again": lambda piece: piece * 2,
}


def relay(peer):
    """Hands on what comes from both sides, but for one piece of a stream."""
    state = peer.state
    host, _, port = state.to.partition(":")
    server = Peer(socket.create_connection((host, int(port))), state)
    server.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first = peer.connection.recv(65536)
    is_stream = b"/updates/stream?" in first or b"/ws/updates?" in first
    server.send(first)
    threading.Thread(target=hand_on, args=(peer, server, "none"), daemon=True).start()
    hand_on(server, peer, state.fault if is_stream else "none")


def hand_on(source, sink, fault):
    count = 0
    try:
        while piece := source.connection.recv(65536):
            count += 1
            if count == SPOILED_PIECE and fault in STREAMS:
                with source.state.lock:
                    source.state.spoiled += 1
                sink.send(STREAMS[fault](piece))
                if fault == "stream-cut":
                    break
            else:
                sink.send(piece)
    except OSError:
        pass
    for peer in (source, sink):
        try:
            peer.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


# In the midst of the window of the scenario of streams: half a second after its beginning.
SPOILED_PIECE = 25


def flip_text(payload):
    """Changes the last byte to another printable one."""
    return payload[:-1] + (b"!" if payload[-1:] != b"!" else b"?")


if __name__ == "__main__":
    sys.exit(main())
