//! The client's times against those of the packets.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockrates_core::plan::{Cell, Target, TrialSpec};
use sockrates_core::record::{Measurement, Metric};
use sockrates_core::scenario::{Timing, Wait};
use sockrates_core::schedule::Load;
use sockrates_core::target::ReadyLine;
use sockrates_core::units;
use sockrates_probe::namespace;

use crate::options::Options;
use crate::page::Row;
use crate::trials::{self, SOCKRATES, mean, quantile};

pub(crate) const TEXT: &str = "\
`tcpdump` sees every packet on the loopback interface. From the first packet of a request to the last of its reply is time\n\
that the client cannot have missed; what it measures beyond is its own system calls and wake-ups. So the difference can\n\
never be negative, and should be small. Single operations are not recorded: compared are the mean and the quantiles of\n\
both. A client that spins has no wake-up to pay and is judged; one that blocks, as a real one does, is shown: its\n\
difference is what waking up costs on this machine, and part of what its user waits for.";

const RATE: f64 = 500.0;
const CONNECTIONS: u32 = 4;
const LIMIT_NS: f64 = 30_000.0;
/// A tail is longer: it also holds what disturbed the client alone.
const TAIL_LIMIT_NS: f64 = 300_000.0;
const QUANTILES: [(f64, f64); 3] = [(0.1, LIMIT_NS), (0.5, LIMIT_NS), (0.9, TAIL_LIMIT_NS)];

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        return Ok(vec![Row::skipped("tcpdump is not installed")]);
    }
    let window_ms = options.choose(10_000, 3000);
    // A network namespace is a thread's; the processes it starts inherit it.
    let observed = thread::spawn(move || {
        if let Err(error) = namespace::enter() {
            let reason = format!("no network namespace: {error}");
            return Ok(vec![Row::skipped(&reason)]);
        }
        let mut rows = observe(Wait::Spin, window_ms)?;
        rows.extend(
            observe(Wait::Blocking, window_ms)?
                .into_iter()
                .map(Row::only_shown),
        );
        Ok(rows)
    });
    observed.join().expect("an observer does not panic")
}

fn observe(wait: Wait, window_ms: u32) -> anyhow::Result<Vec<Row>> {
    let server = Server::start()?;
    let spec = spec(wait, window_ms, &server.ready)?;
    let (measured, packets) = trials::measure_with(&spec, |spec| {
        let dump = Dump::start()?;
        let record = trials::once(spec);
        let packets = dump.stop()?;
        Ok((record?, packets))
    })?;
    let mut exchanges = exchanges(&packets, server.ready.http.port())?;
    server.stop()?;
    ensure!(!exchanges.is_empty(), "tcpdump saw no exchange");
    exchanges.sort_by(f64::total_cmp);
    Ok(rows(wait, &measured, &exchanges))
}

/// Without a warm-up: every exchange on the wire is then in the histogram.
fn spec(wait: Wait, window_ms: u32, ready: &ReadyLine) -> anyhow::Result<TrialSpec> {
    let cell = Cell {
        load: Load::OpenPoisson {
            rate_per_second: RATE,
        },
        connections: CONNECTIONS,
        wait,
        timing: Timing {
            warm_up_ms: 0,
            ..trials::timing(window_ms)
        },
        ..trials::echo("http1-persistent", window_ms)?
    };
    let target = Target::Running {
        http: ready.http,
        tcp: ready.tcp,
        host: None,
    };
    Ok(TrialSpec {
        target,
        ..TrialSpec::alone(cell, trials::placement()?)
    })
}

fn rows(wait: Wait, measured: &Measurement, wire: &[f64]) -> Vec<Row> {
    let name = wait.name();
    let verified = measured.operations.verified;
    let mut rows = vec![Row::judged(
        format!("{name} client: exchanges on the wire"),
        format!("{verified}, as the client verified"),
        wire.len().to_string(),
        wire.len() as u64 == verified,
    )];
    let wire_mean = wire.iter().sum::<f64>() / wire.len() as f64;
    let client_mean = mean(measured, Metric::ServiceTime);
    rows.push(difference(name, "mean", client_mean, wire_mean, LIMIT_NS));
    for (p, limit_ns) in QUANTILES {
        let client = quantile(measured, Metric::ServiceTime, p);
        let on_wire = at(wire, p);
        let number = format!("p{:.0}", p * 100.0);
        rows.push(difference(name, &number, client, on_wire, limit_ns));
    }
    rows
}

fn difference(client: &str, number: &str, measured: f64, wire: f64, limit_ns: f64) -> Row {
    let difference = measured - wire;
    Row::judged(
        format!("{client} client, {number}: service time less packet time"),
        format!("above 0, below {}", units::time(limit_ns)),
        format!(
            "{} ({} less {})",
            units::time(difference),
            units::time(measured),
            units::time(wire)
        ),
        difference > 0.0 && difference < limit_ns,
    )
}

