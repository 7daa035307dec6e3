//! The lanes there are: one row per transport. The only dynamic step of a trial is the function
//! pointer in its row.

use std::cell::RefCell;
use std::rc::Rc;

use sockrates_core::lane::{Lane, Lifecycle};
use sockrates_core::scenario::{Delivery, Workload};
use sockrates_core::suggest;
use tokio::net::TcpStream;

use crate::converse::Conversing;
use crate::parts::{Exchanging, Following};
use crate::post::Posting;
use crate::receive::Receiving;
use crate::transport::http1::Http1;
use crate::transport::http1_hyper::HyperHttp1;
use crate::transport::sse::Sse;
use crate::transport::tcp::Tcp;
use crate::transport::websocket::Ws;
use crate::transport::websocket::any::AnyWs;
use crate::transport::websocket::listen::WsUpdates;
use crate::transport::{Listen, Peer, Transport};
use crate::worker::{self, Start, WorkerError, WorkerOutcome, WorkerPlan};
use crate::workload;
use crate::workload::chat::{Member, Rooms};
use crate::workload::custom::Custom;
use crate::workload::echo::{Echo, Messages};
use crate::workload::game::{HttpPlayer, Player};
use crate::workload::updates::{Expected, Follower, Patience, Poller};

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
    /// The deliveries it can carry, where it carries updates, chats or games.
    pub deliveries: &'static [Delivery],
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
        deliveries: &[],
        port: Port::Tcp,
        summary: "length-prefixed messages: the floor below every protocol",
        run: run::<Tcp<TcpStream>>,
    },
    Row {
        transport: "http1",
        client: None,
        lifecycles: &Lifecycle::ALL,
        workloads: &["echo", "updates", "fanout", "duplex", "custom"],
        deliveries: &[Delivery::ShortPoll, Delivery::LongPoll, Delivery::Sse],
        port: Port::Http,
        summary: "HTTP/1.1 with a lean client",
        run: run_http1,
    },
    Row {
        transport: "http1",
        client: Some(Lane::NULL),
        lifecycles: &[Lifecycle::Persistent],
        workloads: &["echo", "custom"],
        deliveries: &[],
        port: Port::Http,
        summary: "null: http1-persistent once more, to show how far two equal lanes come out apart",
        run: run::<Http1<TcpStream>>,
    },
    Row {
        transport: "websocket",
        client: None,
        lifecycles: &Lifecycle::ALL,
        workloads: &["echo", "updates", "fanout", "duplex", "custom"],
        deliveries: &[Delivery::Push],
        port: Port::Http,
        summary: "WebSocket (RFC 6455) over HTTP/1.1",
        run: run_websocket,
    },
    Row {
        transport: "http1",
        client: Some("hyper"),
        lifecycles: &[Lifecycle::Persistent],
        workloads: &["echo", "updates"],
        deliveries: &[Delivery::ShortPoll],
        port: Port::Http,
        summary: "control: HTTP/1.1 with hyper's client, to show what a client library adds",
        run: run::<HyperHttp1<TcpStream>>,
    },
];

/// Says that a lane cannot be measured.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum LaneError {
    /// There is no such lane.
    #[error("unknown lane `{lane}`{}; known: {known}", suggest::hint(.lane, .known.split(", ")))]
    Unknown {
        /// What was asked for.
        lane: String,
        /// All lanes, separated by commas.
        known: String,
    },
    /// The lane cannot carry the workload.
    #[error("lane `{lane}` cannot carry `{workload}`; it carries: {carries}")]
    Workload {
        /// What was asked for.
        lane: String,
        /// The workload's name, or that of its delivery.
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
    if row.carries(lane.lifecycle, workload) {
        return Ok(row);
    }
    let deliveries = row.deliveries.iter().map(|delivery| delivery.name());
    let workloads = row.workloads.iter().copied();
    let carries: Vec<_> = workloads
        .filter(|name| *name != "updates")
        .chain(deliveries)
        .collect();
    Err(LaneError::Workload {
        lane: lane.to_string(),
        workload: match workload {
            Workload::Updates { delivery, .. }
            | Workload::Fanout {
                delivery: Some(delivery),
                ..
            }
            | Workload::Duplex {
                delivery: Some(delivery),
                ..
            } => delivery.name(),
            _ => workload.name(),
        },
        carries: carries.join(", "),
    })
}

