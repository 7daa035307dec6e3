"""Our generator at real servers: nginx, and WebSocket echoes of the libraries `ws` (Node) and `websockets` (Python)."""

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import install
from common import INSTALLED, TARGETS, row, run, serving

OPERATIONS = 2000
SIZES = [8, 125, 126, 65_535, 65_536, 1 << 20]
LARGE_BYTES = 300_000
CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; default_type application/octet-stream; client_max_body_size 2m;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        root {folder};
        location = /hello {{ return 200 "hello\\n"; }}
        location = /empty {{ return 204; }}
        location = /moved {{ return 301 /hello; }}
        location = /broken {{ return 500; }}
        location = /chunked {{ ssi on; ssi_types *; try_files /included =404; }}
        location = /hello-again {{ keepalive_requests 10; return 200 "hello\\n"; }}
    }}
}}
"""
# What is asked of nginx: a name, a path, flags, and the exit code that is right.
REQUESTS = [
    ("a few bytes", "/hello", ["--expect-body", "hello\n"], 0),
    ("a few bytes, a connection each", "/hello", ["--lifecycle", "per-request", "--expect-body", "hello\n"], 0),
    ("a few bytes, 500 a second", "/hello", ["--rate", "500", "--expect-body", "hello\n"], 0),
    ("connections that end after 10", "/hello-again", ["--expect-body", "hello\n"], 0),
    ("a file of 300 kB", "/large", [], 0),
    ("chunks", "/chunked", [], 0),
    ("no body", "/empty", ["--expect-status", "204"], 0),
    ("a head alone", "/large", ["--method", "HEAD"], 0),
    ("a redirect, which is no answer", "/moved", [], 3),
    ("a redirect, which is expected", "/moved", ["--expect-status", "301"], 0),
    ("an error, which is no answer", "/broken", [], 3),
    ("a page that is not there", "/nowhere", [], 3),
    ("a WebSocket, which it has not", "ws:/hello", [], 3),
    ("another body than expected", "/hello", ["--expect-body", "goodbye"], 3),
]


def check(arguments):
    node = install.node(INSTALLED / "node", TARGETS / "node", "server.mjs")
    python = install.python(INSTALLED / "python", TARGETS / "python/requirements.txt")
    with nginx() as host:
        for name, path, flags, code in REQUESTS:
            scheme, path = path.split(":") if ":" in path else ("http", path)
            yield from judge(f"nginx, {name}", f"{scheme}://{host}{path}", flags, code)
    echoes = {
        "Node, ws": ([node, INSTALLED / "node/server.mjs"], "/ws/echo"),
        "Python, websockets": ([python, TARGETS / "python/echo.py"], "/"),
    }
    for name, (command, path) in echoes.items():
        with serving(command) as (_, host):
            url = f"ws://{host}{path}"
            for size in SIZES:
                for kind, flags in [("text", []), ("binary", ["--binary"])]:
                    yield from judge(f"{name}, {kind} of {size} B", url, [*flags, "--message-size", str(size)], 0)
            yield from judge(f"{name}, a connection each", url, ["--lifecycle", "per-request"], 0)
            yield from judge(f"{name}, 500 a second", url, ["--rate", "500"], 0)


@contextmanager
def nginx():
    """Runs nginx with a configuration of its own; gives its address."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        port = any_socket.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port))
        Path(folder, "large").write_bytes(bytes(index & 255 for index in range(LARGE_BYTES)))
        Path(folder, "included").write_text('<!--#include virtual="/hello" -->' * 20)
        server = subprocess.Popen([program, "-c", f"{folder}/nginx.conf"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            await_answer(f"http://127.0.0.1:{port}/hello")
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def await_answer(url):
    for _ in range(200):
        try:
            return urllib.request.urlopen(url, timeout=1).read()
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nginx does not answer on {url}")


def judge(name, url, flags, wanted):
    """Measures; yields what went wrong."""
    size = int(flags[flags.index("--message-size") + 1]) if "--message-size" in flags else 0
    operations = OPERATIONS if size < 1 << 16 else OPERATIONS // 10
    code, result, complaint = run(url, "-c", 10, "-n", operations, *flags)
    if code != wanted:
        yield f"servers: {name}: exit code {code}, not {wanted}: {complaint}"
        return
    if wanted != 0:
        row(f"sockrates run → {name}", complaint.removeprefix("sockrates: "), widths=(56,))
        return
    books, answers = result["operations"], result["answers"]
    row(f"sockrates run → {name}", f"{books['verified']} verified, {books['failed']} failed", widths=(56,))
    if books["verified"] != operations or books["failed"] or books["unfinished"] or answers["unasked"]:
        yield f"servers: {name}: {books}, {result['failures']}, {answers['unasked']} messages unasked"