fn at(sorted: &[f64], p: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (p * sorted.len() as f64) as usize;
    sorted[index]
}

/// A server that runs for longer than one trial.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: ReadyLine,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let cpus = trials::placement()?.server_cpus;
        let mut command = Command::new(SOCKRATES);
        command.args(["serve", "--stop-with-stdin"]);
        if let Some(cpu) = cpus.first() {
            command.args(["--cpus", &cpu.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let ready = serde_json::from_str(&line).context("the server did not get ready")?;
        Ok(Self {
            child,
            stdout,
            ready,
        })
    }

    fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        self.stdout.read_to_end(&mut Vec::new())?;
        self.child.wait()?;
        Ok(())
    }
}

/// A running tcpdump, whose capture is read as it comes.
struct Dump {
    child: Child,
    capture: JoinHandle<std::io::Result<Vec<u8>>>,
}

impl Dump {
    fn start() -> anyhow::Result<Self> {
        let mut child = Command::new("tcpdump")
            .args(["-i", "lo", "-s", "128", "-B", "16384", "-U", "-w", "-"])
            .args(["--time-stamp-precision=nano", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdout = child.stdout.take().context("stdout is piped")?;
        let capture = thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mut stderr = BufReader::new(child.stderr.take().context("stderr is piped")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            ensure!(stderr.read_line(&mut line)? > 0, "tcpdump did not start");
        }
        // What else it says fits into the pipe.
        child.stderr = Some(stderr.into_inner());
        Ok(Self { child, capture })
    }

    fn stop(mut self) -> anyhow::Result<Vec<u8>> {
        // It takes packets over from the kernel once a second, and forgets what it has not taken over.
        thread::sleep(Duration::from_millis(1500));
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT)?;
        self.child.wait()?;
        Ok(self.capture.join().expect("a reader does not panic")?)
    }
}

/// One segment with payload.
struct Segment {
    at_ns: u64,
    client_port: u16,
    is_request: bool,
}

/// Returns the time from the first segment of each request to the last of its reply, in nanoseconds.
fn exchanges(capture: &[u8], server_port: u16) -> anyhow::Result<Vec<f64>> {
    let mut open: HashMap<u16, (u64, Option<u64>)> = HashMap::new();
    let mut times = Vec::new();
    let mut finish = |(first, last): (u64, Option<u64>)| {
        times.extend(last.map(|last| (last - first) as f64));
    };
    for segment in segments(capture, server_port)? {
        match open.get_mut(&segment.client_port) {
            Some((_, last)) if !segment.is_request => *last = Some(segment.at_ns),
            Some((_, None)) => {}
            _ if segment.is_request => {
                let begun = open.insert(segment.client_port, (segment.at_ns, None));
                begun.map(&mut finish);
            }
            _ => {}
        }
    }
    open.into_values().for_each(finish);
    Ok(times)
}

const NANOSECOND_MAGIC: u32 = 0xA1B2_3C4D;
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
const ETHERNET_HEADER: usize = 14;

/// Reads a capture: a file header, and each packet with a header of its own.
fn segments(capture: &[u8], server_port: u16) -> anyhow::Result<Vec<Segment>> {
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let magic = word(capture, 0);
    ensure!(
        magic == Some(NANOSECOND_MAGIC),
        "not a capture with nanoseconds"
    );
    let mut rest = &capture[FILE_HEADER..];
    let mut segments = Vec::new();
    while let (Some(seconds), Some(ns), Some(length)) =
        (word(rest, 0), word(rest, 4), word(rest, 8))
    {
        let end = PACKET_HEADER + length as usize;
        let packet = rest.get(PACKET_HEADER..end).context("a cut packet")?;
        let at_ns = u64::from(seconds) * 1_000_000_000 + u64::from(ns);
        segments.extend(segment(packet, at_ns, server_port));
        rest = &rest[end..];
    }
    Ok(segments)
}

/// Reads a segment of `IPv4`; `None` for one without payload.
fn segment(packet: &[u8], at_ns: u64, server_port: u16) -> Option<Segment> {
    let ip = packet.get(ETHERNET_HEADER..)?;
    let short = |bytes: &[u8], at: usize| -> Option<u16> {
        Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
    };
    let ip_header = usize::from(ip.first()? & 0xF) * 4;
    let tcp = ip.get(ip_header..)?;
    let tcp_header = usize::from(tcp.get(12)? >> 4) * 4;
    let (source, destination) = (short(tcp, 0)?, short(tcp, 2)?);
    let is_request = destination == server_port;
    let has_payload = usize::from(short(ip, 2)?) > ip_header + tcp_header;
    has_payload.then_some(Segment {
        at_ns,
        client_port: if is_request { source } else { destination },
        is_request,
    })
}
