//! Learning of events from a real server: nothing is lost, repeated or out of order, whatever brings it.

use sockrates_core::plan::TrialSpec;
use sockrates_core::publishing::Arrivals;
use sockrates_core::record::Metric;
use sockrates_core::scenario::{Delivery, Timing, Wait, Workload};
use sockrates_core::schedule::Load as LoadModel;
use sockrates_loadgen::trial::Load;
use sockrates_server::{Config, Server};

use crate::support::{addresses, echo, run};

pub(crate) fn spec(name: &str, workload: Workload, load: LoadModel, connections: u32) -> TrialSpec {
    let mut spec = echo(&name.parse().unwrap(), 0, u64::MAX);
    spec.cell.workload = workload;
    spec.cell.load = load;
    spec.cell.connections = connections;
    spec.cell.wait = Wait::Blocking;
    spec.stop_after_operations = None;
    spec.cell.timing = Timing {
        warm_up_ms: 100,
        ramp_ms: 0,
        window_ms: 500,
        drain_ms: 1000,
        timeout_ms: 5000,
    };
    spec
}

fn updates(delivery: Delivery, topics: u32, updates_per_connection: Option<u32>) -> Workload {
    Workload::Updates {
        delivery,
        events_per_second: 100.0,
        arrivals: Arrivals::Poisson,
        payload_bytes: 32,
        topics,
        updates_per_connection,
    }
}

fn measured(spec: TrialSpec) -> Load {
    let server = Server::start(&Config::default()).unwrap();
    let load = run(spec, addresses(&server)).unwrap();
    server.stop();
    load
}

fn expect_all_updates(name: &str, load: &Load) {
    let updates = load.updates.unwrap();
    assert!(load.operations.is_conserved(), "{name}");
    assert_eq!(
        (load.operations.failed_total(), load.operations.unfinished),
        (0, 0),
        "{name}: {:?}",
        load.operations
    );
    assert_eq!(
        (
            updates.missed,
            updates.repeated,
            updates.out_of_order,
            updates.lost
        ),
        (0, 0, 0, 0),
        "{name}"
    );
    assert!(updates.received > 0, "{name}");
    assert_eq!(
        load.histograms[&Metric::Staleness].count(),
        updates.received,
        "{name}"
    );
}

#[test]
fn polling_clients_see_every_update_once() {
    for name in [
        "http1-per-request",
        "http1-persistent",
        "http1-persistent@hyper",
    ] {
        let workload = updates(Delivery::ShortPoll, 1, None);
        let load = measured(spec(
            name,
            workload,
            LoadModel::Interval { interval_ms: 20 },
            3,
        ));
        expect_all_updates(name, &load);
        assert_eq!(load.operations.verified, 75, "three clients, 25 polls each");
    }
}

#[test]
fn long_polls_see_every_update_once_and_end_with_the_load() {
    for name in ["http1-per-request", "http1-persistent"] {
        let workload = updates(Delivery::LongPoll, 2, None);
        let load = measured(spec(name, workload, LoadModel::Events {}, 4));
        expect_all_updates(name, &load);
        assert_eq!(load.updates.unwrap().empty_polls, 0, "{name}");
    }
}

#[test]
fn listeners_see_every_update_once() {
    for (name, delivery) in [
        ("http1-persistent", Delivery::Sse),
        ("websocket-persistent", Delivery::Push),
    ] {
        for topics in [1, 3] {
            let workload = updates(delivery, topics, None);
            let load = measured(spec(name, workload, LoadModel::Events {}, 6));
            expect_all_updates(name, &load);
            // Between events nothing is owed to anyone.
            assert_eq!(load.silence, None, "{name}");
            let updates = load.updates.unwrap();
            assert_eq!((updates.requests, updates.reconnections), (6, 0), "{name}");
            assert_eq!(load.operations.verified, updates.received, "{name}");
        }
    }
}

