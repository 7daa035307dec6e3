"""Cases about the machine the client runs on: descriptors, ports, queues, signals, pauses, memory, and odd numbers."""

import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from case import ROOT, SLACK_S, Unmet, balanced, case, demand, read_result, send, shorten, wait_until
from watch import FEW, MEASURED, QUIET, echo, minds, page, settled, sockets

SECTION = "The client's machine"

# Opens connections until no source port is left, and holds them; resets them at its end, so that none stays behind.
HOLDER = """import socket, struct, sys, time
held = []
error = 0
while not error:
    held.append(socket.socket())
    held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    error = held[-1].connect_ex(("127.0.0.1", int(sys.argv[1])))
print(len(held), error, flush=True)
time.sleep(20)"""


@case("F18", "Too few descriptors for the client", injected="`prlimit --nofile=64`, 1,000 connections",
      expected="exit code 7 ahead of any load, with the number it needs", quick=True, section=SECTION)
def client_descriptors(lab):
    server = lab.server()
    for url in (page(server), echo(server)):
        run = lab.run("run", url, "-c", 1000, "-d", "300ms", "-w", 0, *QUIET, prefix=["prlimit", "--nofile=64"])
        run.expect(7, ["--connections", r"1000 need \d+ open files", "limit is 64", r"ulimit -n \d+"], within_s=2)
    usage = server.stop()
    demand(usage["connections_accepted"] == 0, f"{usage['connections_accepted']} connections before the refusal")
    balanced(lab.control("run", page(lab.server()), "-c", 40, *FEW, prefix=["prlimit", "--nofile=200"]).document)
    return run.said


@case("F43", "Too little to begin with", quick=True, section=SECTION,
      injected="every limit of open files from 5 to 24; threads that cannot be made (with strace, where it is there)",
      expected="a good end, or exit code 7 (6 where results are read) that names the limit; never a panic")
def beginnings(lab):
    server = lab.server()
    serve, report = ["serve", "--stop-with-stdin"], ["report", excerpt(lab)]
    attempts = [(f"{limit} open files", ["prlimit", f"--nofile={limit}"], serve) for limit in range(5, 25)]
    attempts += [(f"{limit} open files", ["prlimit", f"--nofile={limit}"], ["run", page(server), *FEW])
                 for limit in range(5, 25, 6)]
    if shutil.which("strace"):
        for which in ("1+", "2+"):
            inject = ["-e", "trace=clone,clone3", "-e", f"inject=clone,clone3:error=EAGAIN:when={which}"]
            prefix = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", *inject]
            verbs = (serve, ["run", page(server), *FEW], report)
            attempts += [(f"no thread from {which}", prefix, verb) for verb in verbs]
    problems, good = [], 0
    for name, prefix, command in attempts:
        try:
            run = lab.run(*command, prefix=prefix, within_s=15)
        except Unmet as unmet:
            problems.append(f"{command[0]}, {name}: {unmet}")
            continue
        good += run.code == 0
        allowed = (0, 6, 7) if command is report else (0, 7)
        if "panicked" in run.err or run.code not in allowed:
            panic = re.search(r"panicked at (?:.*/)?([^/]+/[^/]+:\d+)", run.err)
            problems.append(f"{command[0]}, {name}: {f'panic at {panic[1]}' if panic else run.said} ({run.code})")
        elif run.code and not re.search("open files|thread", run.err):
            problems.append(f"{command[0]}, {name}: names no limit: {run.said}")
    balanced(lab.control("run", page(server), *FEW).document)
    lab.control(*serve)
    lab.control(*report)
    demand(not problems, f"{len(problems)} of {len(attempts)}: " + "; ".join(problems))
    return f"{len(attempts)} attempts, {good} of them good, {len(attempts) - good} refused with the limit"


def excerpt(lab):
    """Copies a run with four of its trials from the reference; returns its folder."""
    reference, run = ROOT / "bench-results/reference", lab.folder / "excerpt"
    (run / "trials").mkdir(parents=True)
    for path in [reference / "run.json", *sorted((reference / "trials").iterdir())[:4]]:
        shutil.copy(path, run / path.relative_to(reference))
    return run


@case("F20", "Too few source ports for the client", injected="a network of its own with 20 ports, 50 connections",
      expected="counted by errno, tried with pauses, named in the trust; exit code 7 when none is left at the start",
      quick=False, section=SECTION)
