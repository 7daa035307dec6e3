"""Cases about what comes over the network: nobody, somebody else, a server that goes away, and bad answers."""

import signal
import time

from case import (ROOT, SLACK_S, Unmet, agrees, balanced, case, demand, free_port, read_result, wait_until)
from servers import Faulty

NOBODY = "Nobody answers, or somebody else"
GONE = "The server goes away or stands still"
WRONG = "The answers are wrong"

# The time-out of runs in which nothing is to time out, and of those in which something is.
PATIENT, BRIEF = ["--timeout", "4s"], ["--timeout", "500ms"]
BRIEF_S = 0.5
# A run that has not ended after so long never will; none takes ten seconds.
HANG_S = 60
FEW = ["-c", "5", "-n", "300"]
SECOND = ["-c", "5", "-d", "1s", "-w", "0", *PATIENT]
# The first operations that faulty servers answer well: the first exchange is one of them.
WELL = 100
ANY_FAILURE = ["--fail-if", "failed > 0"]
ECHO = {"http": ["-b", "what comes back?", "--expect-echo"], "ws": ["--message-size", "64"]}
STREAMS = ROOT / "crates/cli/tests/faults/streams.toml"


def url(scheme, host):
    """An address at which both our server and the faulty ones echo."""
    return f"{scheme}://{host}/" + {"http": "echo", "ws": "ws/echo"}[scheme]


def measure(lab, scheme, host, *flags):
    """Runs a load of echoes with its result in a file; returns the run, and the balanced result if there is one."""
    return begin(lab, scheme, host, *flags)()


def begin(lab, scheme, host, *flags):
    """Starts a load of echoes; returns the function that waits for its end."""
    file = lab.folder / "result.json"
    file.unlink(missing_ok=True)
    started = lab.start("run", url(scheme, host), *ECHO[scheme], "--json", "--quiet", "-o", file, *flags)

    def finish():
        run = started.finish(HANG_S)
        demand(not run.out, f"stdout says something besides the file: {run.out[:80]}")
        result = read_result(file)
        return run, result and balanced(result)

    finish.process = started.process
    return finish


def is_good(lab, scheme, host, *flags):
    """Demands that a load is exit code 0 without a failure; returns its result."""
    run, result = measure(lab, scheme, host, *flags)
    run.expect(0)
    demand(result["status"] == "complete", f"without the fault: status {result['status']}")
    demand(result["operations"]["verified"] and not result["operations"]["failed"],
           f"without the fault: {result['operations']}, {result['failures']}")
    return result


def control(lab, *schemes):
    """Makes the runs of a case against the same server without a fault."""
    for scheme in schemes:
        server = Faulty(lab, "none")
        result = is_good(lab, scheme, server.host, *FEW, *PATIENT)
        counts = server.stop()
        verified = result["operations"]["verified"]
        demand(counts["well"] == verified + 1, f"{verified} verified, but for the first {counts['well']} answered")


def is_refused(lab, scheme, host, *says, flags=PATIENT):
    """Demands that a load on this server is refused in words, and leaves no result."""
    run, result = measure(lab, scheme, host, *FEW, *flags)
    run.expect(3, [host.replace(".", r"\."), *says], within_s=5)
    demand(result is None, "a run that was refused left a result")
    return run


def refuses(lab, scheme, faults, flags=PATIENT):
    """Demands that each of these servers is refused; `faults` gives what is to be said about it."""
    for fault, says in faults.items():
        server = Faulty(lab, fault)
        try:
            is_refused(lab, scheme, server.host, says, flags=flags)
        except Unmet as unmet:
            raise type(unmet)(f"{scheme}, {fault}: {unmet}") from None
        server.stop()


def is_counted(lab, scheme, fault, kinds, *, every=10):
    """Demands that each operation that a server spoils is a failure of these kinds, and each other one verified.

    The look after failures of the connection may ask the server once more. Returns the result.
    """
    server = Faulty(lab, fault, after=WELL, every=every)
    timing = BRIEF if "timed_out" in kinds else PATIENT
    run, result = measure(lab, scheme, server.host, *FEW, *timing, *ANY_FAILURE)
    counts = server.stop()
    try:
        run.expect(5)
        demand(result, "no result was written")
        books, failures = result["operations"], result["failures"]
        demand(set(failures) <= set(kinds) and failures, f"failures {failures}")
        demand(counts["well"] - books["verified"] in (1, 2), f"{books}, the server answered {counts}")
        demand(counts["spoiled"] - books["failed"] in (0, 1), f"{books}, the server answered {counts}")
        demand(not books["unfinished"], f"{books}")
    except Unmet as unmet:
        raise type(unmet)(f"{scheme}, {fault}: {unmet}") from None
    return result


