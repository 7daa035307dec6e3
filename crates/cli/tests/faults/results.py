"""Cases about results on disk: signals and kills while they are written, full and read-only disks, damaged records."""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from case import Run, Unmet, case, demand, members, parse, wait_until
from watch import FEW, MEASURED, cpu_seconds, page

SECTION = "Results on disk"
# The least a bench may be made of: one lane and its second copy, measured for so many milliseconds.
SCENARIO = """name = "tiny"
question = "Does it end well?"
analysis = "Too short to say anything."
lanes = ["http1-persistent"]
connections = [2]
workload = { kind = "echo", payload = "binary", payload_bytes = 64 }
load = { model = "closed" }
timing = { warm_up_ms = 20, window_ms = WINDOW, drain_ms = 500, timeout_ms = 2000 }
"""


@case("F23", "A signal ends `bench`", quick=False, section=SECTION,
      injected="SIGINT, SIGTERM, SIGHUP, twice SIGINT, SIGINT to all processes as from a terminal; in the second block",
      expected="130, 143 or 129; the trials so far are whole, and marked as partial; no process is left")
def signals(lab):
    seen = []
    interrupt = signal.SIGINT
    for name, numbers, to, code in (
            ("SIGINT", [interrupt], os.kill, 130), ("SIGTERM", [signal.SIGTERM], os.kill, 143),
            ("SIGHUP", [signal.SIGHUP], os.kill, 129), ("twice", [interrupt] * 2, os.kill, 130),
            ("to all", [interrupt], os.killpg, 130)):
        results = lab.folder / name
        started = lab.start(*bench(lab, results, "--blocks", 200, window_ms=100))
        demand(wait_until(lambda: "block 2 of" in started.err, 15), f"no second block: {started.err}")
        for number in numbers:
            to(started.process.pid, number)
            time.sleep(0.05)
        at = time.monotonic()
        started.finish(40).expect(code)
        demand(time.monotonic() - at < 10, "the end took 10 s")
        run = only(results)
        demand(status(run) == "partial", "the run is not marked as partial")
        whole(run)
        report = lab.run("report", run).expect(0)
        demand("partial" in report.out, "the report does not say that the run is partial")
        seen.append(f"{name}: {len(trials(run))} trials kept")
    good = lab.folder / "good"
    lab.control(*bench(lab, good, "--blocks", 1), within_s=60)
    demand(status(only(good)) == "complete", "a run that was let alone is not complete")
    return ", ".join(seen)


@case("F24", "SIGKILL while results are written", quick=False, section=SECTION,
      injected="SIGKILL between the writing of a record and its renaming (with strace, where it is there)",
      expected="earlier results untouched, what is there is whole, the rest is ignored by `report` and the next run")
def killed(lab):
    # What a killed process leaves behind is looked at here, and is not the lab's business.
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        lab.control(*bench(lab, results, "--blocks", 1), within_s=60)
        before = contents(results)
        # Each file is synced, then its folder: run.json, a record, and the next so slowly that there is time to kill.
        inject = ["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=3000000:when=5+"]
        slow = ["strace", "-f", "-qq", "-o", "/dev/null", *inject]
        started = lab.start(*bench(lab, results, "--blocks", 50), prefix=slow if shutil.which("strace") else [])

        def halves():
            return [path for path in results.glob("*/trials/.*.part") if len(trials(path.parent.parent)) > 0]

        is_writing = wait_until(lambda: halves() or started.process.poll() is not None, 20)
        demand(is_writing, "no second record was ever being written")
        for pid in members(started.process.pid):
            os.kill(pid, signal.SIGKILL)
        started.process.wait(10)
        left = len(halves())
        after = contents(results)
        demand(all(after.get(path) == text for path, text in before.items()), "earlier results were changed")
        [run] = [path for path in folders(results) if not any(str(each).startswith(f"{path}/") for each in before)]
        whole(run)
        demand(status(run) == "partial", "a run that was killed is not marked as partial")
        report = finish(lab.start("report", run)).expect(0)
        demand("partial" in report.out, "the report does not say that the run is partial")
        finish(lab.start(*bench(lab, results, "--blocks", 1))).expect(0)
        return f"{left} half-written, ignored; {len(trials(run))} records whole; the next run is good"


