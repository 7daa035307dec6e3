"""A server that waits 5 ms before each reply, as every lane sees it: 5 ms more than without.

A virtual CPU that sleeps takes a tenth of a millisecond or more to wake up, which is the machine's doing and not the
instrument's: while the server waits, CPUs are kept awake by processes that run only when no other wants to.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager

from common import BOUND_SECONDS, CHECKS, SOCKRATES, row

DELAY_NS = 5_000_000
MARGIN = 0.02
SPIN = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile os.getppid() == {parent}: pass"


def check(arguments):
    floors, delayed = {}, {}
    delays = f"--serve-with=--delay http1={DELAY_NS},websocket={DELAY_NS},tcp={DELAY_NS}"
    with awake():
        for block in range(arguments.rounds):
            # Every other block the other way round, so that a drift of the machine favours nobody.
            for kind, flags in [(floors, []), (delayed, [delays])][:: 1 if block % 2 == 0 else -1]:
                for lane, p50 in bench(block, flags).items():
                    kind.setdefault(lane, []).append(p50)
    widths = (26, 10, 10, 15)
    row("p50 of the service time", "    floor", "with 5 ms", "     difference",
        f"error (median of {arguments.rounds} blocks)", widths=widths)
    for lane in sorted(floors):
        pairs = list(zip(floors[lane], delayed.get(lane, [])))
        if len(pairs) < arguments.rounds:
            yield f"delay: {lane} was measured in {len(pairs)} of {arguments.rounds} blocks"
            continue
        errors = [(late - floor - DELAY_NS) / (DELAY_NS + floor) for floor, late in pairs]
        floor, late = (statistics.median(values) for values in zip(*pairs))
        error = statistics.median(errors)
        row(lane, f"{floor / 1e6:7.3f} ms", f"{late / 1e6:7.3f} ms", f"{(late - floor) / 1e6:12.3f} ms",
            f"{error:+.2%} ({min(errors):+.2%} to {max(errors):+.2%})", widths=widths)
        if abs(error) > MARGIN:
            yield f"delay: {lane} finds {error:+.2%} of 5 ms and the floor, more than {MARGIN:.0%}"


@contextmanager
def awake():
    """Keeps all CPUs from sleeping."""
    spin = SPIN.format(parent=os.getpid())
    spinning = [subprocess.Popen(["taskset", "-c", str(cpu), sys.executable, "-c", spin])
                for cpu in sorted(os.sched_getaffinity(0))]
    try:
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


def bench(block, flags):
    """Measures every lane once; returns its median."""
    with tempfile.TemporaryDirectory() as results:
        command = [SOCKRATES, "bench", CHECKS / "delay.toml", "--blocks", "1", "--seed", block + 1, "--quiet", "--json",
                   "--results", results, *flags]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=BOUND_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"sockrates bench ended with {done.returncode}: {done.stderr}")
    cells = json.loads(done.stdout)["cells"]
    found = {cell["lane"]: cell["metrics"]["service_time_p50"]["value"] for cell in cells}
    return {lane: p50 for lane, p50 in found.items() if p50 is not None}