def are_counted(lab, scheme, faults):
    """The same for many faults, with the kinds of failure of each; returns how many failures there were."""
    results = [is_counted(lab, scheme, fault, kinds) for fault, kinds in faults.items()]
    return sum(result["operations"]["failed"] for result in results)


@case("F1", "The port is closed", injected="a port on which nobody listens, over HTTP and WebSocket",
      expected="exit code 3 at once, with address and cause; no result", quick=True, section=NOBODY)
def port_closed(lab):
    runs = [is_refused(lab, scheme, f"127.0.0.1:{free_port()}", "refused") for scheme in ("http", "ws")]
    control(lab, "http", "ws")
    return f"“{shown(runs[0])}”"


@case("F2", "A name that nobody has, or another machine's", quick=True, section=NOBODY,
      injected="`no.invalid`; addresses of other machines by number, IPv4 and IPv6; `https:`",
      expected="exit code 3 for the name, 7 for other machines, 2 for what is not spoken; nothing is sent; no result")
def not_here(lab):
    unknown = lab.run("run", "http://no.invalid/", "-d", "1s", "-o", "result")
    unknown.expect(3, [r"`no\.invalid`", "cannot look up"], within_s=8)
    for host in ("192.0.2.1", "[2001:db8::1]"):
        for scheme in ("http", "ws"):
            run = lab.run("run", f"{scheme}://{host}/", "-d", "1s", "-o", "result")
            run.expect(7, ["is not this machine", f"--allow-target {host}".replace("[", r"\[")], within_s=5)
    lab.run("run", "https://127.0.0.1:1/", "-o", "result").expect(2, "TLS is not spoken", within_s=5)
    demand(not (lab.folder / "result").exists(), "a run that was refused left a result")
    server = Faulty(lab, "none")
    is_good(lab, "http", server.host.replace("127.0.0.1", "localhost"), *FEW, *PATIENT)
    return f"“{shown(unknown)}”"


@case("F3", "Another protocol", quick=True, section=NOBODY,
      injected="bytes that are no protocol, the banner of SSH, a TLS alert, a page of HTML for an upgrade; HTTP/1.0 "
               "over a kept connection",
      expected="exit code 3 with what the server said; HTTP/1.0 is measured, with a connection for each reply")
def other_protocols(lab):
    refuses(lab, "http", {"garbage": "does not speak HTTP: it says", "banner": "it says `SSH-2.0",
                          "tls-alert": "does not speak HTTP"})
    refuses(lab, "ws", {"banner": "it says `SSH-2.0", "tls-alert": "does not speak HTTP",
                        "refuses-html": "status 200 instead of 101"})
    old = Faulty(lab, "http10")
    result = is_good(lab, "http", old.host, *FEW, *PATIENT)
    opened, done = result["network"]["connections_opened"], result["operations"]["verified"]
    demand(opened == done, f"{opened} connections for {done} replies over HTTP/1.0")
    control(lab, "http", "ws")
    return f"six servers refused; HTTP/1.0: {done} verified over {opened} connections"


@case("F4", "The WebSocket handshake is wrong", quick=True, section=NOBODY,
      injected="`Sec-WebSocket-Accept` wrong, missing or doubled; an extension or a subprotocol that nobody asked "
               "for; no `Upgrade`; 503; 302",
      expected="exit code 3, each named; no redirect is followed")
def bad_handshakes(lab):
    faults = {
        "wrong-accept": "`Sec-WebSocket-Accept` does not follow", "no-accept": "`Sec-WebSocket-Accept`",
        "two-accepts": "`Sec-WebSocket-Accept`", "extension": "extension, and none was offered",
        "subprotocol": "subprotocol", "no-upgrade": "lacks `Upgrade: websocket`", "refuses-503": "503 instead of 101",
        "refuses-302": "redirects are not followed, measure http://127.0.0.1:1/ itself"}
    refuses(lab, "ws", faults)
    control(lab, "ws")
    return f"{len(faults)} handshakes refused, each with its reason"


@case("F5", "It accepts, and never answers", quick=True, section=NOBODY,
      injected="a server that reads requests, or the handshake, and says nothing",
      expected="exit code 3 when the time-out of half a second has passed, with a remedy; no result")
