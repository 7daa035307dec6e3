"""Our server under real clients: the library `websockets` of Python, `ws` of Node, and Chromium."""

import json
import shutil
import subprocess

import install
from common import CHECKS, INSTALLED, TARGETS, row, serving, target

PROGRAMS = ["conversations.mjs", "ws.mjs", "chromium.mjs"]
BOUND_SECONDS = 120


def check(arguments):
    node = install.node(INSTALLED / "node", TARGETS / "node")
    python = install.python(INSTALLED / "python", TARGETS / "python/requirements.txt")
    # Node looks for libraries beside a program.
    for name in PROGRAMS:
        shutil.copy(CHECKS / name, INSTALLED / "node" / name)
    clients = {
        "Python, websockets": [python, CHECKS / "client.py"],
        "Node, ws": [node, INSTALLED / "node/ws.mjs"],
        "Chromium": [node, INSTALLED / "node/chromium.mjs", shutil.which("chromium")],
    }
    for name, command in clients.items():
        with serving(target()) as (_, host):
            yield from (f"clients: {name}: {problem}" for problem in talk(name, [*command, host]))


def talk(name, command):
    """Lets a client make its demands; yields those that were not met."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=BOUND_SECONDS)
    except subprocess.TimeoutExpired:
        yield f"did not end within {BOUND_SECONDS} s"
        return
    if done.returncode != 0:
        yield f"ended with {done.returncode}: {done.stderr.strip()}"
        return
    result = json.loads(done.stdout)
    row(f"{name} → sockrates serve", f"{result['passed']} demands met, {len(result['problems'])} not")
    yield from result["problems"]
