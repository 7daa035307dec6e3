//! Chats and games over HTTP: what members post, all get once and in order, and what a server does
//! wrong is named.

use std::collections::BTreeMap;

use sockrates_core::failure::FailureKind;
use sockrates_core::record::Metric;
use sockrates_core::scenario::{Delivery, Workload};
use sockrates_core::schedule::Load as LoadModel;
use sockrates_loadgen::trial::{Addresses, Load};

use crate::faulty::{self, Fault};
use crate::news::spec;
use crate::proxy::{self, Mischief};
use crate::support::{addresses, both, run, server};

const LANES: [&str; 2] = ["http1-per-request", "http1-persistent"];
const WAYS: [Delivery; 3] = [Delivery::Sse, Delivery::LongPoll, Delivery::ShortPoll];

fn chat(delivery: Delivery, room_members: Option<u32>) -> Workload {
    Workload::Fanout {
        room_members,
        payload_bytes: 50,
        delivery: Some(delivery),
        poll_interval_ms: (delivery == Delivery::ShortPoll).then_some(30),
    }
}

/// Twenty messages a second of each member: two in the warm-up, ten in the window.
fn chats(lane: &str, workload: Workload, members: u32, addresses: Addresses) -> Load {
    let rate_per_second = 20.0;
    let load = LoadModel::PerClient { rate_per_second };
    run(spec(lane, workload, load, members), addresses).unwrap()
}

#[test]
fn every_member_of_a_room_gets_every_message_once_over_http() {
    for (lane, delivery) in LANES
        .into_iter()
        .flat_map(|lane| WAYS.map(|way| (lane, way)))
    {
        for room_members in [None, Some(4)] {
            let server = server();
            let workload = chat(delivery, room_members);
            let load = chats(lane, workload, 12, addresses(&server));
            let usage = server.stop();
            let name = format!("{lane} {delivery:?} {room_members:?}");
            let (fanout, operations) = (load.fanout.unwrap(), &load.operations);
            let copies = 120 * u64::from(room_members.unwrap_or(12));
            assert!(operations.is_conserved(), "{name}");
            assert_eq!((fanout.sent, operations.issued), (120, copies), "{name}");
            assert_eq!(
                (operations.verified, fanout.received),
                (copies, copies),
                "{name}"
            );
            let bad = fanout.missing + fanout.repeated + fanout.out_of_order + fanout.wrong;
            assert_eq!(bad, 0, "{name}: {fanout:?}");
            assert_eq!(load.histograms[&Metric::Delivery].count(), copies, "{name}");
            assert_eq!(
                load.histograms[&Metric::DeliverySpread].count(),
                120,
                "{name}"
            );
            // Each message is one request, timed.
            assert_eq!(load.histograms[&Metric::ServiceTime].count(), 120, "{name}");
            // The connections that are counted are those that the server saw, but for one that
            // looks whether it is there and one that makes rooms.
            assert_eq!(
                usage.connections_accepted,
                load.connections_opened + 2,
                "{name}"
            );
            if lane == "http1-persistent" {
                assert_eq!(load.connections_opened, 24, "{name}: two of each");
            }
        }
    }
}

#[test]
fn every_input_is_known_to_a_snapshot_that_a_stream_or_a_long_poll_brings() {
    for lane in LANES {
        for delivery in [Delivery::Sse, Delivery::LongPoll] {
            let workload = Workload::Duplex {
                ticks_per_second: 50.0,
                snapshot_bytes: 130,
                input_bytes: 40,
                delivery: Some(delivery),
            };
            let rate_per_second = 50.0;
            let per_client = LoadModel::PerClient { rate_per_second };
            let server = server();
            let load = run(spec(lane, workload, per_client, 5), addresses(&server)).unwrap();
            server.stop();
            let name = format!("{lane} {delivery:?}");
            let (duplex, operations) = (load.duplex.unwrap(), &load.operations);
            assert!(operations.is_conserved(), "{name}");
            assert_eq!(
                (operations.issued, operations.verified),
                (125, 125),
                "{name}"
            );
            assert_eq!(duplex.inputs, 125, "{name}: five players, 25 inputs each");
            assert!(duplex.snapshots > 0, "{name}");
            for metric in [Metric::InputToSnapshot, Metric::ServiceTime] {
                assert_eq!(load.histograms[&metric].count(), 125, "{name} {metric:?}");
            }
        }
    }
}

