"""The same server, as wrk, h2load and `sockrates run` see it.

Each request costs the server far more than it costs any of the clients, so that all of them must find the same rate.
Server and clients have a CPU each; the clients take turns.
"""

import json
import os
import re
import resource
import statistics
import subprocess
import time
from pathlib import Path

from common import BOUND_SECONDS, SOCKRATES, row, serving, target

BURN_NS = 50_000
CONNECTIONS = 10
WARM_UP_SECONDS = 1
PATH = "/payload?bytes=64"
# How far rates may lie apart.
MARGIN = 0.10
# A server that runs, or waits for its CPU while others do, for less of the time than this is not the limit.
SERVER_BUSY = 0.85


def check(arguments):
    server_cpu, client_cpu = sorted(os.sched_getaffinity(0))[1::-1]
    rounds = []
    command = ["taskset", "-c", server_cpu, *target("--burn", f"http1={BURN_NS}", "--cpus", server_cpu)]
    with serving(command) as (server, host):
        row(f"{BURN_NS // 1000} µs a request, {CONNECTIONS} connections, median of {arguments.rounds} rounds")
        for number in range(arguments.rounds):
            turn = number % len(CLIENTS)
            order = [*CLIENTS][turn:] + [*CLIENTS][:turn]
            rounds.append({name: measure(name, f"http://{host}{PATH}", client_cpu, server, arguments.seconds)
                           for name in order})
    median = {name: {part: statistics.median(one[name][part] for one in rounds) for part in rounds[0][name]}
              for name in CLIENTS}
    for name, found in median.items():
        rates = [one[name]["rate"] for one in rounds]
        ratios = [one["sockrates run"]["rate"] / one[name]["rate"] for one in rounds]
        ratio = statistics.median(ratios)
        row(name, f"{found['rate']:7.0f}/s ({min(rates):.0f} to {max(rates):.0f}),",
            f"sockrates / this {ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f}),",
            f"server busy {found['server']:.0%}, client {found['client']:.0%}:",
            f"{found['client'] / found['rate'] * 1e6:.1f} µs a request", widths=(14,))
        if abs(ratio - 1) > MARGIN:
            yield f"peers: sockrates run and {name} lie {ratio - 1:+.1%} apart, more than {MARGIN:.0%}"
        if found["server"] < SERVER_BUSY:
            yield f"peers: under {name} the server was busy for {found['server']:.0%} only, and so not the limit"


def measure(name, url, cpu, server, seconds):
    """Returns the rate, and how busy server and client were, the warm-up included."""
    command, rate = CLIENTS[name]
    before = time.monotonic(), wanted_seconds(server.pid), children_seconds()
    line = ["taskset", "-c", cpu, *command(url, seconds)]
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True, timeout=BOUND_SECONDS)
    after = time.monotonic(), wanted_seconds(server.pid), children_seconds()
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr}{done.stdout}")
    wall, server_seconds, client_seconds = (later - earlier for later, earlier in zip(after, before))
    return {"rate": rate(done.stdout), "server": server_seconds / wall, "client": client_seconds / wall}


def wanted_seconds(pid):
    """Returns how long the threads of a process have run or waited for a CPU."""
    stats = [Path(task, "schedstat").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(running) + int(waiting) for running, waiting, _ in stats) / 1e9


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wrk(url, seconds):
    # It has no warm-up; what it measures is long against opening the connections.
    return ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds + WARM_UP_SECONDS}s", url]


def wrk_rate(output):
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk had failures:\n{output}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))


def h2load(url, seconds):
    return ["h2load", "--h1", "-t1", f"-c{CONNECTIONS}", f"--duration={seconds}", f"--warm-up-time={WARM_UP_SECONDS}",
            url]


def h2load_rate(output):
    failed, errored, timeouts = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output).groups()
    if int(failed) or int(errored) or int(timeouts):
        raise RuntimeError(f"h2load had failures:\n{output}")
    return float(re.search(r"finished in [\d.]+\w*, ([\d.]+) req/s", output).group(1))


def sockrates(url, seconds):
    return [SOCKRATES, "run", url, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"-w{WARM_UP_SECONDS}s", "--quiet",
            "--json"]


def sockrates_rate(output):
    result = json.loads(output)
    operations = result["operations"]
    if operations["failed"] or operations["unfinished"]:
        raise RuntimeError(f"sockrates run had failures: {operations}")
    return result["throughput_per_second"]


CLIENTS = {"wrk": (wrk, wrk_rate), "h2load": (h2load, h2load_rate), "sockrates run": (sockrates, sockrates_rate)}
