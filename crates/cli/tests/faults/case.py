"""What a case of the fault table is made of: its registration, its laboratory, and the demands every run must meet.

A case is a function of a `Lab`. It makes the run it is about, with the fault and without it, and returns one short line
about what was seen. A `Lab` starts processes, bounds their time, and looks that they leave nothing behind.
"""

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[4]
SOCKRATES = ROOT / "target/release/sockrates"
SCHEMA = ROOT / "crates/core/schema/run-result.v1.json"

# The longest a process may take that is asked to start or to end.
PATIENCE_S = 30
# What a run may take beyond its duration and its drain.
SLACK_S = 2


class Unmet(Exception):
    """A demand of a case was not met; the text says what was seen."""


class Late(Unmet):
    """A run took longer than it may, which a busy machine does to it, too."""


def demand(condition, message):
    if not condition:
        raise Unmet(message)


@dataclass
class Case:
    """One row of the table."""

    number: str
    name: str
    injected: str
    expected: str
    quick: bool
    section: str
    function: Callable


CASES = []


def case(number, name, *, injected, expected, quick, section):
    """Registers a function of a lab that returns what was seen."""

    def register(function):
        known = [other.number for other in CASES]
        assert number not in known, f"{number} is there twice"
        CASES.append(Case(number, name, injected, expected, quick, section, function))
        return function

    return register


class Lab:
    """Where one case works: a fresh folder, and processes that end with it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sockrates-fault-"))
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            end(process)
        for folder in [self.folder, *self.folder.glob("**/")]:
            if not folder.is_symlink():
                folder.chmod(0o700)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *arguments, within_s=20, env=None, prefix=(), cwd=None, preexec=None, stdout=None):
        """Runs `sockrates ARGUMENTS` to its end."""
        started = self.start(*arguments, env=env, prefix=prefix, cwd=cwd, preexec=preexec, stdout=stdout)
        return started.finish(within_s)

    def start(self, *arguments, env=None, prefix=(), cwd=None, preexec=None, stdout=None):
        """Starts `sockrates ARGUMENTS`, in a session of its own, with its output in files."""
        command = [*map(str, prefix), str(SOCKRATES), *map(str, arguments)]
        return Started(self, command, env=env, cwd=cwd, preexec=preexec, stdout=stdout)

    def program(self, *command, env=None, cwd=None, preexec=None, stdout=None):
        """Starts any other program in the same way."""
        return Started(self, [*map(str, command)], env=env, cwd=cwd, preexec=preexec, stdout=stdout)

    def server(self, *arguments, prefix=(), env=None):
        """Starts `sockrates serve ARGUMENTS` and waits until it is ready."""
        return Server(self.start("serve", *arguments, prefix=prefix, env=env))

    def control(self, *arguments, **options):
        """Makes the run of a case without its fault; it must be good."""
        run = self.run(*arguments, **options)
        demand(run.code == 0, f"without the fault: exit code {run.code}: {run.said}")
        return run


class Started:
    """A process that was started."""

    def __init__(self, lab, command, *, env, cwd, preexec, stdout):
        self.lab, self.command = lab, command
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.process = spawn(
            command, stdin=subprocess.DEVNULL, stdout=self._out if stdout is None else stdout, stderr=self._err,
            env={**os.environ, **(env or {})}, cwd=cwd or lab.folder, preexec_fn=preexec, start_new_session=True)
        self._at = time.monotonic()
        lab.processes.append(self.process)

    @property
    def out(self):
        return text_of(self._out)

    @property
    def err(self):
        return text_of(self._err)

    def finish(self, within_s=20):
        """Waits for the end and returns the run; a hang is a demand that was not met."""
        pid = self.process.pid
        try:
            code = self.process.wait(max(0, within_s - (time.monotonic() - self._at)))
        except subprocess.TimeoutExpired:
            end(self.process)
            raise Unmet(f"did not end within {within_s:g} s; stderr: {tail(self.err)}") from None
        seconds = time.monotonic() - self._at
        if code >= 0:
            self._leaves_nothing(pid)
        return Run(self.command, code, self.out, self.err, seconds)

    def _leaves_nothing(self, session):
        """Demands that no process of its session and no half-written file remains."""
        left = wait_until(lambda: not members(session), 1)
        demand(left, f"left processes behind: {members(session)}")
        parts = [path.name for path in self.lab.folder.rglob("*.part")]
        demand(not parts, f"left temporary files behind: {parts}")


class Server:
    """A `sockrates serve` that is ready."""

    def __init__(self, started):
        self.started, self.process = started, started.process
        wait_until(lambda: "\n" in started.out or self.process.poll() is not None, PATIENCE_S)
        demand("\n" in started.out, f"the server did not become ready: {tail(started.err)}")
        self.ready = json.loads(started.out.splitlines()[0])
        self.host = self.ready["http"]
        self.port = int(self.host.rpartition(":")[2])

    def stop(self):
        """Ends the server and returns its usage report."""
        send(self.process, signal.SIGCONT)
        send(self.process, signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Unmet(f"the server did not stop within {PATIENCE_S} s of SIGTERM") from None
        lines = self.started.out.splitlines()
        demand(code == 0 and len(lines) == 2, f"the server ended with {code}: {tail(self.started.err)}")
        return json.loads(lines[1])


@dataclass
class Run:
    """A process that has ended."""

    command: list
    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self):
        """What stdout says, parsed; None when it is no JSON document."""
        try:
            return parse(self.out)
        except ValueError:
            return None

    @property
    def said(self):
        """The last line of stderr."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return shorten(lines[-1] if lines else "(nothing on stderr)")

    def expect(self, code, says=(), within_s=None):
        """Demands an exit code, texts in stderr, an end in time, and no panic; a failure must say why."""
        demand("panicked at" not in self.err and self.code != 101, f"panic: {tail(self.err)}")
        demand(self.code == code, f"exit code {self.code} instead of {code}: {self.said}")
        demand(code in (0, -9) or self.err.strip(), f"exit code {code} without a word on stderr")
        for text in [says] if isinstance(says, str) else says:
            demand(re.search(text, self.err), f"stderr lacks `{text}`: {tail(self.err)}")
        if within_s is not None and self.seconds > within_s:
            raise Late(f"took {self.seconds:.1f} s, {within_s:g} s are allowed")
        return self