def never_answers(lab):
    refuses(lab, "http", {"never-answers": "timed out; give it more time with --timeout"}, BRIEF)
    refuses(lab, "ws", {"refuses-silently": "timed out.*--timeout", "never-answers": "timed out.*--match"}, BRIEF)
    control(lab, "http", "ws")
    return "three servers refused after their time-out"


@case("F10", "Every connection is reset", quick=False, section=NOBODY,
      injected="RST on accepting or on a request, from the first connection on; RST on accepting after 100 "
               "operations of a connection each, for a second",
      expected="exit code 3 at once; later exit code 4, each reset counted, and what was answered before kept")
def resets(lab):
    for scheme in ("http", "ws"):
        refuses(lab, scheme, {"reset-on-accept": "connection reset", "reset": "connection reset"})
    tries = []
    for scheme in ("http", "ws"):
        server = Faulty(lab, "reset-on-accept", after=WELL)
        run, result = measure(lab, scheme, server.host, *SECOND, "--lifecycle", "per-request")
        run.expect(4, "connection reset", within_s=1 + SLACK_S)
        failures = result["failures"]
        demand(set(failures) <= {"connect_reset", "connection_reset"}, f"{scheme}: failures {failures}")
        counts = server.stop()
        verified = result["operations"]["verified"]
        demand(counts["well"] - verified == 1, f"{scheme}: {verified} verified, the server answered {counts['well']}")
        tries.append(result["operations"]["failed"])
    control(lab, "http", "ws")
    return f"refused; later {WELL - 1} verified, then {tries[0]} resets a second over HTTP, {tries[1]} over WebSocket"


@case("F6", "The server is killed", quick=False, section=GONE,
      injected="SIGKILL after a second of two; also a server that ends itself after 1000 answers",
      expected="exit code 4, “was lost while it was measured”; what was answered is kept; at most 200 tries a second "
               "and connection to get it back")
def killed(lab):
    flags = ["-c", "5", "-d", "2s", "-w", "0", *BRIEF]
    seen = []
    for scheme in ("http", "ws"):
        server = lab.server()
        finish = begin(lab, scheme, server.host, *flags)
        during_load(server, finish, 1.0)
        server.process.kill()
        seen.append(is_lost(finish))
        leaver = Faulty(lab, "dies", after=1000)
        finish = begin(lab, scheme, leaver.host, *flags)
        result = is_lost(finish)
        demand(result["operations"]["verified"] == 999, f"999 answered well: {result['operations']}")
    totals = []
    for scheme in ("http", "ws"):
        healthy = lab.server()
        totals.append(agrees(is_good(lab, scheme, healthy.host, *flags), healthy.stop()))
    books = seen[0]["operations"]
    return f"HTTP: {books['verified']} verified, {books['failed']} failed, result kept; likewise over WebSocket"


def is_lost(finish):
    """Demands that a run of two seconds says that the server was lost, and does not hammer its port."""
    run, result = finish()
    run.expect(4, ["127.0.0.1:", "was lost while it was measured", "refused"], within_s=2 + BRIEF_S + SLACK_S)
    books, refused = result["operations"], result["failures"].get("connect_refused", 0)
    demand(result["status"] == "complete" and books["verified"] and refused, f"{books}, {result['failures']}")
    demand(refused <= 200 * 5 * 2, f"{refused} attempts to connect in two seconds")
    return result


@case("F7", "The server is stopped and started again", quick=False, section=GONE,
      injected="SIGKILL after a second of four; another server on the same port a second later",
      expected="the load goes on with it; the gap is counted as refused and told as silence; exit code 0, and 5 with "
               "`--fail-if 'failed > 0'`")
