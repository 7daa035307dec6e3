//! The flags of `sockrates run`: those that people know from other tools, in groups.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sockrates_core::custom::{Header, Matching, StatusSet};
use sockrates_core::lane::{Lane, LaneError, Lifecycle};
use sockrates_core::scenario::Wait;
use sockrates_core::suggest;
use sockrates_core::threshold::Threshold;
use sockrates_core::units;
use sockrates_loadgen::registry;

use crate::numbers;
use crate::target::Allowed;

/// Measure any server, once and honestly.
///
/// Response times count from the instant an operation was due; times with and without opening a connection stand side by
/// side; every reply is checked; and the last line says how far to trust it all. docs/RUN.md explains, with a table for
/// those who come from wrk, wrk2, oha, hey or k6.
#[derive(Args, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Arguments {
    /// Where and what: http://HOST:PORT/PATH, or ws://HOST:PORT/PATH for a WebSocket
    #[arg(value_name = "URL")]
    pub(super) url: String,
    /// Allow this host, which is not this machine: HOST, HOST:PORT or a URL
    #[arg(long, value_name = "HOST")]
    pub(super) allow_target: Vec<Allowed>,
    /// Print the first request's bytes and the plan, and measure nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Write a scenario file that `sockrates bench` repeats this measurement from; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) save_scenario: Option<PathBuf>,
    /// Draws arrivals, messages and masks (default: from the time of day)
    #[arg(long, value_name = "SEED", value_parser = numbers::seed())]
    pub(super) seed: Option<u64>,
    #[command(flatten)]
    pub(super) load: LoadArguments,
    #[command(flatten)]
    pub(super) http: HttpArguments,
    #[command(flatten)]
    pub(super) websocket: WebSocketArguments,
    #[command(flatten)]
    pub(super) output: OutputArguments,
    #[command(flatten)]
    pub(super) gates: GateArguments,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadArguments {
    /// Connections, or connections at a time with a connection per request
    #[arg(short, long, value_name = "N", default_value = "50", value_parser = units::parse_count)]
    pub(super) connections: u32,
    /// How long operations are started that count: 30s, 1m30s, 2h, 500ms, up to 24h; a bare number is seconds [default: 10s]
    #[arg(short, long, value_name = "TIME", allow_hyphen_values = true, value_parser = units::parse_time_ms)]
    pub(super) duration: Option<u32>,
    /// End after so many operations, counted from the first: 500, 10k, up to 100m
    #[arg(short = 'n', long, visible_alias = "requests", value_name = "N", value_parser = units::parse_count)]
    pub(super) operations: Option<u32>,
    /// Operations per second over all connections, due whatever the server does; without it, each connection starts the
    /// next one when the last has ended
    #[arg(short, long, visible_alias = "qps", visible_short_alias = 'q', value_name = "RATE", value_parser = parse_rate)]
    pub(super) rate: Option<f64>,
    /// How the operations of a --rate are spread over time
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate")]
    pub(super) arrivals: Arrivals,
    /// Load ahead of what counts [default: 1s; none with --operations]
    #[arg(short, long, value_name = "TIME", allow_hyphen_values = true, value_parser = units::parse_time_ms)]
    pub(super) warmup: Option<u32>,
    /// Let the load rise from nothing for so long, ahead of the warm-up
    #[arg(long, value_name = "TIME", default_value = "0", allow_hyphen_values = true, value_parser = units::parse_time_ms)]
    pub(super) ramp: u32,
    /// Client threads, each on a CPU of its own [default: half of the CPUs]
    #[arg(short, long, value_name = "N", value_parser = numbers::within::<u32>(1..=1024))]
    pub(super) threads: Option<u32>,
    /// Whether a connection serves one operation or all
    #[arg(long, value_name = "LIFECYCLE", default_value = "persistent")]
    pub(super) lifecycle: LifecycleArgument,
    /// The lane, where the URL's scheme does not say it: http1-persistent, websocket-per-request, …
    #[arg(long, value_name = "LANE", conflicts_with = "lifecycle", value_parser = parse_lane)]
    pub(super) lane: Option<Lane>,
    /// When an operation has taken so long, it has failed; open ones are waited for as long at the end, up to 10s
    #[arg(long, value_name = "TIME", default_value = "5s", allow_hyphen_values = true, value_parser = units::parse_time_ms)]
    pub(super) timeout: u32,
    /// How the client waits: asleep, or spinning on its CPUs to be more punctual
    #[arg(long, value_name = "HOW", default_value = "blocking")]
    pub(super) wait: WaitArgument,
    /// Measure so many times, one after the other
    #[arg(long, value_name = "N", value_parser = numbers::within::<u32>(1..=100))]
    pub(super) repeat: Option<u32>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "HTTP")]
pub(super) struct HttpArguments {
    /// The method [default: GET, or POST with a body]
    #[arg(short, long, value_name = "METHOD")]
    pub(super) method: Option<String>,
    /// A header, also of a WebSocket's handshake: 'Name: value'
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = parse_header)]
    pub(super) headers: Vec<Header>,
    /// The request's body
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) body: Option<String>,
    /// The same from a file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    pub(super) body_file: Option<PathBuf>,
    /// The statuses that count as an answer: 2xx,304 [default: 2xx]
    #[arg(long, value_name = "STATUSES")]
    pub(super) expect_status: Option<StatusSet>,
    /// What the reply's body, or any answering message, must be
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "expect_echo"
    )]
    pub(super) expect_body: Option<String>,
    /// The reply must be what was sent; a WebSocket's must anyway, with --match echo
    #[arg(long)]
    pub(super) expect_echo: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "WebSocket")]
