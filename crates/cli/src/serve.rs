//! `sockrates serve`: the target server, until it is told to stop.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use sockrates_core::units;
use sockrates_server::faults::{Faults, Instructions, Padding, Stall, Times};
use sockrates_server::{Config, Limits, Publisher, Server, StartError};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Failure, OrExit};
use crate::{numbers, output};

/// Run the target server.
///
/// Prints one JSON line with its addresses when it is ready, and one with its usage when it stops
/// (on SIGINT or SIGTERM).
#[derive(Args, Debug)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Arguments {
    /// Where to serve HTTP and WebSocket; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where to serve the length-prefixed tcp floor; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    tcp_listen: SocketAddr,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = numbers::within::<usize>(1..=1024))]
    workers: usize,
    /// Bind the workers to these CPUs in turn, e.g. 1,2,3
    #[arg(long, value_name = "CPUS", value_delimiter = ',')]
    cpus: Vec<u32>,
    /// Allow addresses that other machines can reach
    #[arg(long)]
    allow_remote: bool,
    /// Stop when stdin closes
    #[arg(long)]
    stop_with_stdin: bool,
    /// The largest request head, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().header_bytes, value_parser = numbers::within::<usize>(256..=1 << 24))]
    max_header_bytes: usize,
    /// The largest request body or WebSocket message, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().message_bytes, value_parser = numbers::within::<usize>(1..=1 << 30))]
    max_message_bytes: usize,
    /// The largest number of connections at a time
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = numbers::within::<usize>(1..=1 << 20))]
    max_connections: usize,
    /// How long a request head may take: 10s, 1m30s; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value_t = Limits::default().header_read_timeout.as_secs_f64(), value_parser = seconds)]
    header_timeout: f64,
    /// The time from a complete request head to the end of its reply
    #[arg(long, value_name = "TIME", default_value_t = Limits::default().exchange_timeout.as_secs_f64(), value_parser = seconds)]
    exchange_timeout: f64,
    /// How long a connection may be idle
    #[arg(long, value_name = "TIME", default_value_t = Limits::default().idle_timeout.as_secs_f64(), value_parser = seconds)]
    idle_timeout: f64,
    /// Updates or messages a subscriber may be behind before it is disconnected
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().subscriber_backlog, value_parser = numbers::within::<u64>(1..=1 << 32))]
    subscriber_backlog: u64,
    /// The silence after which a stream of updates says that it is alive
    #[arg(long, value_name = "TIME", default_value_t = Limits::default().keep_alive.as_secs_f64(), value_parser = seconds)]
    keep_alive: f64,
    /// The mean rate of the default topic's publisher; 0 keeps it silent
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    events_per_second: f64,
    /// The length of an event's payload
    #[arg(long, value_name = "BYTES", default_value_t = Publisher::default().payload_bytes, value_parser = numbers::within::<u32>(0..=1 << 30))]
    event_bytes: u32,
    /// Draws the events' instants and payloads
    #[arg(long, value_name = "SEED", default_value_t = Publisher::default().seed, value_parser = numbers::within::<u64>(0..=u64::MAX))]
    event_seed: u64,
    #[command(flatten)]
    faults: FaultArguments,
}