/// What the instrument does on its own behalf is not charged to clients that do nothing: a worker wakes up once a
/// second, however many of them there are.
#[test]
fn silent_clients_cost_nothing() {
    const SECONDS: u64 = 3;
    for (name, delivery) in [
        ("http1-persistent", Delivery::Sse),
        ("websocket-persistent", Delivery::Push),
    ] {
        let workload = Workload::Updates {
            delivery,
            events_per_second: 0.001,
            arrivals: Arrivals::Periodic,
            payload_bytes: 32,
            topics: 1,
            updates_per_connection: None,
        };
        let mut silent = spec(name, workload, LoadModel::Events {}, 50);
        silent.cell.timing.window_ms = u32::try_from(SECONDS * 1000 - 100).unwrap();
        let load = measured(silent);
        assert_eq!(load.operations.issued, 0, "{name}");
        // The window begins and ends, and the load does.
        let waits = load.client.voluntary_switches;
        assert!(waits <= SECONDS + 12, "{name}: woke up {waits} times");
    }
}

#[test]
fn a_listener_that_resumes_loses_nothing() {
    for (name, delivery) in [
        ("http1-persistent", Delivery::Sse),
        ("websocket-persistent", Delivery::Push),
    ] {
        let workload = updates(delivery, 1, Some(3));
        let load = measured(spec(name, workload, LoadModel::Events {}, 4));
        expect_all_updates(name, &load);
        assert!(load.updates.unwrap().reconnections > 4, "{name}");
    }
}

#[test]
fn every_member_of_a_room_gets_every_message_once() {
    for room_members in [None, Some(4)] {
        let workload = Workload::Fanout {
            room_members,
            payload_bytes: 50,
            delivery: None,
            poll_interval_ms: None,
        };
        let per_client = LoadModel::PerClient {
            rate_per_second: 20.0,
        };
        let load = measured(spec("websocket-persistent", workload, per_client, 12));
        let (fanout, operations) = (load.fanout.unwrap(), &load.operations);
        let members = u64::from(room_members.unwrap_or(12));
        assert_eq!(fanout.sent, 120, "12 members, 10 messages each");
        assert_eq!(operations.issued, 120 * members);
        assert_eq!(
            (operations.verified, fanout.received),
            (120 * members, 120 * members)
        );
        assert_eq!(
            (fanout.missing, fanout.repeated, fanout.out_of_order),
            (0, 0, 0)
        );
        assert!(operations.is_conserved());
        assert_eq!(load.histograms[&Metric::Delivery].count(), 120 * members);
        assert_eq!(load.histograms[&Metric::DeliverySpread].count(), 120);
    }
}

#[test]
fn every_input_of_a_player_is_known_to_a_snapshot() {
    for name in [
        "websocket-persistent",
        "http1-persistent",
        "http1-per-request",
    ] {
        let workload = Workload::Duplex {
            ticks_per_second: 50.0,
            snapshot_bytes: 130,
            input_bytes: 40,
            delivery: None,
        };
        let per_client = LoadModel::PerClient {
            rate_per_second: 50.0,
        };
        let load = measured(spec(name, workload, per_client, 5));
        let duplex = load.duplex.unwrap();
        assert!(load.operations.is_conserved(), "{name}");
        assert_eq!(
            (load.operations.failed_total(), load.operations.unfinished),
            (0, 0),
            "{name}"
        );
        assert_eq!(
            duplex.inputs, 125,
            "{name}: five players, 25 inputs each in the window"
        );
        assert!(duplex.snapshots > 0, "{name}");
        let known = load.histograms[&Metric::InputToSnapshot].count();
        // Over HTTP the last inputs have nobody who asks for their snapshot.
        assert!((110..=125).contains(&known), "{name}: {known}");
    }
}

#[test]
fn a_target_without_topics_is_told_apart_from_a_bad_one() {
    let server = Server::start(&Config::default()).unwrap();
    let mut spec = spec(
        "websocket-persistent",
        updates(Delivery::Push, 1, None),
        LoadModel::Events {},
        1,
    );
    if let Workload::Updates { payload_bytes, .. } = &mut spec.cell.workload {
        // Above what the server takes.
        *payload_bytes = 2 << 20;
    }
    let error = run(spec, addresses(&server)).unwrap_err().to_string();
    server.stop();
    assert!(error.contains("`updates`"), "{error}");
}
