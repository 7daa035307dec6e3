//! The lanes there are: one row per transport. The only dynamic step of a trial is the function
//! pointer in its row.

use sockrates_core::lane::{Lane, Lifecycle};
use sockrates_core::scenario::Workload;
use tokio::net::TcpStream;

use crate::transport::http1::Http1;
use crate::transport::http1_hyper::HyperHttp1;
use crate::transport::tcp::Tcp;
use crate::transport::websocket::Ws;
use crate::transport::{Peer, Transport};
use crate::worker::{self, Start, WorkerError, WorkerOutcome, WorkerPlan};
use crate::workload::echo::{Echo, Messages};
use crate::workload::updates::ShortPoll;

/// One row: a transport with a client, and what can be measured with it.
#[derive(Debug)]
pub struct Row {
    /// The transport's name in lanes.
    pub transport: &'static str,
    /// The client library of a control lane.
    pub client: Option<&'static str>,
    /// The lifecycles it offers as lanes.
    pub lifecycles: &'static [Lifecycle],
    /// The workloads it can carry, by name.
    pub workloads: &'static [&'static str],
    /// Which of the server's ports it speaks to.
    pub port: Port,
    /// What it is, in a line.
    pub summary: &'static str,
    pub(crate) run: fn(&WorkerPlan, &Start) -> Result<WorkerOutcome, WorkerError>,
}

/// A port of the target server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Port {
    /// HTTP and WebSocket.
    Http,
    /// The length-prefixed floor.
    Tcp,
}

/// All rows, in the order in which lanes are listed.
pub const ROWS: &[Row] = &[
    Row {
        transport: "tcp",
        client: None,
        lifecycles: &Lifecycle::ALL,
        workloads: &["echo"],
        port: Port::Tcp,
        summary: "length-prefixed messages: the floor below every protocol",
        run: run::<Tcp<TcpStream>>,
    },
    Row {
        transport: "http1",
        client: None,
        lifecycles: &Lifecycle::ALL,
        workloads: &["echo", "updates"],
        port: Port::Http,
        summary: "HTTP/1.1 with a lean client",
        run: run::<Http1<TcpStream>>,
    },
    Row {
        transport: "http1",
        client: Some(Lane::NULL),
        lifecycles: &[Lifecycle::Persistent],
        workloads: &["echo"],
        port: Port::Http,
        summary: "null: http1-persistent once more, to show how far two equal lanes come out apart",
        run: run::<Http1<TcpStream>>,
    },
    Row {
        transport: "websocket",
        client: None,
        lifecycles: &Lifecycle::ALL,
        workloads: &["echo"],
        port: Port::Http,
        summary: "WebSocket (RFC 6455) over HTTP/1.1",
        run: run::<Ws<TcpStream>>,
    },
    Row {
        transport: "http1",
        client: Some("hyper"),
        lifecycles: &[Lifecycle::Persistent],
        workloads: &["echo", "updates"],
        port: Port::Http,
        summary: "control: HTTP/1.1 with hyper's client, to show what a client library adds",
        run: run::<HyperHttp1<TcpStream>>,
    },
];

/// Says that a lane cannot be measured.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum LaneError {
    /// There is no such lane.
    #[error("unknown lane `{lane}`; known: {known}")]
    Unknown {
        /// What was asked for.
        lane: String,
        /// All lanes, separated by commas.
        known: String,
    },
    /// The lane cannot carry the workload.
    #[error("lane `{lane}` cannot carry workload `{workload}`; it carries: {carries}")]
    Workload {
        /// What was asked for.
        lane: String,
        /// The workload's name.
        workload: &'static str,
        /// What it carries, separated by commas.
        carries: String,
    },
}

/// Returns all lanes in their order, each with its row.
pub fn lanes() -> impl Iterator<Item = (Lane, &'static Row)> {
    ROWS.iter().flat_map(|row| {
        row.lifecycles
            .iter()
            .map(move |lifecycle| (row.lane(*lifecycle), row))
    })
}

/// Finds a lane's row and checks that it carries the workload.
pub fn find(lane: &Lane, workload: &Workload) -> Result<&'static Row, LaneError> {
    let Some((_, row)) = lanes().find(|(known, _)| known == lane) else {
        let known = lanes()
            .map(|(known, _)| known.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        return Err(LaneError::Unknown {
            lane: lane.to_string(),
            known,
        });
    };
    if row.workloads.contains(&workload.name()) {
        Ok(row)
    } else {
        let carries = row.workloads.join(", ");
        Err(LaneError::Workload {
            lane: lane.to_string(),
            workload: workload.name(),
            carries,
        })
    }
}

impl Row {
    fn lane(&self, lifecycle: Lifecycle) -> Lane {
        Lane {
            transport: self.transport.to_owned(),
            lifecycle,
            client: self.client.map(str::to_owned),
        }
    }
}

/// Runs one worker of any workload over one transport.
fn run<T>(plan: &WorkerPlan, start: &Start) -> Result<WorkerOutcome, WorkerError>
where
    T: Transport<TcpStream> + 'static,
    T::Prepared: 'static,
{
    const CARRIED: &str = "the registry was asked whether the lane carries the workload";
    let peer: &Peer = &plan.peer;
    match plan.workload {
        Workload::Echo {
            payload,
            payload_bytes,
            ..
        } => worker::run::<T, Echo<T::Prepared>>(plan, start, |slot| {
            let messages = Messages {
                kind: payload,
                bytes: payload_bytes,
                seed: plan.seed,
                slot,
            };
            Echo::new::<_, T>(messages, plan.exchanges, peer).expect(CARRIED)
        }),
        Workload::Updates { .. } => {
            worker::run::<T, ShortPoll<TcpStream, T>>(plan, start, |_slot| {
                ShortPoll::new(plan.seed, peer).expect(CARRIED)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use sockrates_core::profile;

    use super::*;

    #[test]
    fn every_embedded_scenario_names_lanes_that_carry_it() {
        for scenario in profile::scenarios() {
            for lane in &scenario.lanes {
                find(lane, &scenario.workload).unwrap();
            }
        }
    }

    #[test]
    fn an_unknown_lane_is_told_what_there_is() {
        let echo = profile::scenarios().remove(0).workload;
        let message = find(&"quic-persistent".parse().unwrap(), &echo)
            .unwrap_err()
            .to_string();
        assert!(message.contains("`quic-persistent`") && message.contains("http1-per-request"));
    }
}