def source_ports(lab):
    server, inside = narrow(lab)
    balanced(lab.control("run", page(server), "-c", 5, *FEW, prefix=inside).document)
    run = lab.run("run", page(server), "-c", 50, "-d", "1s", "-w", 0, *QUIET, prefix=inside).expect(0, within_s=9)
    result = balanced(run.document)
    [(kind, count)] = result["failures"].items() or [("nothing", 0)]
    demand(kind == "connect_address_not_available", f"the failures are {result['failures']}")
    # 50 connections that try again every 10 ms, with some room.
    demand(count <= 10_000, f"{count} attempts within a second: no pause between them")
    demand(any("ports" in reason for reason in result["trust"]["reasons"]), f"the trust says {result['trust']}")
    holder = lab.program(*inside, sys.executable, "-c", HOLDER, server.port)
    demand(wait_until(lambda: "\n" in holder.out, 10), f"the ports were not used up: {holder.err}")
    none = lab.run("run", page(server), "-c", 5, "-d", "300ms", "-w", 0, *QUIET, prefix=inside)
    none.expect(7, [server.host, "EADDRNOTAVAIL", "ip_local_port_range|fewer|wait"], within_s=8)
    return f"{count} × {kind}, {result['operations']['verified']} verified; none left: {none.said}"


def narrow(lab):
    """Starts a server in a network of its own with 20 ports; returns it, and what runs a command in there."""
    script = 'ip link set lo up && echo 40000 40019 > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"'
    server = lab.server(prefix=["unshare", "--map-root-user", "--net", "sh", "-c", script, "-"])
    return server, ["nsenter", "--target", server.process.pid, "--user", "--preserve-credentials", "--net"]


@case("F21", "A full queue of connections", injected="a listener that accepts nothing, or nothing more",
      expected="exit code 3 in time when nothing is accepted; else connecting times out, and is counted as that",
      quick=False, section=SECTION)
def full_queue(lab):
    options = ["-c", 8, "-d", "2s", "-w", 0, "--timeout", "500ms", *QUIET]
    with Door(accepts=1000) as door:
        balanced(lab.control("run", f"http://{door.host}/", "-c", 8, *FEW).document)
    # The exchange ahead of the load, and two connections of it; more wait in the queue, and then it is full.
    with Door(accepts=3, queue=4) as door:
        run = lab.run("run", f"http://{door.host}/", *options).expect(4, [door.host], within_s=2 + 0.5 + 1 + SLACK_S)
        result = balanced(run.document)
    timed_out = result["failures"].get("connect_timed_out", 0)
    # Eight connections, four times at most in two seconds, and once ahead of them.
    demand(0 < timed_out <= 8 * 5, f"failures: {result['failures']}")
    with Door(accepts=0, queue=0) as door:
        nobody = lab.run("run", f"http://{door.host}/", *options)
        nobody.expect(3, [door.host, "timed out"], within_s=0.5 + SLACK_S)
        demand("accepts the connection" not in nobody.err, f"nobody accepted it: {nobody.said}")
    return f"{timed_out} × connecting timed out; nothing accepted: {nobody.said}"


class Door:
    """A listener that accepts so many connections and answers every request on them."""

    def __init__(self, accepts, queue=64):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=queue)
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.left, self.held = accepts, []

    def __enter__(self):
        if self.left:
            threading.Thread(target=self.accept, daemon=True).start()
        else:
            self.fill()
        return self

    def __exit__(self, *_):
        self.listener.close()
        for one in self.held:
            one.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while self.left:
                self.left -= 1
                self.held.append(self.listener.accept()[0])
                threading.Thread(target=self.answer, args=(self.held[-1],), daemon=True).start()
            self.fill()

    def answer(self, connection):
        with contextlib.suppress(OSError):
            while connection.recv(4096):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def fill(self):
        """Fills the queue, so that the kernel drops what comes then."""
        for _ in range(8):
            self.held.append(one := socket.socket())
            one.setblocking(False)
            one.connect_ex(self.listener.getsockname())


@case("F22", "A signal ends `run`", quick=False, section=SECTION,
      injected="SIGINT, SIGTERM, SIGHUP; SIGINT before the load, and twice while the server stands still",
      expected="what was measured, marked as partial, with 130, 143 or 129; at once the second time; never half a file")
