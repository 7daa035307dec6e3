"""Cases about the target server: no descriptors, its own end, clients that vanish, and clients that do not read."""

import contextlib
import re
import selectors
import shutil
import signal
import socket
import struct
import threading
import time

from case import case, demand, send, wait_until
from watch import FEW, cpu_seconds, page, peak_mib, settled, sockets

SECTION = "The target server"
HANDSHAKE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
RESET = struct.pack("ii", 1, 0)


@case("F19", "Too few descriptors for the server", quick=False, section=SECTION,
      injected="`prlimit --nofile=40` and 100 clients; every third accept4 fails (with strace, where it is there)",
      expected="it lives, says little, hardly uses its CPU, and serves again once descriptors are free")
def descriptors(lab):
    lab.control("run", page(lab.server()), "-c", 100, *FEW)
    server = lab.server(prefix=["prlimit", "--nofile=40"])
    clients = [dial(server) for _ in range(100)]
    demand(wait_until(lambda: sockets(server) >= 20, 5), f"only {sockets(server)} sockets")
    before, at = cpu_seconds(server.process.pid), time.monotonic()
    time.sleep(2)
    busy = (cpu_seconds(server.process.pid) - before) / (time.monotonic() - at)
    demand(server.process.poll() is None, "the server has died")
    demand(busy < 0.05, f"the server uses {busy:.0%} of a CPU while it waits for descriptors")
    said = server.started.err
    demand(len(said) < 1000, f"the server wrote {len(said)} bytes to stderr in two seconds")
    for client in clients:
        client.close()
    lab.run("run", page(server), "-c", 5, *FEW, "--timeout", "10s").expect(0)
    usage = server.stop()
    seen = f"{busy:.1%} CPU while out of descriptors, {usage['connections_accepted']} accepted in the end"
    if not shutil.which("strace"):
        return seen
    inject = ["-e", "trace=accept4", "-e", "inject=accept4:error=EMFILE:when=1+3"]
    traced = lab.server(prefix=["strace", "-D", "-f", "-qq", "-o", "/dev/null", *inject])
    lab.run("run", page(traced), "-c", 20, *FEW).expect(0)
    traced.stop()
    return f"{seen}; every third accept4 fails: good"


@case("F40", "The server ends while clients are connected", quick=True, section=SECTION,
      injected="SIGTERM and SIGINT with WebSockets, a long poll and a stream open, and a request half sent",
      expected="no more connections, all of these end, exit code 0 within 5 s and a usage report")
def ended(lab):
    seen = []
    for name in (signal.SIGTERM, signal.SIGINT):
        server = lab.server()
        topic(server, "quiet", rate=0)
        open_ = {
            "/ws/echo": upgraded(server, "/ws/echo"), "/ws/updates": upgraded(server, "/ws/updates?topic=quiet"),
            "/ws/room": upgraded(server, "/ws/room/r"), "long poll": asked(server, "/updates/long-poll?topic=quiet"),
            "stream": answered(asked(server, "/updates/stream?topic=quiet")),
            "kept": answered(asked(server, "/healthz")),
        }
        open_["half a request"] = half = dial(server)
        half.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        # The long poll is being waited for once it has been read.
        demand(wait_until(lambda: sockets(server) >= len(open_), 5), "not all connections were accepted")
        time.sleep(0.1)
        at = time.monotonic()
        send(server.process, name)
        last = {kind: rest(connection) for kind, connection in open_.items()}
        server.process.wait(10)
        took = time.monotonic() - at
        demand(took < 5, f"it took {took:.1f} s to end")
        for kind, said in last.items():
            # A WebSocket may be told why (1001), and need not be.
            demand(said is not None, f"{kind} did not end")
            allowed = said in (b"", b"\x88\x02\x03\xe9") if kind.startswith("/ws") else True
            demand(allowed, f"{kind} ended with {said!r}")
        with contextlib.suppress(ConnectionRefusedError):
            dial(server)
            demand(False, "it still accepts connections")
        usage = server.stop()
        demand(usage["connections_accepted"] == len(open_) + 1, f"{usage['connections_accepted']} connections counted")
        told = sum(said != b"" for kind, said in last.items() if kind.startswith("/ws"))
        seen.append(f"{name.name}: 0 in {took:.1f} s, {told} of 3 WebSockets were told why")
    lab.control("run", page(lab.server()), *FEW)
    return ", ".join(seen)


@case("F41", "Clients vanish while they wait", quick=True, section=SECTION,
      injected="FIN or RST of 20 long polls, 20 streams and 20 WebSockets that wait for news",
      expected="their connections are freed; those who stay are answered, with 204 at a long poll's time-out")
def vanished(lab):
    server = lab.server()
    topic(server, "quiet", rate=0)
    base = settled(server)
    stays = [asked(server, "/updates/long-poll?topic=quiet&timeout_ms=30000"),
             answered(asked(server, "/updates/stream?topic=quiet")), upgraded(server, "/ws/updates?topic=quiet")]
    for how in ("FIN", "RST"):
        leaves = [asked(server, "/updates/long-poll?topic=quiet") for _ in range(20)]
        leaves += [answered(asked(server, "/updates/stream?topic=quiet")) for _ in range(20)]
        leaves += [upgraded(server, "/ws/updates?topic=quiet") for _ in range(20)]
        demand(wait_until(lambda: sockets(server) == base + 63, 5), f"{sockets(server) - base} open of 63")
        for connection in leaves:
            if how == "RST":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()
        freed = wait_until(lambda: sockets(server) == base + 3, 5)
        demand(freed, f"{sockets(server) - base} are still open after 5 s, 3 should be")
    status = rest(asked(server, "/updates/long-poll?topic=quiet&timeout_ms=50", close=True))
    demand((status or b"").startswith(b"HTTP/1.1 204"), f"a time-out answers {status!r}")
    demand(sockets(server) == base + 3, "those who stayed were lost")
    # The control: who stays gets the news, by being told that there will be none of this topic.
    topic(server, "quiet", rate=0)
    demand(answered(stays[0]) and rest(stays[2]), "who stayed heard nothing")
    lab.control("run", page(server), *FEW)
    usage = server.stop()
    demand(usage["subscribers_dropped"] == 0, f"{usage['subscribers_dropped']} counted as too slow")
    return f"120 freed, 3 stayed; 204 at a time-out; {usage['subscriptions']} subscriptions counted"