pub(super) struct WebSocketArguments {
    /// What to send; {sequence} in it becomes a number
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "message_size"
    )]
    pub(super) message: Option<String>,
    /// Send messages of so many random bytes, from 8 on each different from the last [default: 64]
    #[arg(long, value_name = "BYTES", value_parser = numbers::within::<u32>(0..=1 << 20))]
    pub(super) message_size: Option<u32>,
    /// Send binary messages instead of text
    #[arg(long)]
    pub(super) binary: bool,
    /// Which message answers: the one that says the same, the next one, or none (the server speaks)
    #[arg(long = "match", value_name = "HOW")]
    pub(super) matching: Option<MatchArgument>,
    /// The subprotocol to ask for
    #[arg(long, value_name = "NAME")]
    pub(super) subprotocol: Option<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArguments {
    /// The percentiles to tell
    #[arg(long, value_name = "LIST", default_value = "50,90,99,99.9", value_delimiter = ',', value_parser = parse_percentile)]
    pub(super) percentiles: Vec<f64>,
    /// Tell the whole spectrum of the times
    #[arg(long)]
    pub(super) latency: bool,
    /// How to write the result
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(super) json: bool,
    /// Write the result to a file; then text for people goes to stderr [default: `-`, standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Write all histograms to a file, as an interval log for HdrHistogram's tools; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) hlog: Option<PathBuf>,
    /// Show nothing while measuring
    #[arg(long)]
    pub(super) quiet: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Gates and comparisons")]
pub(super) struct GateArguments {
    /// Fail (exit code 5) when this holds: 'failed > 0.1%', 'throughput < 10k', or a time as the JSON names it, with its
    /// percentile; may be repeated
    #[arg(long, value_name = "CONDITION")]
    pub(super) fail_if: Vec<Threshold>,
    /// Compare with the result in this file (of --repeat 4 or more, --json -o FILE); `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// Fail (exit code 5) when something is clearly worse than in the --baseline
    #[arg(long, requires = "baseline")]
    pub(super) fail_on_regression: bool,
    /// Measure a connection per request and kept ones in turn, and take the difference apart; --repeat says how often
    /// [default: 8], --duration is of one trial [default: 1.5s]
    #[arg(long, conflicts_with_all = ["lane", "lifecycle", "fail_if", "baseline", "hlog", "output", "format", "latency", "operations"])]
    pub(super) compare_lifecycles: bool,
    /// With --compare-lifecycles, the same server's URL over the other protocol, for the whole two-by-two
    #[arg(long, value_name = "URL", requires = "compare_lifecycles")]
    pub(super) counterpart: Option<String>,
    /// Where --compare-lifecycles writes its report: a new folder is made in it
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    pub(super) results: PathBuf,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Arrivals {
    /// At equal distances
    Constant,
    /// At random instants, as independent users come
    Poisson,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum LifecycleArgument {
    /// Open, one operation, close
    PerRequest,
    /// Open once, many operations
    Persistent,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum WaitArgument {
    /// Asleep in epoll
    Blocking,
    /// Polling
    Spin,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum MatchArgument {
    /// The message that says the same
    Echo,
    /// The next message
    AnyReply,
    /// None: the server speaks
    ReceiveOnly,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// A table
    Text,
    /// One document; its schema is crates/core/schema/run-result.v1.json
    Json,
    /// One row per number
    Csv,
}

impl From<LifecycleArgument> for Lifecycle {
    fn from(argument: LifecycleArgument) -> Self {
        match argument {
            LifecycleArgument::PerRequest => Self::PerRequest,
            LifecycleArgument::Persistent => Self::Persistent,
        }
    }
}

impl From<WaitArgument> for Wait {
    fn from(argument: WaitArgument) -> Self {
        match argument {
            WaitArgument::Blocking => Self::Blocking,
            WaitArgument::Spin => Self::Spin,
        }
    }
}

impl From<MatchArgument> for Matching {
    fn from(argument: MatchArgument) -> Self {
        match argument {
            MatchArgument::Echo => Self::Echo,
            MatchArgument::AnyReply => Self::AnyReply,
            MatchArgument::ReceiveOnly => Self::ReceiveOnly,
        }
    }
}

fn parse_lane(text: &str) -> Result<Lane, String> {
    text.parse().map_err(|error: LaneError| {
        let known: Vec<_> = registry::lanes()
            .map(|(lane, _)| lane.to_string())
            .collect();
        let near = suggest::hint(text, known.iter().map(String::as_str));
        format!("{error}{near}")
    })
}

fn parse_header(text: &str) -> Result<Header, String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("write 'Name: value'".to_owned())?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.trim().to_ascii_lowercase() {
        text if text.ends_with('k') => (text.trim_end_matches('k').to_owned(), 1e3),
        text if text.ends_with('m') => (text.trim_end_matches('m').to_owned(), 1e6),
        text => (text, 1.0),
    };
    let rate = number
        .trim()
        .parse::<f64>()
        .map_or(f64::NAN, |number| number * factor);
    if rate > 0.0 && rate <= MAX_RATE {
        Ok(rate)
    } else {
        Err(
            "write a number of operations per second above 0, up to 10m, as in 500, 0.5 or 10k"
                .to_owned(),
        )
    }
}

/// What scenarios allow.
const MAX_RATE: f64 = 10e6;

fn parse_percentile(text: &str) -> Result<f64, String> {
    let percentile = text
        .trim()
        .trim_start_matches('p')
        .parse::<f64>()
        .unwrap_or(f64::NAN);
    if percentile > 0.0 && percentile < 100.0 {
        Ok(percentile)
    } else {
        Err(
            "write numbers between 0 and 100, as in 50,90,99,99.9; the maximum is always told"
                .to_owned(),
        )
    }
}