def read_result(path):
    """Reads a result file: None when it is absent; half a file, or one that says a number that is none, is Unmet."""
    if not Path(path).exists():
        return None
    try:
        return parse(Path(path).read_text())
    except ValueError as error:
        raise Unmet(f"{Path(path).name} is no complete JSON document: {error}") from None


def balanced(result):
    """Demands that the numbers of a run result agree with each other; returns it."""
    demand(isinstance(result, dict) and result.get("schema") == "sockrates-run-result", "stdout holds no run result")
    missing = [name for name in json.loads(SCHEMA.read_text())["required"] if name not in result]
    demand(not missing, f"the result lacks {missing}")
    demand(result["status"] in ("complete", "partial"), f"status `{result['status']}`")
    for path, number in numbers(result):
        demand(math.isfinite(number) and number >= 0, f"{path} is {number}")
    books, failures = result["operations"], result["failures"]
    issued, verified, failed, unfinished = (books[name] for name in ("issued", "verified", "failed", "unfinished"))
    demand(issued == verified + failed + unfinished, f"issued ≠ verified + failed + unfinished: {books}")
    demand(sum(failures.values()) == failed, f"failures {failures} are not {failed} in all")
    demand(0 not in failures.values(), f"a failure that did not occur is counted: {failures}")
    demand((books.get("oldest_unfinished_ns") is None) == (unfinished == 0), f"an age of nothing, or none: {books}")
    _times_agree(result, verified)
    _answers_agree(result, verified)
    _rate_agrees(result, verified)
    trust = result["trust"]
    demand((trust["level"] == "none") == (verified == 0), f"{verified} verified, trust `{trust['level']}`")
    demand(trust["level"] == "good" or trust["reasons"], f"trust `{trust['level']}` without a reason")
    return result


