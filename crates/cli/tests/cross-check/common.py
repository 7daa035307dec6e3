"""What the parts of scripts/cross-check share."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
SOCKRATES = ROOT / "target/release/sockrates"
CHECKS = Path(__file__).resolve().parent
TARGETS = ROOT / "crates/cli/tests/targets"
# Shared with scripts/foreign-targets: the same libraries.
INSTALLED = ROOT / "target/foreign-targets"
# Nothing that is started here takes so long.
BOUND_SECONDS = 300


@contextmanager
def serving(command):
    """Runs a server that says in one line of JSON when it is ready; gives it and its address."""
    server = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    try:
        yield server, json.loads(server.stdout.readline())["http"]
    finally:
        server.terminate()
        server.communicate(timeout=BOUND_SECONDS)


def target(*flags):
    """The command line of our server."""
    return [SOCKRATES, "serve", *flags]


def run(*arguments, prefix=()):
    """Measures with `sockrates run`; returns its exit code, the result or None, and the complaint."""
    command = [*prefix, SOCKRATES, "run", *arguments, "--json", "--quiet"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=BOUND_SECONDS)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.strip()


def row(*columns, widths=(34,)):
    """Prints a row at once: measuring takes its time."""
    widths = [*widths, *[0] * (len(columns) - len(widths))]
    print("  " + " ".join(f"{column:{width}}" for column, width in zip(columns, widths)), flush=True)


def warn(text):
    print(f"cross-check: {text}", file=sys.stderr, flush=True)
