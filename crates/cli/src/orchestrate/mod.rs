//! One trial from end to end: a network of its own, a fresh server, the load, the record.

mod awake;
mod capacity;
pub(crate) mod child;
mod server;

use std::net::Ipv4Addr;
use std::sync::Arc;

use sockrates_core::document::Document;
use sockrates_core::failure::FailureKind;
use sockrates_core::plan::{Target, TrialSpec};
use sockrates_core::record::{FailedTrial, Isolation, Measurement, Metric, Outcome, TrialRecord};
use sockrates_core::scenario::Wait;
use sockrates_core::surroundings::Surroundings;
use sockrates_core::target::ServerUsage;
use sockrates_core::verdict;
use sockrates_loadgen::live::Live;
use sockrates_loadgen::trial::WorkerError;
use sockrates_loadgen::trial::{self, Addresses, Load, TrialError};
use sockrates_probe::surroundings::{Others, Watch};
use sockrates_probe::{clock, namespace, process};

use self::awake::Awake;
use self::server::FreshServer;

/// How many source addresses connections are spread over: 28,000 ports each.
const SOURCES: u8 = 16;

/// Gives this process a network of its own, if its trial has a server of its own and the kernel lets it.
pub(crate) fn isolate(spec: &TrialSpec) -> Isolation {
    match &spec.target {
        Target::Running { .. } => Isolation::None,
        Target::Fresh { .. } => match namespace::enter() {
            Ok(()) => Isolation::NetworkNamespace,
            Err(_) => Isolation::FreshAddresses,
        },
    }
}

/// Marks the record of a trial that a signal ended.
pub(crate) fn cut_short(record: &mut TrialRecord) {
    if record.outcome == Outcome::Completed {
        record.outcome = Outcome::Failed {
            reason: FailedTrial::Interrupted,
            message: "ended by a signal".to_owned(),
        };
    }
}

/// Performs a trial, with a view of the load while it is on. Whatever goes wrong becomes part of the record.
pub(crate) fn trial(spec: TrialSpec, isolation: Isolation, live: &Arc<Live>) -> TrialRecord {
    let started_unix_ms = clock::unix_ms();
    // Wake-ups as exact as the kernel can make them; refused, the schedule lag shows it.
    let _ = process::sharpen_timers();
    let wait = spec.cell.wait;
    // Before the server, whose start is no part of what is measured, and until it has ended.
    let awake = Awake::start(&spec);
    let spinners = awake.pid();
    let result = match spec.target {
        Target::Fresh { .. } => against_fresh(&spec, isolation, spinners, live),
        Target::Running { http, tcp, .. } => {
            let addresses = Addresses {
                http,
                tcp,
                server_pid: None,
                network_is_own: false,
            };
            // Connections that stay need no more ports than one address has, and a server may look at where they come from.
            let sources = if spec.cell.opens_while_measured() {
                sources(Isolation::FreshAddresses, spec.index)
            } else {
                Vec::new()
            };
            let others = Others {
                server: None,
                spinners,
            };
            watched(others, || trial::run_live(&spec, addresses, &sources, live))
                .map(|(load, around)| (load, around, None, None))
        }
    };
    match result {
        Err(Broken { reason, message }) => {
            TrialRecord::failed(spec, started_unix_ms, reason, message)
        }
        Ok((load, around, server, lost)) => TrialRecord {
            schema_version: TrialRecord::VERSION,
            spec,
            started_unix_ms,
            outcome: lost.map_or(Outcome::Completed, |message| Outcome::Failed {
                reason: FailedTrial::ServerLost,
                message,
            }),
            measurement: Some(Measurement {
                cpu_idle: awake.stop(around.as_ref()),
                surroundings: around,
                ..measurement(wait, isolation, load, server)
            }),
            search: None,
        },
    }
}

/// Why there is nothing to record but the failure.
struct Broken {
    reason: FailedTrial,
    message: String,
}

type Measured = (
    Load,
    Option<Surroundings>,
    Option<ServerUsage>,
    Option<String>,
);

/// Runs a load, and watches what the machine does meanwhile. Where the machine does not say, nothing is known.
fn watched(
    others: Others,
    load: impl FnOnce() -> Result<Load, TrialError>,
) -> Result<(Load, Option<Surroundings>), Broken> {
    let watch = Watch::start(others).ok();
    let load = load();
    let around = watch.map(Watch::stop);
    Ok((load?, around))
}

fn against_fresh(
    spec: &TrialSpec,
    isolation: Isolation,
    spinners: Option<u32>,
    live: &Arc<Live>,
) -> Result<Measured, Broken> {
    let server = FreshServer::start(spec)?;
    let addresses = Addresses {
        network_is_own: isolation == Isolation::NetworkNamespace,
        ..server.addresses()
    };
    let others = Others {
        server: Some(server.pid()),
        spinners,
    };
    let load = watched(others, || {
        trial::run_live(spec, addresses, &sources(isolation, spec.index), live)
    });
    match server.stop() {
        Ok(usage) => load.map(|(load, around)| (load, around, Some(usage), None)),
        // What was measured until then is kept, but the server's end is what the trial is about.
        Err(lost) => match load {
            Ok((load, around)) => Ok((load, around, None, Some(lost))),
            Err(_) => Err(Broken {
                reason: FailedTrial::ServerLost,
                message: lost,
            }),
        },
    }
}

/// Returns the addresses connections come from. In a namespace of one's own any will do; on the
/// host's network each trial takes others than the trials before it, whose ports may still be taken.
fn sources(isolation: Isolation, index: u32) -> Vec<Ipv4Addr> {
    let [_, _, high, low] = match isolation {
        Isolation::NetworkNamespace | Isolation::None => 0u32.to_be_bytes(),
        // 127.0.x.y stays for the namespace case; from here on one /24 per trial, round and round.
        Isolation::FreshAddresses => (256 + index % 60_000).to_be_bytes(),
    };
    (1..=SOURCES)
        .map(|host| Ipv4Addr::new(127, high, low, host))
        .collect()
}

fn measurement(
    wait: Wait,
    isolation: Isolation,
    load: Load,
    server: Option<ServerUsage>,
) -> Measurement {
    Measurement {
        isolation,
        socket: load.socket,
        spans: load.spans,
        operations: load.operations,
        warm_up: load.warm_up,
        connections_opened: load.connections_opened,
        pacing: verdict::pacing(wait, load.histograms.get(&Metric::ScheduleLag)),
        histograms: load.histograms,
        slices: load.slices,
        updates: load.updates,
        fanout: load.fanout,
        duplex: load.duplex,
        answers: load.answers,
        silence: load.silence,
        cost: load.cost,
        window_cost: load.window_cost,
        client: load.client,
        server,
        cpu_idle: None,
        surroundings: None,
        wire: load.wire,
    }
}

impl From<TrialError> for Broken {
    fn from(error: TrialError) -> Self {
        let reason = match &error {
            TrialError::Unreachable { failure, .. }
            | TrialError::Worker(WorkerError::Open(failure)) => match failure {
                FailureKind::ConnectNoDescriptor | FailureKind::ConnectAddressNotAvailable => {
                    FailedTrial::Environment
                }
                _ => FailedTrial::TargetUnreachable,
            },
            TrialError::NoFloor(_) | TrialError::Unprepared { .. } => {
                FailedTrial::TargetUnreachable
            }
            TrialError::Worker(WorkerError::Setup(_)) => FailedTrial::Environment,
            TrialError::Lane(_) => FailedTrial::Harness,
        };
        Self {
            reason,
            message: format!("{error:#}"),
        }
    }
}