def signals(lab):
    server = lab.server()
    seen = []
    for name, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        path = lab.folder / f"{code}.json"
        started = loaded(lab, server, "-d", "10s", "-o", path)
        send(started.process, name)
        at = time.monotonic()
        run = started.finish().expect(code, "interrupted: .*partial")
        demand(time.monotonic() - at < 3, "the server answers, and the end took 3 s")
        result = balanced(read_result(path))
        demand(result["status"] == "partial" and result["operations"]["verified"], f"{result['operations']}")
        seen.append(f"{name.name}: {run.code}, {result['operations']['verified']} kept")
    early = lab.start("run", page(server), "-d", "10s", *QUIET)
    wait_until(lambda: minds(early.process.pid, signal.SIGINT), 5)
    send(early.process, signal.SIGINT)
    early.finish(5).expect(130, "interrupted")
    seen += twice(lab, server)
    balanced(lab.control("run", page(server), *FEW).document)
    return "; ".join(seen)


def twice(lab, server):
    """The first signal waits for what is under way, the second does not."""
    started = loaded(lab, server, "-d", "10s", "-o", lab.folder / "twice.json")
    server.process.send_signal(signal.SIGSTOP)
    send(started.process, signal.SIGINT)
    is_over = wait_until(lambda: started.process.poll() is not None, 0.5)
    demand(not is_over, "the first signal ended it at once, with exchanges under way")
    send(started.process, signal.SIGINT)
    at = time.monotonic()
    started.finish().expect(130)
    took = time.monotonic() - at
    server.process.send_signal(signal.SIGCONT)
    demand(took < 1, f"the second signal took {took:.1f} s")
    read_result(lab.folder / "twice.json")
    return ["twice: at once"]


def loaded(lab, server, *options):
    """Starts a load, and waits until its connections are open."""
    idle = settled(server)
    started = lab.start("run", page(server), "-c", 20, "-w", 0, *QUIET, *options)
    demand(wait_until(lambda: sockets(server) >= idle + 20, 8), f"the load did not begin: {started.err}")
    time.sleep(0.3)
    return started


@case("F28", "The client stands still, or starves", quick=False, section=SECTION,
      injected="SIGSTOP for 1 s; four busy loops on the client's only CPU",
      expected="the lag is in the response times, and the result says that it is doubtful, and why")
def paused(lab):
    server = lab.server()
    rate = ["-r", "500", "-d", "2s"]
    # A machine that is busy with something else is another fault: it has three attempts.
    lags = (lag(balanced(loaded(lab, server, *rate).finish().expect(0).document)) for _ in range(3))
    demand(any(each < 0.5 for each in lags), "without the fault, the generator was over 0.5 s late, three times")
    started = loaded(lab, server, *rate)
    send(started.process, signal.SIGSTOP)
    time.sleep(1)
    send(started.process, signal.SIGCONT)
    stopped = balanced(started.finish(12).expect(0).document)
    demand(longest(stopped) > 0.9, f"the longest response time is {longest(stopped):.2f} s")
    demand(lag(stopped) > 0.5, f"the p99 lag is {lag(stopped):.2f} s")
    doubtful(stopped, {"hiccup", "late_schedule"}, ["stood still", "late"])
    cpu = min(os.sched_getaffinity(0))
    hogs = [lab.program(sys.executable, "-c", "while True: pass", preexec=lambda: os.sched_setaffinity(0, {cpu}))
            for _ in range(4)]
    busy = ["run", page(server), "-c", 20, "-d", "2s", "-w", 0, *QUIET]
    starved = lab.run(*busy, prefix=["taskset", "--cpu-list", cpu], within_s=40).expect(0)
    for hog in hogs:
        hog.process.kill()
    starved = balanced(starved.document)
    doubtful(starved, {"queued"}, ["wait for its CPU"])
    share = starved["health"]["client_busy_share"]
    return f"stopped: {lag(stopped):.2f} s late (p99); starved: {share:.0%} of a CPU; both doubtful"