impl Row {
    /// Says whether a lane of this row can carry a workload. What begins at the server needs a connection that is there.
    fn carries(&self, lifecycle: Lifecycle, workload: &Workload) -> bool {
        let is_kept = lifecycle == Lifecycle::Persistent;
        let suits = match workload {
            Workload::Echo { .. } => true,
            Workload::Custom(custom) if self.transport == "websocket" => {
                custom.websocket.is_some() && (is_kept || !custom.listens())
            }
            Workload::Custom(custom) => custom.http.is_some(),
            Workload::Updates { delivery, .. } => {
                self.deliveries.contains(delivery) && (is_kept || !workload.listens())
            }
            Workload::Fanout { .. } | Workload::Duplex { .. } => {
                let delivery = workload.delivery(&self.lane(lifecycle));
                let is_carried = |delivery| self.deliveries.contains(&delivery);
                delivery.is_some_and(is_carried) && (is_kept || self.transport != "websocket")
            }
        };
        suits && self.workloads.contains(&workload.name())
    }

    fn lane(&self, lifecycle: Lifecycle) -> Lane {
        Lane {
            transport: self.transport.to_owned(),
            lifecycle,
            client: self.client.map(str::to_owned),
        }
    }
}

const CARRIED: &str = "the registry was asked whether the lane carries the workload";

/// Runs one worker that exchanges messages over one transport.
fn run<T>(plan: &WorkerPlan, start: &Start) -> Result<WorkerOutcome, WorkerError>
where
    T: Transport<TcpStream> + 'static,
    T::Prepared: 'static,
{
    let peer: &Peer = &plan.peer;
    let slots = plan.slots.iter().copied();
    match plan.workload {
        Workload::Echo {
            payload,
            payload_bytes,
            ..
        } => {
            let echo = |slot| {
                let messages = Messages {
                    kind: payload,
                    bytes: payload_bytes,
                    seed: plan.seed,
                    slot,
                };
                Echo::new::<_, T>(messages, plan.exchanges, peer).expect(CARRIED)
            };
            exchange::<T, Echo<T::Prepared>>(plan, start, slots.map(echo).collect())
        }
        Workload::Updates { delivery, .. } => {
            let patience = match delivery {
                Delivery::LongPoll => Patience::long(
                    u32::try_from(plan.timeout_ns / 1_000_000).unwrap_or(u32::MAX),
                    u32::try_from((plan.warm_up_ns + plan.window_ns) / 1_000_000)
                        .unwrap_or(u32::MAX),
                ),
                _ => Patience::None,
            };
            let poller = |follower| Poller::new(follower, patience, peer).expect(CARRIED);
            let pollers = followers(plan).into_iter().map(poller).collect();
            exchange::<T, Poller<TcpStream, T>>(plan, start, pollers)
        }
        Workload::Duplex { .. } => {
            let player = |player| HttpPlayer::new(player, peer).expect(CARRIED);
            let players = players(plan).into_iter().map(player).collect();
            exchange::<T, HttpPlayer<TcpStream, T>>(plan, start, players)
        }
        Workload::Custom(ref custom) => {
            let workloads = customs::<T>(plan, custom);
            exchange::<T, Custom<T::Prepared>>(plan, start, workloads)
        }
        Workload::Fanout { .. } => unreachable!("{CARRIED}"),
    }
}

/// Makes what the slots of a worker ask of a server of a user's own.
fn customs<T: Transport<TcpStream>>(
    plan: &WorkerPlan,
    custom: &sockrates_core::custom::Custom,
) -> Vec<Custom<T::Prepared>> {
    let custom = Rc::new(custom.clone());
    let of_slot = |slot: &u32| {
        Custom::new::<_, T>(&custom, *slot, plan.seed, plan.exchanges, &plan.peer).expect(CARRIED)
    };
    plan.slots.iter().map(of_slot).collect()
}

fn exchange<T, W>(
    plan: &WorkerPlan,
    start: &Start,
    workloads: Vec<W>,
) -> Result<WorkerOutcome, WorkerError>
where
    T: Transport<TcpStream> + 'static,
    W: workload::Workload<T::Prepared> + 'static,
{
    worker::run(plan, start, Exchanging::<T, W>::new(workloads))
}

