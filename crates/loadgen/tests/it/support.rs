//! A server, and trials against it.

use std::net::SocketAddr;

use sockrates_core::lane::Lane;
use sockrates_core::payload::PayloadKind;
use sockrates_core::plan::{Cell, Placement, TrialSpec};
use sockrates_core::scenario::{Timing, Workload};
use sockrates_loadgen::trial::{self, Addresses, Load, TrialError};
use sockrates_server::{Config, Server};

/// A server on free ports, without time-outs that a slow machine could run into.
pub(crate) fn server() -> Server {
    Server::start(&Config::default()).unwrap()
}

pub(crate) fn addresses(server: &Server) -> Addresses {
    let ready = server.ready();
    Addresses {
        http: ready.http,
        tcp: ready.tcp,
        server_pid: None,
        network_is_own: false,
    }
}

pub(crate) fn both(address: SocketAddr) -> Addresses {
    Addresses {
        http: address,
        tcp: Some(address),
        server_pid: None,
        network_is_own: false,
    }
}

/// One connection, a closed loop of so many echoes, bounded by a window nobody should need.
pub(crate) fn echo(lane: &Lane, payload_bytes: u32, operations: u64) -> TrialSpec {
    let kind = if payload_bytes.is_multiple_of(2) {
        PayloadKind::Binary
    } else {
        PayloadKind::Text
    };
    let timing = Timing {
        warm_up_ms: 0,
        ramp_ms: 0,
        window_ms: 30_000,
        drain_ms: 5000,
        timeout_ms: 20_000,
    };
    let mut cell = Cell::echo(lane.clone(), payload_bytes, timing);
    cell.workload = Workload::Echo {
        payload: kind,
        payload_bytes,
        exchanges_per_connection: None,
    };
    TrialSpec {
        seed: 7,
        stop_after_operations: Some(operations),
        ..TrialSpec::alone(cell, Placement::default())
    }
}

/// Runs a trial on a thread of its own, whose CPUs it may choose.
pub(crate) fn run(spec: TrialSpec, addresses: Addresses) -> Result<Load, TrialError> {
    std::thread::spawn(move || trial::run(&spec, addresses, &[]))
        .join()
        .unwrap()
}