def doubtful(result, flags, words):
    """Demands that a result says that it is doubtful, and why."""
    trust, found = result["trust"], set(result["health"]["flags"])
    demand(flags <= found, f"flags: {sorted(found)}")
    said = "; ".join(trust["reasons"])
    demand(trust["level"] == "doubtful" and all(word in said for word in words), f"trust: {trust}")


def longest(result):
    return result["times"]["response_time"]["max_ns"] / 1e9


def lag(result):
    return (result["health"]["schedule_lag_p99_ns"] or 0) / 1e9


# What is measured of nothing, or next to nothing; the exit code, and what stderr says when it is not 0.
NOTHING = [
    (["-d", "0"], 2, "--duration.*0"),
    (["-r", "0"], 2, "--rate.*above 0"),
    (["-n", "0"], 2, "--operations.*1 to"),
    (["-r", "0.001", "-d", "200ms", "-w", "0"], 4, "no operation was verified"),
    (["-n", "1"], 0, ""),
    (["-n", "1", "-c", "1", "-r", "1k"], 0, ""),
    (["-d", "200ms", "-w", "600ms"], None, "no operation was verified"),
]


@case("F29", "Too few operations, or none", quick=False, section=SECTION,
      injected="durations and rates of 0, one request, a warm-up longer than the run",
      expected="refused; or percentiles that are null, not 0, and no number that is none")
def nothing(lab):
    server = lab.server()
    problems = []
    for flags, code, says in NOTHING:
        for output in (["--json"], ["--format", "csv"], []):
            run = lab.run("run", page(server), *flags, "--quiet", *output)
            # A machine that is busy with something else may leave nothing for so short a time.
            expected = code if code is not None else 4 * (run.code != 0)
            run.expect(expected, says if expected else ())
            if re.search(r"\b(nan|inf)\b|-\d+(\.\d+)? ?[nµm]?s\b", run.out, re.IGNORECASE):
                problems.append(f"{' '.join(flags)} says {shorten(run.out)}")
            if expected != 2 and output == ["--json"]:
                few(balanced(run.document) if run.code == 0 else run.document, flags)
    demand(not problems, "; ".join(problems))
    return "7 requests for little or nothing, in three formats: no percentile of fewer than ten samples"


def few(result, flags):
    """Demands that no percentile is told that fewer than ten samples lie beyond."""
    for name, times in result["times"].items():
        for each in times["percentiles"]:
            beyond = times["count"] * (100 - each["percentile"]) / 100
            is_supported = each["ns"] is None or beyond >= 9.999
            demand(is_supported, f"{flags}: p{each['percentile']:g} of {times['count']} {name}")


# Numbers that nobody means, and the flag that the message must name, with what is allowed.
ODD = [
    ("run", ["-r", str(2**64 - 1)], "--rate"),
    ("run", ["-r", "-5"], "--rate"),
    ("run", ["-r", "inf"], "--rate"),
    ("run", ["-r", "nan"], "--rate"),
    ("run", ["-c", "0"], "--connections"),
    ("run", ["-c", "1000000000"], "--connections"),
    ("run", ["-c", "-1"], "--connections"),
    ("run", ["-c", "1e3"], "--connections"),
    ("run", ["-d", "1000000000000000000"], "--duration"),
    ("run", ["-d", "1e18"], "--duration"),
    ("run", ["-d", "-1s"], "--duration"),
    ("run", ["-w", "1000000000000s"], "--warmup"),
    ("run", ["--ramp", "9999999999999s"], "--ramp"),
    ("run", ["-n", str(2**64 - 1)], "--operations"),
    ("run", ["-r", "10m", "-d", "1h"], "--rate"),
    ("run", ["--timeout", "0"], "--timeout"),
    ("run", ["-t", "0"], "--threads"),
    ("run", ["-t", "100000"], "--threads"),
    ("run", ["--repeat", "0"], "--repeat"),
    ("run", ["--repeat", str(2**64 - 1)], "--repeat"),
    ("run", ["--percentiles", "101"], "--percentiles"),
    ("run", ["--percentiles", "nan"], "--percentiles"),
    ("ws", ["--message-size", str(2**63)], "--message-size"),
    ("ws", ["--message-size", str(2**31)], "--message-size"),
    ("ws", ["--message-size", "-1"], "--message-size"),
    ("bench", ["--blocks", "0"], "--blocks"),
    ("bench", ["--blocks", str(2**32)], "--blocks"),
    ("bench", ["--seed", "-1"], "--seed"),
    ("bench", ["--seed", str(2**64)], "--seed"),
    ("serve", ["--workers", str(2**64)], "--workers"),
    ("serve", ["--workers", "1000000"], "--workers"),
    ("serve", ["--max-connections", str(2**64)], "--max-connections"),
    ("serve", ["--header-timeout", "nan"], "--header-timeout"),
    ("serve", ["--idle-timeout", "1e300"], "--idle-timeout"),
    ("serve", ["--events-per-second", "-1"], "--events-per-second"),
    ("serve", ["--max-message-bytes", str(2**64 - 1)], "--max-message-bytes"),
    ("serve", ["--stall", f"1:{2**63}"], "--stall"),
    ("serve", ["--delay", f"http1={2**64 - 1}"], "--delay"),
]