@case("F25", "Results that cannot be written", quick=True, section=SECTION,
      injected="a missing, read-only or full folder, a file where it should be, /proc, a limit of file sizes",
      expected="exit code 6 with the path, ahead of any load where it can be known; earlier results untouched")
def unwritable(lab):
    server = lab.server()
    file, missing = lab.folder / "file", lab.folder / "missing/result.json"
    file.write_text("earlier")
    read_only = mounted("--bind", lab.folder, f"mount -o remount,bind,ro {lab.folder}; cd {lab.folder}")
    for output in (missing, lab.folder, "/proc/result.json", file / "result.json"):
        lab.run("run", page(server), *FEW, "-o", output).expect(6, str(output), within_s=4)
    new = lab.run("run", page(server), *FEW, "-o", lab.folder / "new.json", prefix=read_only)
    new.expect(6, ["new.json", "[Rr]ead-only"])
    lab.run("run", page(server), *FEW, "--hlog", missing).expect(6, str(missing))
    for results, prefix in ((file, ()), ("/proc/results", ()), (lab.folder / "new", read_only)):
        run = lab.run(*bench(lab, results, "--blocks", 1), prefix=prefix).expect(6, str(results))
        demand("block" not in run.err, "it measured first")
    usage = server.stop()
    demand(usage["connections_accepted"] == 0, f"{usage['connections_accepted']} connections before the refusals")
    demand(file.read_text() == "earlier" and not missing.parent.exists(), "something was written after all")
    server = lab.server()
    kept = lab.folder / "kept.json"
    lab.control("run", page(server), *FEW, "-o", kept)
    earlier = kept.read_text()
    fill = f"cp {kept} disk/r.json; head -c 16k /dev/zero > disk/fill"
    full = mounted("-t tmpfs -o size=16k", lab.folder / "disk", fill)
    script = '"$@"; code=$?; cp -r disk copy; exit $code'
    late = lab.run("run", page(server), *FEW, "-o", "disk/r.json", prefix=[*full, "sh", "-c", script, "-"])
    late.expect(6, ["disk/r.json", "No space left"])
    demand((lab.folder / "copy/r.json").read_text() == earlier, "a full disk cost the earlier result")
    small = lab.run("run", page(server), *FEW, "-o", kept, prefix=["prlimit", "--fsize=1000"])
    demand(kept.read_text() == earlier, "a limit of file sizes cost the earlier result")
    small.expect(6, str(kept))
    return f"ten refused before any connection; full: {late.said}"


def mounted(how, where, then):
    """What runs a command where something is mounted, for it alone."""
    where.mkdir(exist_ok=True)
    script = f'mount {how} {where} {where} && {{ {then}; }} 2>/dev/null; exec "$@"'
    return ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "-"]


# What a record's counts may say that no run can have counted.
MOST = 2**64 - 1
IMPOSSIBLE = {
    "verified and issued 2⁶⁴-1": {"issued": MOST, "verified": MOST},
    "failures that wrap to the right sum": {"issued": 99, "verified": 100, "failed": {"timed_out": MOST}},
    "two kinds of failures that wrap": {
        "issued": 99, "verified": 100, "failed": {"timed_out": MOST - 5, "connect_refused": 5}},
    "unfinished 2⁶⁴-1": {"issued": 0, "verified": 1, "unfinished": MOST},
    "verified 2⁶⁴": {"issued": MOST, "verified": MOST + 1},
    "verified -1": {"verified": -1},
    "verified 1.5": {"verified": 1.5},
}


