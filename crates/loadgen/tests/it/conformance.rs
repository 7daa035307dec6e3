//! What every lane of the registry must do, whatever it is made of.

use std::sync::atomic::Ordering;

use sockrates_core::failure::FailureKind;
use sockrates_core::lane::{Lane, Lifecycle};
use sockrates_loadgen::registry::{self, Port, Row};
use sockrates_loadgen::trial::Load;

use crate::proxy::{self, Mischief};
use crate::support::{addresses, both, echo, run, server};

/// Payload sizes around the steps of WebSocket's length field (RFC 6455 section 5.2), and around
/// the buffers of both ends.
const SIZES: [u32; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, 100_000, (1 << 20) - 1];

#[test]
fn messages_of_all_sizes_come_back() {
    let server = server();
    for (lane, _) in registry::lanes() {
        for size in SIZES {
            let load = run(echo(&lane, size, 3), addresses(&server)).unwrap();
            assert_eq!(
                load.operations.verified, 3,
                "{lane}, {size} B: {:?}",
                load.operations
            );
            let connections = if lane.lifecycle == Lifecycle::PerRequest {
                3
            } else {
                1
            };
            assert_eq!(load.connections_opened, connections, "{lane}");
        }
    }
    server.stop();
}

#[test]
fn bytes_may_arrive_one_by_one() {
    each_lane(|lane, row| {
        let load = mistreated(lane, row, Mischief::Trickle, 2);
        assert_eq!(load.operations.verified, 2, "{lane}: {:?}", load.operations);
    });
}

#[test]
fn a_peer_that_closes_in_mid_message_is_a_failure() {
    each_lane(|lane, row| {
        let cut = Mischief::CutAt(reply_bytes(lane, row) - 1);
        let load = mistreated(lane, row, cut, 3);
        let failed = &load.operations.failed;
        assert_eq!(
            (load.operations.verified, failed[&FailureKind::PeerClosed]),
            (0, 3),
            "{lane}"
        );
        assert!(load.operations.is_conserved());
        assert!(
            load.histograms
                .values()
                .all(|histogram| histogram.count() == 0),
            "{lane}"
        );
    });
}

#[test]
fn a_flipped_byte_is_a_wrong_payload_and_never_a_sample() {
    each_lane(|lane, row| {
        let flip = Mischief::FlipAt(reply_bytes(lane, row) - 1);
        let load = mistreated(lane, row, flip, 3);
        // A persistent connection that failed is given up: each operation has one of its own.
        let failed = &load.operations.failed;
        assert_eq!(
            failed.get(&FailureKind::WrongPayload),
            Some(&3),
            "{lane}: {failed:?}"
        );
        assert_eq!(load.operations.verified, 0, "{lane}");
        assert!(
            load.histograms
                .values()
                .all(|histogram| histogram.count() == 0),
            "{lane}"
        );
    });
}

#[test]
fn bytes_that_nobody_asked_for_are_not_taken_for_a_reply() {
    each_lane(|lane, row| {
        // Behind the first reply, before the second: at the latest the second one must notice.
        let garbage = Mischief::GarbageBehind(reply_bytes(lane, row) - 1);
        let load = mistreated(lane, row, garbage, 2);
        assert!(
            load.operations.verified <= 1,
            "{lane}: {:?}",
            load.operations
        );
        assert!(
            load.operations.failed_total() >= 1,
            "{lane}: {:?}",
            load.operations
        );
    });
}

fn each_lane(check: impl Fn(&Lane, &Row)) {
    registry::lanes().for_each(|(lane, row)| check(&lane, row));
}

/// Runs echoes of 64 bytes through a relay that does mischief to every connection.
fn mistreated(lane: &Lane, row: &Row, mischief: Mischief, operations: u64) -> Load {
    let server = server();
    let (relay, _) = proxy::start(port(&server, row), mischief);
    let load = run(echo(lane, 64, operations), both(relay)).unwrap();
    server.stop();
    load
}

/// Returns how many bytes the server sends on a persistent connection for one echo, handshake
/// included. A per-request reply is no shorter, so that this many bytes end inside or behind it.
fn reply_bytes(lane: &Lane, row: &Row) -> u64 {
    let lane = Lane {
        lifecycle: Lifecycle::Persistent,
        ..lane.clone()
    };
    let server = server();
    let (relay, relayed) = proxy::start(port(&server, row), Mischief::None);
    let load = run(echo(&lane, 64, 1), both(relay)).unwrap();
    assert_eq!(load.operations.verified, 1);
    server.stop();
    relayed.load(Ordering::SeqCst)
}

fn port(server: &sockrates_server::Server, row: &Row) -> std::net::SocketAddr {
    let ready = server.ready();
    match row.port {
        Port::Http => ready.http,
        Port::Tcp => ready.tcp.unwrap(),
    }
}