@case("F42", "Slow subscribers", quick=False, section=SECTION,
      injected="among 50 streams and 50 WebSockets, one of each does not read",
      expected="those two are dropped and counted, the others miss nothing, the server's memory stays bounded")
def slow(lab):
    seen = []
    for unread in (0, 2):
        server = lab.server("--subscriber-backlog", 64)
        topic(server, "news", rate=400, size=800)
        audience = Audience(server, 100 - unread)
        held = [dial(server, receive=4096) for _ in range(unread)]
        for connection, path in zip(held, PATHS):
            connection.sendall(request(server, path, HANDSHAKE))
        demand(wait_until(lambda: sockets(server) >= 100, 5), "not all were accepted")
        everyone = settled(server)
        with audience:
            time.sleep(2)
            is_over = wait_until(lambda: sockets(server) <= everyone - unread, 30)
            peak = peak_mib(server)
        demand(is_over, f"{sockets(server) - everyone + unread} of the slow ones were not dropped within 30 s")
        usage = server.stop()
        demand(not audience.problems, f"{len(audience.problems)} others missed something: {audience.problems[:1]}")
        demand(usage["subscribers_dropped"] == unread, f"{usage['subscribers_dropped']} are counted as dropped")
        demand(peak < 64, f"the server took {peak:.0f} MiB")
        seen.append(f"{unread} slow: {unread} dropped, {audience.got} updates read by the others, {peak:.0f} MiB")
    return "; ".join(seen)


PATHS = ["/updates/stream?topic=news", "/ws/updates?topic=news"]
# Where the sequence stands in an event, and in a message.
SEQUENCES = [re.compile(rb"id: (\d+)\n"), re.compile(rb"news (\d+) \d+ ")]


class Audience:
    """Clients that read all they are sent, on a thread of their own, and look for gaps."""

    def __init__(self, server, size):
        self.selector = selectors.DefaultSelector()
        self.got, self.problems, self.is_over = 0, [], threading.Event()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        for index in range(size):
            connection = asked(server, PATHS[index % 2], HANDSHAKE)
            self.selector.register(connection, selectors.EVENT_READ, Listener(index % 2))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join(10)
        listeners = [key.data for key in self.selector.get_map().values()]
        self.got = sum(listener.got for listener in listeners)
        self.problems += [listener.problem for listener in listeners if listener.problem]
        most = max(listener.last for listener in listeners)
        self.problems += [f"{one.last} of {most}" for one in listeners if one.last < most / 2]
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()

    def listen(self):
        while not self.is_over.is_set():
            for key, _ in self.selector.select(0.1):
                try:
                    key.data.read(key.fileobj.recv(1 << 18))
                except OSError as error:
                    key.data.problem = str(error)
                if key.data.problem:
                    self.problems.append(key.data.problem)
                    self.selector.unregister(key.fileobj)


class Listener:
    """One of them: the last sequence it has seen, and what is wrong."""

    def __init__(self, kind):
        self.pattern, self.tail, self.last, self.got, self.problem = SEQUENCES[kind], b"", 0, 0, None

    def read(self, piece):
        if not piece:
            self.problem = f"ended after {self.last}"
        said, end = self.tail + piece, 0
        for found in self.pattern.finditer(said):
            number, end = int(found[1]), found.end()
            if self.last and number != self.last + 1:
                self.problem = f"{number} after {self.last}"
            self.last, self.got = number, self.got + 1
        self.tail = said[end:][-100:]


def dial(server, receive=None):
    connection = socket.socket()
    if receive:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", server.port))
    return connection


def request(server, path, headers=(), method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {server.host}", *headers, "", ""]).encode()


def asked(server, path, headers=(), method="GET", close=False):
    """A connection on which something was asked."""
    connection = dial(server)
    connection.sendall(request(server, path, [*headers, *(["Connection: close"] if close else [])], method))
    return connection


def answered(connection):
    """Reads the head of the answer; returns the connection."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(4096)
        demand(piece, f"ended within a head: {head!r}")
        head += piece
    demand(head.startswith((b"HTTP/1.1 2", b"HTTP/1.1 101")), f"answered {head[:60]!r}")
    return connection


def upgraded(server, path):
    return answered(asked(server, path, HANDSHAKE))


def topic(server, name, rate, size=64):
    path = f"/updates/topics/{name}?rate={rate}&bytes={size}"
    answered(asked(server, path, ["Content-Length: 0"], "PUT", close=True)).close()


def rest(connection, within_s=10):
    """What still comes up to the end; None when it does not end in time."""
    said, deadline = b"", time.monotonic() + within_s
    while time.monotonic() < deadline:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            return None
        except ConnectionError:
            return said
        if not piece:
            return said
        said += piece
    return None