@case("F32", "Counts near 2⁶⁴ in a record", injected="crafted records in a run's folder", quick=False,
      expected="such a record is refused or not counted; no sum wraps", section=SECTION)
def counts(lab):
    run, first, _ = measured(lab)
    name = cell_of(first)
    records = {path: path.read_bytes() for path in trials(run) if cell_of(path) == name}
    planned = cell(lab, run, name)
    problems = []
    for what, operations in IMPOSSIBLE.items():
        # Two such records would make a sum wrap; beside one, the other is still to be counted.
        spoiled = list(records) if operations.get("verified") == MOST else [first]
        for path in spoiled:
            record = json.loads(records[path])
            record["measurement"]["operations"].update(operations)
            path.write_text(json.dumps(record))
        valid = len(records) - len(spoiled)
        problems += noted(what, lambda: not_counted(cell(lab, run, name), valid))
        for path in spoiled:
            path.write_bytes(records[path])
    demand(cell(lab, run, name) == planned, "the records themselves are good, and the report differs")
    demand(not problems, f"{len(problems)} of {len(IMPOSSIBLE)}: " + "; ".join(problems))
    return f"{len(IMPOSSIBLE)} records not counted, the other trial of the cell reported each time"


def not_counted(found, valid):
    """Demands that so many trials of a cell are counted, and nothing of the others."""
    said = f"{found['trials']}, {found['operations']}"
    demand(found["trials"]["valid"] == valid, f"not {valid} trials are counted: {said}")
    demand(all(number < 2**53 for number in found["operations"].values()), said)


def cell_of(path):
    return re.sub(r"\.b\d+$", "", place(path))


def place(path):
    """The cell and the block of a record, whichever attempt it is of."""
    return re.sub(r"^\d+-|(\.a\d+)?\.json$", "", path.name)


def cell(lab, run, name):
    """What the summary says of a cell."""
    report = lab.run("report", run, "--json").expect(0)
    [found] = [each for each in parse(report.out)["cells"] if each["id"] == name]
    return found


@case("F35", "One place for two", quick=False, section=SECTION,
      injected="a port that is taken; three runs at once in one results folder",
      expected="exit code 7 with the address; folders of their own, whole, with all trials")
def together(lab):
    server = lab.server()
    for workers in (1, 2):
        taken = lab.run("serve", "--listen", server.host, "--workers", workers)
        taken.expect(7, [server.host, "taken", "another port"], within_s=5)
    results = lab.folder / "results"
    arguments = bench(lab, results, "--blocks", 2)
    started = [lab.start(*arguments) for _ in range(3)]
    for each in started:
        each.finish(90).expect(0)
    runs = folders(results)
    demand(len(runs) == 3, f"three runs made {len(runs)} folders")
    for run in runs:
        whole(run)
        demand(len({place(path) for path in trials(run)}) == 4, f"{run.name} lacks trials")
        demand(parse((run / "run.json").read_text())["run_id"] == run.name, f"{run.name} holds another run")
        lab.run("report", run, "--check").expect(0)
    demand((results / "latest").resolve() in runs, "`latest` points nowhere")
    return f"{taken.said}; {len(runs)} runs side by side"