def restarted(lab):
    seen = []
    for scheme, gate, code in (("http", [], 0), ("ws", [], 0), ("http", ANY_FAILURE, 5)):
        address = f"127.0.0.1:{free_port()}"
        server = lab.server("--listen", address)
        finish = begin(lab, scheme, address, "-c", "5", "-d", "4s", "-w", "0", *PATIENT, *gate)
        during_load(server, finish, 1.0)
        server.process.kill()
        server.process.wait()
        time.sleep(1)
        again = lab.server("--listen", address)
        run, result = finish()
        run.expect(code, within_s=4 + 4 + SLACK_S)
        later = again.stop()["operations"]
        failures, silence = result["failures"], result["health"]["silence"]
        demand(failures.get("connect_refused") and later, f"{failures}; the second server served {later} operations")
        demand(silence and silence["ns"] >= 0.9e9, f"the gap of a second is told as {silence}")
        opened = result["network"]["connections_opened"]
        # A server that is being killed may still accept each connection once more.
        demand(10 <= opened <= 15, f"{opened} connections opened instead of 10")
        demand(later <= result["operations"]["verified"], f"{result['operations']}, the second server served {later}")
        seen.append(f"{silence['ns'] / 1e9:.2f} s")
    healthy = lab.server()
    agrees(is_good(lab, "http", healthy.host, *SECOND), healthy.stop())
    return f"silences of {', '.join(seen[:2])} told; five connections opened again; exit code 5 with the gate"


@case("F8", "The server stands still to the end", quick=False, section=GONE,
      injected="SIGSTOP after a second of two, in a closed and in an open load; also a server that answers nothing "
               "after 1000 answers",
      expected="ends in time, exit code 4, “answers no longer”; what is open is counted as timed out or unfinished, "
               "with its age")
def stands_still(lab):
    seen = []
    for scheme in ("http", "ws"):
        for rate in ([], ["-r", "500"]):
            flags = ["-c", "5", "-d", "2s", "-w", "0", *BRIEF, *rate]
            server = lab.server()
            finish = begin(lab, scheme, server.host, *flags)
            during_load(server, finish, 1.0)
            server.process.send_signal(signal.SIGSTOP)
            seen.append(is_stalled(finish))
            # It goes on, and answers to nobody what it had been asked.
            agrees(seen[-1], server.stop())
        staller = Faulty(lab, "stalls", after=1000)
        result = is_stalled(begin(lab, scheme, staller.host, "-c", "5", "-d", "2s", "-w", "0", *BRIEF))
        demand(result["operations"]["verified"] == 999, f"999 answered well: {result['operations']}")
        healthy = lab.server()
        agrees(is_good(lab, scheme, healthy.host, *SECOND, "-r", "500"), healthy.stop())
    books = seen[1]["operations"]
    return (f"open load over HTTP: {books['verified']} verified, {books['failed']} timed out, {books['unfinished']} "
            f"unfinished, "
            f"the oldest for {books['oldest_unfinished_ns'] / 1e9:.2f} s")


def is_stalled(finish):
    """Demands that a run of two seconds says that nothing is answered any more, and counts what was open."""
    run, result = finish()
    run.expect(4, ["127.0.0.1:", r"answers no longer \(timed out\)"], within_s=2 + BRIEF_S + SLACK_S)
    books, failures = result["operations"], result["failures"]
    demand(set(failures) == {"timed_out"} and books["verified"], f"{books}, {failures}")
    if result["load"]["offered_per_second"]:
        demand(books["unfinished"] and books["oldest_unfinished_ns"] > 0.4e9, f"{books}")
        demand("unfinished" in result["health"]["flags"], f"flags {result['health']['flags']}")
    silence = result["health"]["silence"]
    demand(silence and silence["ns"] >= 0.4e9, f"silence {silence}")
    return result


@case("F9", "The server stands still for two seconds", quick=False, section=GONE,
      injected="SIGSTOP after a second of five, SIGCONT two seconds later; 500 operations a second over 5 connections",
      expected="exit code 0; the stall is in the response times of all who came meanwhile (max of 1.9 s or more), "
               "and told as silence; nothing is lost: the server counts what the client counts")
def stands_still_and_goes_on(lab):
    seen = []
    for scheme in ("http", "ws"):
        flags = ["-c", "5", "-d", "5s", "-w", "0", "-r", "500", *PATIENT, "--percentiles", "50,99"]
        server = lab.server()
        finish = begin(lab, scheme, server.host, *flags)
        during_load(server, finish, 1.0)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        server.process.send_signal(signal.SIGCONT)
        run, result = finish()
        run.expect(0, within_s=5 + 4 + SLACK_S)
        usage = server.stop()
        response, service = result["times"]["response_time"], result["times"]["service_time"]
        late, busy = (times["percentiles"][1]["ns"] for times in (response, service))
        demand(not result["operations"]["failed"], f"{result['operations']}")
        most = response["max_ns"]
        demand(most >= 1.9e9 and late >= 1.5e9, f"response times: p99 {late} ns, max {most} ns")
        demand(busy < late / 4, f"service times know nothing of who waited, but their p99 is {busy}, of {late} ns")
        silence = result["health"]["silence"]
        demand(silence and silence["ns"] >= 1.9e9, f"silence {silence}")
        demand(result["trust"]["level"] != "good", "a run with a stall is trusted without a word")
        agrees(result, usage)
        seen.append((late, busy))
    healthy = lab.server()
    agrees(is_good(lab, "http", healthy.host, *SECOND, "-r", "500"), healthy.stop())
    late, busy = seen[0]
    return f"HTTP: p99 of response time {late / 1e9:.2f} s, of service time {busy / 1e6:.1f} ms; both count the same"


