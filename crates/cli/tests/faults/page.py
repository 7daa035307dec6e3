"""The page about the fault table, made of what was seen."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass

from case import SOCKRATES, Case

INTRODUCTION = """\
# Faults

What sockrates does when something is wrong: with the server, with the network, with the machine, with what it is asked.
Each row is a case that was made: the fault was injected by a server, a signal or the kernel, the run was made with it
and without it, and what was promised was demanded. A load generator that answers a fault with a good-looking number is
worse than none. So every case demands, as far as it applies:

- without the fault the same run is exit code 0;
- a run ends within its duration, its time-out and two seconds, and says on stderr what failed, where, and what to do;
- a result file is absent or complete, `issued = verified + failed + unfinished`, and no time stands for what failed;
- what the server counts is what the client counts, but for what was in flight;
- no process and no temporary file remains.

`scripts/just faults` makes all of them again (`scripts/faults --only F6,F14` some, `--quick` the short ones), and
`scripts/faults --write` this page. The cases are under [crates/cli/tests/faults](../crates/cli/tests/faults).
Operations that fail are counted and named, and are [exit code](EXIT-CODES.md) 5 where `--fail-if` says so.
"""

PEERS = """\
## The same faults, other tools

Five connections, asked for two seconds over HTTP; a tool that has not ended after ten seconds is stopped. What stands here
are exit codes and the tools' own words; rates are of this machine. sockrates is told what the body must be
(`--expect-body`), which none of the others can be without a script.
"""


@dataclass
class Row:
    """A case and what became of it."""

    case: Case
    seen: str
    problem: str | None


def page(rows, tools, heard):
    """Returns the whole page."""
    parts = [INTRODUCTION, machine()]
    for section in dict.fromkeys(row.case.section for row in rows):
        parts.append(f"## {section}\n")
        parts.append(table(["case", "injected", "expected", "seen"],
                           [cells(row) for row in rows if row.case.section == section]))
    if heard:
        parts.append(PEERS)
        parts.append(f"Here were {', '.join(f'{tool.name} {tool.version}' for tool in tools)}.\n")
        parts.append(table(["case", "injected", *(tool.name for tool in tools)],
                           [[row.number, row.injected, *map(quoted, row.said)] for row in heard]))
    return "\n".join(parts)


def machine():
    version = subprocess.run([SOCKRATES, "--version"], capture_output=True, text=True, timeout=10).stdout.strip()
    return f"Seen with {version} on Linux {platform.release()}, {os.cpu_count()} CPUs.\n"


def cells(row):
    seen = f"**not met:** {row.problem}" if row.problem else row.seen
    return [f"{row.case.number} {row.case.name}", row.case.injected, row.case.expected, seen]


def quoted(said):
    """What a tool said, a claim a line."""
    return said.replace("; ", "<br>")


def table(head, rows):
    lines = [head, ["---"] * len(head), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def escape(cell):
    """Makes a text one cell of a table."""
    text = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", str(cell)).split()).replace("|", "\\|")
    return re.sub(r"<(?!br>)", "&lt;", text)