# What may stand in a record's place: what is in the file, and what the report must say of it.
def damages(good):
    record = json.loads(good)

    def version(number):
        return json.dumps({**record, "schema_version": number}).encode()

    return {
        "newer": (version(99), "use a newer sockrates"), "version 2⁶⁴": (version(2**64), "line"),
        "version -1": (version(-1), "line"), "version as text": (version("4"), "line"),
        "truncated": (good[: len(good) // 2], "line"), "empty": (b"", "line"),
        "binary": (bytes(range(256)) * 40, "line"),
        "NaN": (good.replace(b'"started_unix_ms":', b'"started_unix_ms": NaN, "x":', 1), "line"),
        "1e999": (re.sub(rb'("started_unix_ms": )\d+', rb"\g<1>1e999", good), "line"),
        "duplicate keys": (good.replace(b"{", b'{"outcome": {"status": "completed"},', 1), "line"),
        "byte-order mark": (b"\xef\xbb\xbf" + good, "line"), "UTF-16": (good.decode().encode("utf-16"), "line"),
        "100,000 brackets": (b"[" * 100_000, "line"), "100,000 objects": (b'{"a":' * 100_000, "line"),
        "two documents": (good + good, "line"), "a list": (b"[]", "line"), "null": (b"null", "line"),
    }


@case("F37", "Damaged records and manifests", quick=False, section=SECTION,
      injected="newer, truncated, empty, binary, NaN, doubled keys, deep nesting, 256 MiB, a pipe, one missing",
      expected="a damaged trial is listed with file and position, the others told; a damaged run.json is exit code 6")
def damaged_results(lab):
    run, damaged, good = measured(lab)
    problems, peaks = [], []
    report = lab.control("report", run)
    demand("could not be used" not in report.out, "the report of a good run lists damaged files")
    for name, (content, says) in damages(good).items():
        damaged.write_bytes(content)
        problems += noted(name, lambda: peaks.append(listed(lab, run, damaged, says)))
    with damaged.open("wb") as file:
        file.truncate(256 << 20)
    problems += noted("256 MiB", lambda: peaks.append(listed(lab, run, damaged, "")))
    damaged.unlink()
    os.mkfifo(damaged)
    problems += noted("a pipe", lambda: peaks.append(listed(lab, run, damaged, "")))
    damaged.unlink()
    problems += noted("a gap", lambda: gap(lab, run))
    damaged.write_bytes(good)
    stray = run / "trials" / f".{damaged.name}.1.part"
    stray.write_bytes(good[:99])
    demand(finish(lab.start("report", run)).expect(0).out == report.out, "a stray .part changes the report")
    stray.unlink()
    manifest = (run / "run.json").read_bytes()
    for name, (content, _) in damages(manifest).items():
        if name not in ("duplicate keys", "1e999", "NaN", "100,000 objects"):
            (run / "run.json").write_bytes(content)
            problems += noted(f"run.json: {name}", lambda: reported(lab, run, 6, ["run.json", "newer|damaged"]))
    (run / "run.json").unlink()
    problems += noted("no run.json", lambda: reported(lab, run, 6, ["run.json", str(run)]))
    demand(not problems, f"{len(problems)} not met: " + "; ".join(problems))
    return f"{len(peaks)} damaged trials listed, at most {max(peaks):.0f} MiB"


def noted(name, check):
    """Returns what is wrong, with the damage's name."""
    try:
        check()
        return []
    except Unmet as unmet:
        return [f"{name}: {unmet}"]


def listed(lab, run, damaged, says):
    """Demands that a damaged trial is listed with its reason, and the others are told; returns the memory used."""
    peak = lab.folder / "peak"
    report = lab.run("report", run, prefix=[sys.executable, "-c", MEASURED, peak], within_s=15).expect(0)
    mib = int(peak.read_text()) / 1024
    is_told = re.search(r"\b1 (of \d+ )?trial files? could not be (used|read)", report.out)
    demand(is_told, "the terminal does not say so")
    row = re.search(rf"{re.escape(damaged.name)} \|(.*)", (run / "report.md").read_text())
    demand(row and says in row[1], f"report.md does not list the file with `{says}`: {row and row[1]}")
    demand("\n  http1-persistent@null  " in report.out, "the other trials are not reported")
    demand(mib < 256, f"it took {mib:.0f} MiB")
    return mib


def gap(lab, run):
    report = reported(lab, run)
    said = report.out + (run / "report.md").read_text()
    is_told = re.search(r"\b\d+ of \d+ planned trials\b|\btrials? (is|are) missing", said)
    demand(is_told, "a trial is missing, and no word of it")


def reported(lab, run, code=0, says=()):
    return lab.run("report", run, within_s=15).expect(code, says)


@case("F38", "The server is lost in one repetition of several", quick=False, section=SECTION,
      injected="SIGKILL of the first trial's server in `bench --blocks 3`",
      expected="exit code 4; that trial is marked and in no number, the others are told as one less")
def lost_once(lab):
    good = lab.folder / "good"
    lab.control(*bench(lab, good, "--blocks", 3), within_s=60)
    results = lab.folder / "results"
    started = lab.start(*bench(lab, results, "--blocks", 3, window_ms=1500))
    demand(wait_until(lambda: "block 1 of" in started.err, 15), f"no first block: {started.err}")

    def victims():
        return [pid for pid in members(started.process.pid) if at_work(pid)]

    demand(wait_until(victims, 20), "no server was at work")
    for pid in victims():
        os.kill(pid, signal.SIGKILL)
    lost = started.finish(60).expect(4)
    run = only(results)
    whole(run)
    records = [parse(path.read_text()) for path in trials(run)]
    reasons = [each["outcome"].get("reason") for each in records if each["outcome"]["status"] != "completed"]
    demand(reasons == ["server_lost"], f"failed records: {reasons}")
    cells = parse((run / "summary.json").read_text())["cells"]
    valid = sorted((each["trials"]["valid"], each["trials"]["total"]) for each in cells)
    demand(valid == [(2, 3), (3, 3)], f"valid trials: {valid}")
    text = (run / "report.md").read_text()
    demand("server\\_lost" in text and re.search(r"1 of \d+ trials failed", text), "the report does not tell it")
    return f"valid of planned: {valid}; {lost.said}"


def at_work(pid):
    """Whether a process is a server that has used more CPU time than a start takes."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"serve" in words and cpu_seconds(pid) > 0.03
    except OSError:
        return False


def bench(lab, results, *options, window_ms=50):
    """The arguments of a bench of two cells."""
    file = lab.folder / f"tiny-{window_ms}.toml"
    file.write_text(SCENARIO.replace("WINDOW", str(window_ms)))
    return ["bench", file, "--results", results, *options]


def measured(lab):
    """Makes a run of two blocks; returns its folder, one of its records, and what stands in it."""
    results = lab.folder / "results"
    lab.control(*bench(lab, results, "--blocks", 2), within_s=60)
    run = only(results)
    # Of repeated trials only the last attempt counts: the others are not needed here.
    last = {place(path): path for path in sorted(trials(run), key=lambda path: (len(path.name), path.name))}
    for path in set(trials(run)) - set(last.values()):
        path.unlink()
    path = next(path for path in trials(run) if "@" not in path.name)
    return run, path, path.read_bytes()


def finish(started, within_s=60):
    """Waits for an end in a folder where others have left something."""
    at = time.monotonic()
    code = started.process.wait(within_s)
    return Run(started.command, code, started.out, started.err, time.monotonic() - at)


def folders(results):
    return sorted(path for path in results.iterdir() if path.is_dir() and not path.is_symlink())


def only(results):
    """The folder of the only run there."""
    runs = folders(results)
    demand(len(runs) == 1, f"there are {len(runs)} runs in {results.name}")
    return runs[0]


def trials(run):
    return sorted(path for path in (run / "trials").glob("*.json") if not path.name.startswith("."))


def status(run):
    return parse((run / "run.json").read_text())["status"]


def whole(run):
    """Demands that every JSON document of a run is complete."""
    for path in [run / "run.json", *run.glob("summary.json"), *trials(run)]:
        try:
            parse(path.read_text())
        except (OSError, ValueError) as error:
            raise Unmet(f"{path.name} is not whole: {error}") from None


def contents(results):
    return {path: path.read_bytes() for path in results.rglob("*") if path.is_file() and "latest" not in path.parts}