@case("F11", "The connection ends after each answer", quick=True, section=GONE,
      injected="a FIN after each reply, announced (`Connection: close`) or not, over a kept connection",
      expected="a new connection for each; announced: nothing fails; not announced: a request that crosses the FIN "
               "is counted as closed by the peer, every other one is verified")
def ends_after_each(lab):
    polite = Faulty(lab, "close-after-each")
    result = is_good(lab, "http", polite.host, *FEW, *PATIENT)
    opened = result["network"]["connections_opened"]
    demand(opened == 300, f"{opened} connections for 300 replies")
    rude = Faulty(lab, "fin-after-each")
    run, result = measure(lab, "http", rude.host, *FEW, *PATIENT)
    demand(run.code in (0, 4), f"exit code {run.code}: {run.said}")
    books, counts = result["operations"], rude.stop()
    demand(set(result["failures"]) <= {"peer_closed", "connection_reset"}, f"{result['failures']}")
    demand(counts["operations"] - books["verified"] in (1, 2), f"{books}, the server answered {counts['operations']}")
    control(lab, "http")
    seen = f"{books['verified']} verified, {books['failed']} crossed the FIN"
    return f"announced: 300 verified over 300 connections; not announced: {seen}"


@case("F12", "Bodies are cut, or too long", quick=False, section=WRONG,
      injected="every tenth reply: 10 of 100 bytes and FIN, or RST; half a head; half a chunk; chunks without an "
               "end; an event stream cut in mid-event; a chunk without a length; a body beyond its length; two "
               "lengths; a length that is none",
      expected="each is a failure, none is verified; exit code 5 with `--fail-if 'failed > 0'`")
def bodies_are_cut(lab):
    closed, protocol = {"peer_closed"}, {"protocol"}
    faults = {
        "short": closed, "half-then-reset": {"connection_reset"}, "head-cut": closed, "chunk-cut": closed,
        "chunks-without-end": closed, "event-cut": closed, "bad-chunk": protocol, "longer": protocol,
        "two-lengths": protocol, "negative-length": protocol, "huge-length": protocol}
    count = are_counted(lab, "http", faults)
    count += are_counted(lab, "ws", {"half-then-end": closed})
    control(lab, "http", "ws")
    return f"{len(faults) + 1} ways to be cut or too long, {count} of {count} counted as failures"


@case("F13", "Statuses that do not count", quick=True, section=WRONG,
      injected="500 to all from the first one on; 500 to one in a hundred; 429, 503 and 302 to one in ten",
      expected="all: exit code 3 ahead of the load; some: each counted under its status, exit code 5 with `--fail-if "
               "'failed > 0'`")
def bad_statuses(lab):
    refuses(lab, "http", {"500": "answers 500 Internal Server Error.*--expect-status 500", "429": "answers 429",
                          "302": "redirects are not followed"})
    rare = is_counted(lab, "http", "500", {"bad_status"}, every=100)
    for fault in ("429", "503", "302"):
        result = is_counted(lab, "http", fault, {"bad_status"})
        demand(result["answers"]["statuses"].get(fault) == result["operations"]["failed"], f"{result['answers']}")
    control(lab, "http")
    statuses = ", ".join(f"{count} × {status}" for status, count in rare["answers"]["statuses"].items())
    return f"three servers refused; one in a hundred: {statuses} counted"


@case("F14", "The data is spoiled", quick=False, section=WRONG,
      injected="every tenth answer: a byte changed, one too few, one too many, empty, a page of HTML, the answer to "
               "another message, twice, text for binary; frames that are masked, reserved or not UTF-8",
      expected="none is verified; each is a failure, or, where it is no answer at all, counted as unasked; exit code "
               "5 with a gate")
