"""Load generators under the same faults of the network: how they end, and what they claim, in their own words."""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass

from case import ROOT, SOCKRATES, Lab, free_port
from servers import Faulty

# They are asked for two seconds; a tool that has not ended after ten never will.
ASKED_S, PATIENCE_S = 2, 10
CONNECTIONS = 5


@dataclass
class Tool:
    """A load generator: how it is called, and which lines of its output are its claims."""

    name: str
    path: str
    version: str
    arguments: list
    claims: list


@dataclass
class Fault:
    """A fault of a case that is given to all."""

    injected: str
    server: str
    options: dict


@dataclass
class Heard:
    """What the tools said about one fault, in the order of the tools."""

    number: str
    injected: str
    said: list


FAULTS = {
    "F1": [Fault("port closed", None, {})],
    "F3": [Fault("garbage", "garbage", {})],
    "F5": [Fault("never answers", "never-answers", {})],
    "F10": [Fault("RST on accepting", "reset-on-accept", {})],
    "F6": [Fault("dies after 2000 answers", "dies", {"after": 2000})],
    "F8": [Fault("stalls after 2000 answers", "stalls", {"after": 2000})],
    "F11": [Fault("FIN after each answer", "fin-after-each", {})],
    "F12": [Fault("10 of 100 bytes, FIN", "short", {}), Fault("chunk cut, FIN", "chunk-cut", {}),
            Fault("body beyond its length", "longer", {})],
    "F13": [Fault("all 500", "500", {}), Fault("one in a hundred 500", "500", {"every": 100})],
    "F14": [Fault("a page of HTML for every tenth answer", "html", {"every": 10})],
}

OURS = ["run", "-c", CONNECTIONS, "-d", f"{ASKED_S}s", "-w", "0", "--expect-body", "", "--quiet"]
WRK = ["-t", "1", "-c", CONNECTIONS, "-d", f"{ASKED_S}s"]
H2LOAD = ["--h1", "-t", "1", "-c", CONNECTIONS, "-D", ASKED_S]
HEY = ["-c", CONNECTIONS, "-z", f"{ASKED_S}s"]
OHA = ["--no-tui", "-c", CONNECTIONS, "-z", f"{ASKED_S}s"]

# Patterns of whole claims, in the order of the tool's output.
KNOWN = {
    "sockrates": (["--version"], OURS, [r"\d+ verified, \d+ failed", r"sockrates: .*"]),
    "wrk": (["-v"], WRK, [r"\d+ requests in [\d.]+\w+", r"Socket errors: .*", r"Non-2xx or 3xx responses: \d+",
                          r"Requests/sec: *[\d.]+"]),
    "h2load": (["--version"], H2LOAD, [r"finished in .*?req/s", r"requests: .*", r"status codes: .*"]),
    "hey": ([], HEY, [r"Requests/sec:\s*[\d.]+", r"\[\d{3}\]\s+\d+ responses", r"\[\d+\]\t\w+ .*"]),
    "oha": (["--version"], OHA, [r"Success rate:\s*[\w.]+%?", r"Requests/sec:\s*[\w.]+", r"\[\d{3}\] \d+ responses",
                                 r"\[\d+\] [A-Za-z].*"]),
}


def find():
    """Returns the tools that are here, sockrates first."""
    places = str(ROOT / "target/peers/bin")
    found = []
    for name, (version, arguments, claims) in KNOWN.items():
        path = str(SOCKRATES) if name == "sockrates" else shutil.which(name) or shutil.which(name, path=places)
        if path:
            found.append(Tool(name, path, version_of(name, path, version), [*map(str, arguments)], claims))
    return found


def version_of(name, path, arguments):
    """Asks a tool for its version, and Debian for that of a tool that does not know."""
    number = r"\d+\.\d+[\w.+~-]*"
    if arguments:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
        said = re.search(number, done.stdout + done.stderr)
    else:
        dpkg = shutil.which("dpkg-query")
        done = dpkg and subprocess.run([dpkg, "-W", "-f", "${Version}", name], capture_output=True, text=True)
        said = done and re.match(number, done.stdout)
    return said.group() if said else "unknown"


def drive(one, fault, tools):
    """Gives a fault to all tools, each with a server of its own."""
    return Heard(one.number, fault.injected, [hear(fault, tool) for tool in tools])


def hear(fault, tool):
    with Lab() as lab:
        server = fault.server and Faulty(lab, fault.server, **fault.options)
        host = server.host if server else f"127.0.0.1:{free_port()}"
        started = lab.program(tool.path, *tool.arguments, f"http://{host}/")
        before = time.monotonic()
        try:
            code = started.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return f"had not ended after {PATIENCE_S} s"
        seconds = time.monotonic() - before
        claims = claimed(tool, started.out + started.err) or ["no word"]
        return "; ".join([f"exit code {code} after {seconds:.0f} s", *claims])


def claimed(tool, text):
    """The tool's claims, or else its last line, as it says them, with blanks and addresses made short."""
    said = []
    for pattern in tool.claims:
        for found in re.findall(pattern, text):
            said.append(" ".join(found.split()))
    said = said or [line.strip() for line in text.splitlines() if line.strip()][-1:]
    shortened = (re.sub(r"(http://)?127\.0\.0\.1:\d+/?", "HOST", line) for line in said)
    return list(dict.fromkeys(shortened))[:4]