# A message that says what would be right.
REMEDY = re.compile(r"\d+ to \d|\d\.\.|up to|above 0|below \d|not in \d|as in|at most|there are|is 0|use ")


@case("F30", "Numbers that nobody means", quick=True, section=SECTION,
      injected="zero, negative, beyond 64 bits, NaN, 10¹⁸ s, in flags that are numbers",
      expected="exit code 2, the flag and what it may be; no panic, no wrap, no allocation")
def odd_numbers(lab):
    server = lab.server()
    problems = []
    for verb, flags, name in ODD:
        command = {"run": ["run", page(server)], "ws": ["run", echo(server)]}.get(verb, [verb])
        try:
            run = lab.run(*command, *flags, within_s=8).expect(2, within_s=4)
            demand(name in run.err, f"the message does not name {name}: {run.err.splitlines()[0]}")
            demand(REMEDY.search(run.err), f"the message does not say what is allowed: {run.err.splitlines()[0]}")
        except Unmet as unmet:
            problems.append(f"{verb} {' '.join(flags)}: {unmet}")
    for flags in (["-r", "1e3"], ["-r", "0.5k"], ["-c", "0.1k"]):
        balanced(lab.control("run", page(server), *flags, *FEW).document)
    demand(not problems, f"{len(problems)} of {len(ODD)}: " + "; ".join(problems))
    return f"{len(ODD)} refused, each with what is allowed; 1e3 and 0.5k understood"


@case("F34", "Little memory", quick=False, section=SECTION,
      injected="a control group of 64 MiB, and 512 MiB of address space; 1,000 connections", expected="the load fits")
def little_memory(lab):
    server = lab.server()
    options = ["-c", 1000, "-d", "1s", "-w", 0, *QUIET]
    path = lab.folder / "peak"
    seen = []
    for url in (page(server), echo(server)):
        prefix = ["prlimit", f"--as={512 << 20}", sys.executable, "-c", MEASURED, path]
        balanced(lab.run("run", url, *options, prefix=prefix).expect(0).document)
        peak = int(path.read_text()) / 1024
        demand(peak < 64, f"1,000 connections took {peak:.0f} MiB")
        seen.append(f"{peak:.0f} MiB")
    with memory_group(64 << 20) as join:
        if join:
            balanced(lab.run("run", page(server), *options, preexec=join).expect(0).document)
        seen.append("within a group of 64 MiB" if join else "no group of processes can be made here")
    usage = server.stop()["process"]["peak_memory_bytes"] / (1 << 20)
    demand(usage < 64, f"the server took {usage:.0f} MiB")
    return f"{', '.join(seen)}; the server {usage:.0f} MiB"


@contextlib.contextmanager
def memory_group(limit):
    """A control group with a memory limit, version 1 or 2; yields what makes a process join it, or None."""
    group, made = None, None
    for base, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        try:
            group = Path(base) / f"sockrates-faults-{os.getpid()}"
            group.mkdir()
            made = group
            (group / name).write_text(str(limit))
            break
        except OSError:
            if made:
                made.rmdir()
            group = made = None
    try:
        yield (lambda: (group / "cgroup.procs").write_text(str(os.getpid()))) if group else None
    finally:
        if group:
            wait_until(lambda: not (group / "cgroup.procs").read_text(), 5)
            group.rmdir()


# These register cases of their own.
import results  # noqa: E402, F401
import serving  # noqa: E402, F401