def data_is_spoiled(lab):
    wrong, late, protocol = {"wrong_payload"}, {"timed_out"}, {"protocol"}
    bodies = {"corrupt": wrong, "too-short": wrong, "too-long": wrong, "empty": wrong, "html": wrong, "twice": protocol}
    frames = {"corrupt": wrong, "stale": wrong | late, "masked": protocol, "reserved": protocol, "not-utf-8": protocol}
    count = are_counted(lab, "http", bodies) + are_counted(lab, "ws", frames)
    # Another kind or length is taken for news, and the answer is waited for until the time-out.
    for fault in ("too-short", "too-long", "other-kind"):
        result = is_counted(lab, "ws", fault, late)
        failed = result["operations"]["failed"]
        demand(result["answers"]["unasked"] in (failed, failed + 1), f"{fault}: {result['answers']}")
        count += failed
    doubled = is_unasked(lab, "twice", 1)
    demand(doubled["answers"]["repeated"] == doubled["answers"]["unasked"], f"twice: {doubled['answers']}")
    control(lab, "http", "ws")
    repeated = doubled["answers"]["repeated"]
    return f"{count} of {count} spoiled answers counted as failures, {repeated} echoes as repeated"


def is_unasked(lab, fault, each):
    """Demands that so many messages for each spoiled operation are counted as unasked, and that nothing fails."""
    server = Faulty(lab, fault, after=WELL, every=10)
    run, result = measure(lab, "ws", server.host, *FEW, *PATIENT, "--fail-if", "unasked > 0")
    run.expect(5, "unasked > 0")
    counts, books = server.stop(), result["operations"]
    demand(books["verified"] == books["issued"] == 300, f"{fault}: {books}")
    # What comes behind the last answer of a connection may never be read.
    expected = range((counts["spoiled"] - 5) * each, counts["spoiled"] * each + 1)
    found = result["answers"]["unasked"]
    demand(found in expected, f"{fault}: {found} unasked, the server spoiled {counts['spoiled']}")
    return result


@case("F15", "News, pings and fragments that nobody asked for", quick=True, section=WRONG,
      injected="every tenth message: five others ahead of the echo; a hundred pings; an echo in 64 fragments of a "
               "byte; HTTP replies byte by byte",
      expected="exit code 0 and nothing fails: news is counted apart (5 with `--fail-if 'unasked > 0'`), every ping "
               "is answered, fragments are put together")
def unasked(lab):
    news = is_unasked(lab, "news", 5)
    server = Faulty(lab, "pings", after=WELL, every=10)
    is_good(lab, "ws", server.host, *FEW, *PATIENT)
    pings = server.stop()
    # Pings of the last operations may be answered by nobody: their connections are at their end.
    demand(pings["pongs"] >= (pings["spoiled"] - 5) * 100, f"{pings['spoiled']} × 100 pings, {pings['pongs']} pongs")
    for scheme, fault in (("ws", "fragments"), ("http", "bytewise")):
        is_good(lab, scheme, Faulty(lab, fault, after=WELL, every=10).host, *FEW, *PATIENT)
    control(lab, "http", "ws")
    answered = f"{pings['pongs']} of {pings['spoiled'] * 100} pings answered"
    return f"{news['answers']['unasked']} messages counted as unasked; {answered}"


@case("F16", "The server closes its WebSockets", quick=True, section=WRONG,
      injected="Close 1001, 1011 or 1013 for every tenth message; then to all from some instant on, for a second",
      expected="every code counted; exit code 5 with a gate, 4 when nothing is answered any more; each connection is "
               "opened again")
def closes(lab):
    count = 0
    for code in ("1001", "1011", "1013"):
        result = is_counted(lab, "ws", f"close-{code}", {"peer_closed"})
        demand(result["answers"]["close_codes"] == {code: result["operations"]["failed"]}, f"{result['answers']}")
        count += result["operations"]["failed"]
    server = Faulty(lab, "close-1013", after=WELL)
    run, result = measure(lab, "ws", server.host, *SECOND)
    run.expect(4, "answers no longer", within_s=10)
    all_closed = result["answers"]["close_codes"]
    demand(list(all_closed) == ["1013"], f"{all_closed}")
    control(lab, "ws")
    return f"{count} of {count} Closes counted by their code; to all: {all_closed['1013']} in a second, exit code 4"