def _times_agree(result, verified):
    times = result["times"]
    for name in ("service_time", "response_time", "exchange"):
        count = times.get(name, {"count": None})["count"]
        is_kept = name == "exchange" and result["lifecycle"] == "persistent"
        # A connection that had to be opened for an operation leaves it without a time of the exchange alone.
        demand(count is None or count == verified or is_kept and count <= verified,
               f"{name} has {count} times, {verified} are verified")
    for name, summary in times.items():
        values = [each["ns"] for each in summary["percentiles"] if each["ns"] is not None]
        demand(values == sorted(values), f"the percentiles of {name} fall: {values}")
        # A bucket of the histogram is at most 1/1000 wide.
        in_range = all(summary["min_ns"] * 0.999 <= value <= summary["max_ns"] * 1.001 for value in values)
        demand(in_range, f"percentiles of {name} are not between its smallest and its largest")
        mean, least, most = summary["mean_ns"], summary["min_ns"], summary["max_ns"]
        demand(summary["count"] == 0 or least * 0.999 <= mean <= most * 1.001, f"the mean of {name} is {mean}")


def _answers_agree(result, verified):
    if result["transport"] != "http1":
        return
    statuses = result["answers"]["statuses"]
    replies = sum(statuses.values())
    demand(verified <= replies <= result["operations"]["issued"], f"{verified} verified, replies {statuses}")
    refused = result["failures"].get("bad_status", 0)
    demand(replies >= verified + refused, f"{verified} verified, {refused} refused, replies {statuses}")


def _rate_agrees(result, verified):
    rate = result["throughput_per_second"]
    if result["trials"] != 1:
        return
    demand((not rate) == (verified == 0), f"{verified} verified at {rate} a second")


def agrees(result, usage):
    """Demands that a server's usage report counts the operations of a run and its first exchange, give or take those
    that had not ended; returns how many it counted."""
    asked, done = result["network"]["operations"] + 1, usage["operations"]
    in_flight = result["connections"] + result["operations"]["unfinished"] + result["operations"]["failed"]
    demand(abs(asked - done) <= in_flight, f"the client counts {asked} operations, the server {done}")
    return done


def free_port():
    """Returns a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, within_s):
    """Asks again and again; returns what the condition said last."""
    deadline = time.monotonic() + within_s
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds


def perform(one, tries=2):
    """Runs a case; returns what was seen, what was not met (or None), and the seconds it took.

    What is late is so only if it is late twice.
    """
    before = time.monotonic()
    try:
        with Lab() as lab:
            seen, problem = one.function(lab), None
    except Unmet as unmet:
        if isinstance(unmet, Late) and tries > 1:
            return perform(one, tries - 1)
        seen = problem = str(unmet)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, subprocess.SubprocessError) as error:
        seen = problem = f"{type(error).__name__}: {error}"
    return seen, problem, time.monotonic() - before


def spawn(command, **options):
    """Starts a process; waits a little for a binary that is just being written anew."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return subprocess.Popen(command, **options)
        except (FileNotFoundError, PermissionError, OSError) as error:
            is_ours = str(SOCKRATES) in command
            if not is_ours or time.monotonic() > deadline:
                raise Unmet(f"cannot start {command[0]}: {error}") from None
            time.sleep(0.2)


def end(process):
    """Kills a process and all of its session."""
    for pid in {process.pid, *members(process.pid)}:
        if pid != process.pid or process.poll() is None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    process.wait(PATIENCE_S)


def send(process, number):
    """Sends a signal to a process that may have ended."""
    if process.poll() is None:
        process.send_signal(number)


def members(session):
    """Returns the processes of a session that are not dead."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(folder.name))
    return found


def parse(text):
    """Parses JSON strictly: NaN and infinity are no numbers, and no name stands twice."""
    return json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)


def _no_number(name):
    raise ValueError(f"{name} is no number of JSON")


def _once(pairs):
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError(f"a name stands twice among {[name for name, _ in pairs]}")
    return dict(pairs)


def numbers(value, path=""):
    """Yields all numbers of a document with their places, but for differences from a baseline: they may be negative."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if path or name != "baseline":
                yield from numbers(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from numbers(inner, f"{path}[{index}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


def text_of(file):
    """Reads a file that another process may still be writing."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="replace")


def tail(text):
    """The end of a longer text, on one line."""
    line = " / ".join(part.strip() for part in text.splitlines() if part.strip())
    return line if len(line) <= 300 else "…" + line[-300:]


def shorten(line, limit=220):
    """A line of bounded length, cut between words."""
    return line if len(line) <= limit else line[:limit].rsplit(" ", 1)[0] + " …"