/// Runs one worker of HTTP/1.1.
fn run_http1(plan: &WorkerPlan, start: &Start) -> Result<WorkerOutcome, WorkerError> {
    match plan.workload {
        Workload::Updates {
            delivery: Delivery::Sse,
            updates_per_connection,
            ..
        } => follow::<Sse<TcpStream>>(plan, start, updates_per_connection),
        Workload::Fanout {
            delivery: Some(delivery),
            ..
        } => worker::run(plan, start, Posting::new(members(plan), delivery)),
        Workload::Duplex {
            delivery: Some(delivery @ (Delivery::Sse | Delivery::LongPoll)),
            ..
        } => worker::run(plan, start, Posting::new(players(plan), delivery)),
        _ => run::<Http1<TcpStream>>(plan, start),
    }
}

/// Runs one worker of WebSocket.
fn run_websocket(plan: &WorkerPlan, start: &Start) -> Result<WorkerOutcome, WorkerError> {
    match plan.workload {
        Workload::Echo { .. } => run::<Ws<TcpStream>>(plan, start),
        Workload::Updates {
            updates_per_connection,
            ..
        } => follow::<WsUpdates<TcpStream>>(plan, start, updates_per_connection),
        Workload::Fanout { .. } => {
            let voices = members(plan);
            worker::run(plan, start, Conversing::<Member>::new(voices, plan.seed))
        }
        Workload::Custom(ref custom) if custom.listens() => {
            let workloads = customs::<AnyWs<TcpStream>>(plan, custom);
            let sends = custom
                .websocket
                .as_ref()
                .is_some_and(|any| any.message.is_some());
            let subscription =
                |workload: Custom<Vec<u8>>| sends.then(|| Rc::from(workload.into_first()));
            let subscriptions = workloads.into_iter().map(subscription).collect();
            worker::run(plan, start, Receiving::new(subscriptions))
        }
        Workload::Custom(_) => run::<AnyWs<TcpStream>>(plan, start),
        Workload::Duplex { .. } => {
            let playing = Conversing::new(players(plan), plan.seed);
            worker::run(plan, start, playing)
        }
    }
}

fn follow<L: Listen<TcpStream> + 'static>(
    plan: &WorkerPlan,
    start: &Start,
    updates_per_connection: Option<u32>,
) -> Result<WorkerOutcome, WorkerError> {
    let following = Following::<L>::new(followers(plan), updates_per_connection);
    worker::run(plan, start, following)
}

/// Makes the followers of a worker's slots.
fn followers(plan: &WorkerPlan) -> Vec<Follower> {
    let Workload::Updates { topics, .. } = plan.workload else {
        return Vec::new();
    };
    let expected = Rc::<RefCell<Expected>>::default();
    let follower = |slot: &u32| Follower::new(*slot, topics, plan.seed, Rc::clone(&expected));
    plan.slots.iter().map(follower).collect()
}

/// Makes the members of rooms of a worker's slots.
fn members(plan: &WorkerPlan) -> Vec<Member> {
    let Some(members) = plan.workload.room_members(plan.connections) else {
        return Vec::new();
    };
    let payload_bytes = plan.workload.payload_bytes();
    let rooms = Rooms::new(members, payload_bytes, plan.seed, plan.connections);
    let rooms = Rc::new(rooms);
    let member = |slot: &u32| Member::new(Rc::clone(&rooms), *slot);
    plan.slots.iter().map(member).collect()
}

/// Makes the players of a worker's slots.
fn players(plan: &WorkerPlan) -> Vec<Player> {
    let Workload::Duplex {
        ticks_per_second,
        input_bytes,
        ..
    } = plan.workload
    else {
        return Vec::new();
    };
    let expected = Rc::<RefCell<Expected>>::default();
    let player = |slot: &u32| {
        let expected = Rc::clone(&expected);
        Player::new(*slot, ticks_per_second, input_bytes, plan.seed, expected)
    };
    plan.slots.iter().map(player).collect()
}

#[cfg(test)]
mod tests {
    use sockrates_core::plan::Plan;
    use sockrates_core::profile;

    use super::*;

    #[test]
    fn every_embedded_scenario_names_lanes_that_carry_it() {
        let plan = Plan::new("all", &profile::scenarios(), 1, 1);
        for cell in &plan.cells {
            find(&cell.lane, &cell.workload).unwrap();
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
