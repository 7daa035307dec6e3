"""What cases of the machine and of results share: short runs, and a look at processes through the kernel."""

import contextlib
import os
import re
import time
from pathlib import Path

from case import wait_until

QUIET = ["--quiet", "--json"]
# A run of a known number of operations, however busy the machine is.
FEW = ["-n", 500, *QUIET]

# Runs a command and writes the most memory it held at a time, in KiB, to a file.
MEASURED = """import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code if code >= 0 else 128 - code)"""


def page(server):
    return f"http://{server.host}/healthz"


def echo(server):
    return f"ws://{server.host}/ws/echo"


def cpu_seconds(pid):
    """Fields 14 and 15 of /proc/PID/stat, counted behind the name, which may hold spaces."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sockets(server):
    """How many sockets a server has open."""
    found = 0
    for entry in Path(f"/proc/{server.ready['pid']}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(entry).startswith("socket:")
    return found


def settled(server):
    """The number of sockets once those that are ending have ended."""
    counts = [sockets(server)]

    def steady():
        time.sleep(0.05)
        counts.append(sockets(server))
        return counts[-1] == counts[-2]

    wait_until(steady, 3)
    return counts[-1]


def minds(pid, number):
    """Whether a process handles a signal, or holds it back."""
    status = ""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"Sig(?:Cgt|Blk):\s*([0-9a-f]+)", status)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def peak_mib(server):
    """The most memory a server has held at a time, in MiB."""
    status = Path(f"/proc/{server.ready['pid']}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1024