/// Reads a time as `run` does; returns seconds.
fn seconds(text: &str) -> Result<f64, String> {
    Ok(units::time_ms(text)? / 1e3)
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Faults, to test the instrument")]
struct FaultArguments {
    /// Burn this much CPU time before each reply, to test that the instrument finds it:
    /// http1=NS,websocket=NS,tcp=NS, any of them; exp:NS draws times with that mean
    #[arg(long, value_name = "TIMES")]
    burn: Option<Times>,
    /// Execute so many instructions more before each reply of http1, to test that a cost too small
    /// to be timed is found: http1=COUNT
    #[arg(long, value_name = "http1=COUNT")]
    burn_instructions: Option<Instructions>,
    /// Wait this long before each reply, without using the CPU, to test that the instrument finds
    /// it: as with --burn
    #[arg(long, value_name = "TIMES")]
    delay: Option<Times>,
    /// Make replies of http1's /echo this much longer, from 5 to 1000 bytes, to test that the
    /// instrument finds it: http1=BYTES
    #[arg(long, value_name = "http1=BYTES")]
    pad: Option<Padding>,
    /// Stop all workers once, so long after the first operation began and for so long, to test that
    /// the instrument finds it
    #[arg(long, value_name = "AFTER_MS:FOR_MS")]
    stall: Option<Stall>,
    /// Draws the times of exp:NS
    #[arg(long, value_name = "SEED", default_value_t = Faults::default().seed, value_parser = numbers::within::<u64>(0..=u64::MAX))]
    fault_seed: u64,
}

impl FaultArguments {
    fn faults(&self) -> Faults {
        Faults {
            burn: self.burn.clone().unwrap_or_default(),
            burn_instructions: self.burn_instructions.unwrap_or_default(),
            delay: self.delay.clone().unwrap_or_default(),
            pad: self.pad.clone().unwrap_or_default(),
            stall: self.stall,
            seed: self.fault_seed,
        }
    }
}

/// Splits and checks further arguments for servers that are started later.
pub(crate) fn check_arguments(text: &str) -> Result<Vec<String>, Failure> {
    let all: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let command = Arguments::augment_args(clap::Command::new("serve").no_binary_name(true));
    command
        .try_get_matches_from(&all)
        .map_err(|error| Failure::new(Exit::Usage, format!("--serve-with: {error}")))?;
    Ok(all)
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), Failure> {
    // Before the ready line: whoever reads it may stop the server at once.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let config = config(arguments)?;
    let stdin_closed = stdin_closed(arguments.stop_with_stdin)?;
    let server = Server::start(&config).map_err(refused)?;
    line(&server.ready())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = stdin_closed, if arguments.stop_with_stdin => {}
    }
    line(&server.stop())
}

fn refused(error: StartError) -> Failure {
    match error {
        StartError::Remote(_) => {
            Failure::new(Exit::Environment, format!("{error} (--allow-remote)"))
        }
        _ if error.is_environment() => Failure {
            exit: Exit::Environment,
            error: error.into(),
        },
        _ => Failure {
            exit: Exit::Usage,
            error: error.into(),
        },
    }
}

fn config(arguments: &Arguments) -> Result<Config, Failure> {
    let seconds = |flag: &str, seconds: f64| {
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    format!("{flag} {seconds}: use a number above 0"),
                )
            })
    };
    let rate = arguments.events_per_second;
    if !(0.0..=1e6).contains(&rate) {
        let message = format!("--events-per-second {rate}: use a number from 0 to 1000000");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Config {
        listen: arguments.listen,
        tcp_listen: arguments.tcp_listen,
        workers: arguments.workers,
        cpus: arguments.cpus.clone(),
        allow_remote: arguments.allow_remote,
        limits: Limits {
            header_bytes: arguments.max_header_bytes,
            message_bytes: arguments.max_message_bytes,
            connections: arguments.max_connections,
            header_read_timeout: seconds("--header-timeout", arguments.header_timeout)?,
            exchange_timeout: seconds("--exchange-timeout", arguments.exchange_timeout)?,
            idle_timeout: seconds("--idle-timeout", arguments.idle_timeout)?,
            subscriber_backlog: arguments.subscriber_backlog,
            keep_alive: seconds("--keep-alive", arguments.keep_alive)?,
        },
        publisher: Publisher {
            events_per_second: rate,
            payload_bytes: arguments.event_bytes,
            seed: arguments.event_seed,
        },
        faults: arguments.faults.faults(),
    })
}

fn line(document: &impl serde::Serialize) -> Result<(), Failure> {
    output::result(&(serde_json::to_string(document)? + "\n"));
    Ok(())
}

/// Begins to read stdin, if that matters; the future is ready when it ends. The thread is left behind: it ends with the process.
fn stdin_closed(matters: bool) -> Result<impl Future<Output = ()>, Failure> {
    let (closed, wait) = tokio::sync::oneshot::channel();
    if matters {
        let read = move || {
            let mut bytes = [0; 64];
            while matches!(std::io::stdin().read(&mut bytes), Ok(1..)) {}
            // The receiver is gone only when the server already stops.
            let _ = closed.send(());
        };
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(read)
            .or_exit(Exit::Environment, "make a thread that watches stdin")?;
    }
    // A dropped sender says the same.
    Ok(async { drop(wait.await) })
}
