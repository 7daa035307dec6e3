//! A server, and trials against it.

use std::net::SocketAddr;

use sockrates_core::document::Document;
use sockrates_core::lane::Lane;
use sockrates_core::payload::PayloadKind;
use sockrates_core::plan::{Cell, Placement, Target, TrialSpec};
use sockrates_core::scenario::{Timing, Wait, Workload};
use sockrates_core::schedule::Load as LoadModel;
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
    }
}

pub(crate) fn both(address: SocketAddr) -> Addresses {
    Addresses {
        http: address,
        tcp: Some(address),
    }
}

/// One connection, a closed loop of so many echoes, bounded by a window nobody should need.
pub(crate) fn echo(lane: &Lane, payload_bytes: u32, operations: u64) -> TrialSpec {
    let kind = if payload_bytes.is_multiple_of(2) {
        PayloadKind::Binary
    } else {
        PayloadKind::Text
    };
    TrialSpec {
        schema_version: TrialSpec::VERSION,
        index: 0,
        block: 0,
        seed: 7,
        cell: Cell {
            id: "test".into(),
            scenario: "test".into(),
            workload: Workload::Echo {
                payload: kind,
                payload_bytes,
            },
            lane: lane.clone(),
            load: LoadModel::Closed {},
            connections: 1,
            wait: Wait::Blocking,
            timing: Timing {
                warm_up_ms: 0,
                window_ms: 30_000,
                drain_ms: 5000,
                timeout_ms: 20_000,
            },
        },
        target: Target::Fresh {},
        placement: Placement {
            server_cpus: vec![],
            client_cpus: vec![],
        },
        stop_after_operations: Some(operations),
    }
}

/// Runs a trial on a thread of its own, whose CPUs it may choose.
pub(crate) fn run(spec: TrialSpec, addresses: Addresses) -> Result<Load, TrialError> {
    std::thread::spawn(move || trial::run(&spec, addresses, &[]))
        .join()
        .unwrap()
}