/// Two members of one room, of which the first one's fifth message is mistreated.
#[test]
fn what_a_server_does_wrong_with_a_message_is_named() {
    use FailureKind::{BadStatus, PeerClosed};
    for (lane, delivery) in [
        ("http1-persistent", Delivery::Sse),
        ("http1-per-request", Delivery::LongPoll),
        ("http1-persistent", Delivery::ShortPoll),
    ] {
        let measured = |fault| {
            let load = chats(lane, chat(delivery, None), 2, both(faulty::start(fault)));
            let name = format!("{lane} {delivery:?} {fault:?}");
            assert!(
                load.operations.is_conserved(),
                "{name}: {:?}",
                load.operations
            );
            assert_eq!(
                (load.operations.issued, load.fanout.unwrap().sent),
                (40, 20),
                "{name}"
            );
            (name, load.operations.clone(), load.fanout.unwrap())
        };
        // Missing, repeated, out of order, wrong; and what failed of which kind.
        for (fault, counts, failed) in [
            (Fault::None, [0, 0, 0, 0], None),
            (Fault::Lose, [2, 0, 0, 0], None),
            (Fault::Double, [0, 2, 0, 0], None),
            (Fault::Reorder, [0, 0, 2, 0], None),
            (Fault::Corrupt, [2, 0, 0, 2], None),
            (Fault::Misanswer, [0, 0, 0, 0], Some((BadStatus, 1))),
            (Fault::Refuse, [2, 0, 0, 0], Some((BadStatus, 2))),
        ] {
            let (name, operations, fanout) = measured(fault);
            let found = [
                fanout.missing,
                fanout.repeated,
                fanout.out_of_order,
                fanout.wrong,
            ];
            assert_eq!(found, counts, "{name}");
            assert_eq!(operations.failed, BTreeMap::from_iter(failed), "{name}");
            let unfinished = if failed.is_none() { counts[0] } else { 0 };
            assert_eq!(operations.unfinished, unfinished, "{name}");
        }
        let (name, operations, fanout) = measured(Fault::HangUp);
        assert!(
            operations.failed.contains_key(&PeerClosed),
            "{name}: {operations:?}"
        );
        assert!(
            fanout.missing > 0 && operations.unfinished == 0,
            "{name}: {operations:?}"
        );
    }
}

/// A relay cuts what each connection carries, or puts bytes into it.
#[test]
fn players_name_what_is_wrong_with_a_stream_or_a_long_poll() {
    for (mischief, delivery) in [
        (Mischief::CutAt(2000), Delivery::Sse),
        (Mischief::GarbageBehind(2000), Delivery::Sse),
        (Mischief::CutAt(2000), Delivery::LongPoll),
        (Mischief::GarbageBehind(2000), Delivery::LongPoll),
    ] {
        let workload = Workload::Duplex {
            ticks_per_second: 50.0,
            snapshot_bytes: 130,
            input_bytes: 40,
            delivery: Some(delivery),
        };
        let rate_per_second = 50.0;
        let per_client = LoadModel::PerClient { rate_per_second };
        let server = server();
        let (address, _) = proxy::start(server.ready().http, mischief);
        let load = run(
            spec("http1-persistent", workload, per_client, 2),
            both(address),
        )
        .unwrap();
        server.stop();
        let operations = &load.operations;
        assert!(operations.is_conserved(), "{delivery:?}");
        assert!(
            operations.failed_total() > 0,
            "{delivery:?}: {operations:?}"
        );
    }
}