@case("F17", "The server stops reading", quick=False, section=WRONG,
      injected="bodies and messages of 1 MiB; after 20 of them the server reads no more, for the rest of two seconds",
      expected="each times out, the run ends in time with exit code 4; the client's memory stays bounded: at most 64 "
               "MiB more than without the fault")
def stops_reading(lab):
    size, peaks, seen = 2**20, {}, []
    body = lab.folder / "body"
    body.write_bytes(b"x" * size)
    for scheme in ("http", "ws"):
        big = ["--body-file", body] if scheme == "http" else ["--message-size", str(size), "--binary"]
        for fault in ("none", "stops-reading"):
            server = Faulty(lab, fault, after=20)
            file = lab.folder / "result.json"
            file.unlink(missing_ok=True)
            load = [*big, "-c", "5", "-d", "2s", "-w", "0", *BRIEF]
            started = lab.start("run", url(scheme, server.host), *load, "--json", "--quiet", "-o", file)
            peaks[fault] = peak_memory(started.process)
            run, result = started.finish(HANG_S), balanced(read_result(file))
            if fault == "none":
                demand(run.code == 0 and not result["failures"], f"without the fault: {run.said}, {result['failures']}")
                continue
            run.expect(4, r"answers no longer \(timed out\)", within_s=2 + BRIEF_S + SLACK_S)
            demand(set(result["failures"]) == {"timed_out"}, f"{scheme}: {result['failures']}")
            seen.append(result["operations"]["failed"])
        demand(peaks["stops-reading"] < peaks["none"] + 64 * 2**20, f"{scheme}: peaks of memory {peaks}")
    peak = peaks["stops-reading"] / 2**20
    return f"{seen[0]} requests and {seen[1]} messages timed out, exit code 4; peak of memory {peak:.0f} MiB"


@case("F26", "Streams of updates are spoiled on the way", quick=False, section=WRONG,
      injected="a proxy between `bench --target` and `serve` cuts, damages, drops or doubles one event of each "
               "stream (server-sent events) and one message of each WebSocket",
      expected="a stream that was cut is resumed, and nothing is lost; what is damaged, missing or doubled is "
               "counted and flagged (`news_lost` or `failures`); without the proxy's fault there is no flag")
def streams_are_spoiled(lab):
    seen = {}
    for fault in ("none", "stream-cut", "stream-flipped", "stream-gap", "stream-again"):
        server = lab.server()
        proxy = Faulty(lab, fault, to=server.host)
        run = lab.run("bench", STREAMS, "--target", f"http://{proxy.host}", "--blocks", "1", "--quiet", "--json",
                      "--results", lab.folder / fault, within_s=120)
        run.expect(0)
        cells = run.document["cells"]
        demand(len(cells) == 2 and all(cell["operations"]["verified"] for cell in cells), f"{fault}: {cells}")
        flagged = [bool({"news_lost", "failures"} & set(cell["flags"])) for cell in cells]
        is_harmless = fault in ("none", "stream-cut")
        demand(flagged == [not is_harmless] * 2, f"{fault}: {[(cell['id'], cell['flags']) for cell in cells]}")
        spoiled = proxy.stop()["spoiled"]
        demand(bool(spoiled) == (fault != "none"), f"{fault}: the proxy spoiled {spoiled} pieces")
        server.stop()
        seen[fault] = spoiled
    return f"{seen['stream-cut']} streams cut and resumed without loss; the other faults flagged in both deliveries"


def during_load(server, finish, seconds):
    """Waits until the load has begun and gone on for so long: the server accepted, and the client runs."""
    has_begun = wait_until(lambda: established(server.port) or finish.process.poll() is not None, 10)
    demand(has_begun, "the load did not begin")
    time.sleep(seconds)
    demand(finish.process.poll() is None, "the load ended before the fault")


def established(port):
    """Counts established connections to a port."""
    wanted = f":{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[1].endswith(wanted) and row[3] == "01" for row in rows)


def peak_memory(process):
    """Follows a process to its end; returns the largest resident memory that was seen, in bytes."""
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                lines = [line.split() for line in status]
        except OSError:
            break
        peak = max([peak, *(int(line[1]) * 1024 for line in lines if line and line[0] == "VmHWM:")])
        time.sleep(0.02)
    return peak


def shown(run):
    """What a run says, with the port left out, which is another one each time."""
    line = run.said.removeprefix("sockrates: ")
    head, colon, rest = line.partition("127.0.0.1:")
    return f"{head}{colon}PORT{rest.lstrip('0123456789')}" if colon else line
