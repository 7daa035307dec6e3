//! The instrument against the real clock: a server whose delay is known. Run by `just validate`, never by CI: a noisy
//! neighbour could make it fail.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use sockrates_core::document::Document;
use sockrates_core::payload::PayloadKind;
use sockrates_core::plan::{Cell, Placement, Target, TrialSpec};
use sockrates_core::record::Metric;
use sockrates_core::scenario::{Timing, Wait, Workload};
use sockrates_core::schedule::Load as LoadModel;
use sockrates_loadgen::trial::{self, Addresses, Load};
use sockrates_probe::clock;

const DELAYS_MS: [u64; 4] = [0, 1, 5, 20];
/// What the floor costs beside the delay: its wake-ups on either side.
const FLOOR_NS: u64 = 500_000;

/// The floor's protocol, with a wait before each reply. The wait is exact: it ends in a spin.
fn delaying_server(delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || while reply_late(&mut stream, delay).is_some() {});
        }
    });
    address
}

fn reply_late(stream: &mut TcpStream, delay: Duration) -> Option<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head) & !sockrates_core::target::TCP_LAST;
    let mut reply = length.to_be_bytes().to_vec();
    reply.resize(4 + length as usize, 0);
    stream.read_exact(&mut reply[4..]).ok()?;
    let until_ns = clock::monotonic_ns() + u64::try_from(delay.as_nanos()).unwrap();
    while clock::monotonic_ns() < until_ns {
        std::hint::spin_loop();
    }
    stream.write_all(&reply).ok()?;
    let is_last = u32::from_be_bytes(head) != length;
    (!is_last).then_some(())
}

fn measure(lane: &str, delay_ms: u64) -> Load {
    let address = delaying_server(Duration::from_millis(delay_ms));
    let timing = Timing {
        warm_up_ms: 100,
        window_ms: 2000,
        drain_ms: 1000,
        timeout_ms: 5000,
    };
    let cell = Cell::echo(lane.parse().unwrap(), 64, timing);
    let spec = TrialSpec::alone(cell, Placement::default());
    let load = trial::run(
        &spec,
        Addresses {
            http: address,
            tcp: Some(address),
        },
        &[],
    )
    .unwrap();
    assert_eq!(load.operations.failed_total(), 0);
    load
}

fn p50(load: &Load, metric: Metric) -> u64 {
    load.histograms[&metric].quantile_unchecked_ns(0.5)
}

#[test]
fn a_known_delay_is_what_is_measured() {
    for lane in ["tcp-persistent", "tcp-per-request"] {
        let floor = p50(&measure(lane, DELAYS_MS[0]), Metric::ServiceTime);
        for delay_ms in &DELAYS_MS[1..] {
            let measured = p50(&measure(lane, *delay_ms), Metric::ServiceTime);
            let delay_ns = delay_ms * 1_000_000;
            println!("{lane}: {delay_ms} ms on a floor of {floor} ns: {measured} ns");
            assert!(
                (delay_ns..delay_ns + floor + FLOOR_NS).contains(&measured),
                "{lane}"
            );
        }
    }
}

#[test]
fn the_phases_add_up_to_the_service_time() {
    for delay_ms in DELAYS_MS {
        let load = measure("tcp-per-request", delay_ms);
        let mean = |metric| load.histograms[&metric].mean_ns().unwrap();
        let parts = mean(Metric::Connect) + mean(Metric::Handshake) + mean(Metric::Exchange);
        let whole = mean(Metric::ServiceTime);
        println!("{delay_ms} ms: phases {parts:.0} ns, service time {whole:.0} ns");
        // Buckets are up to 0.1 % wide.
        assert!((parts / whole - 1.0).abs() < 0.001);
        assert!(p50(&load, Metric::Exchange) >= delay_ms * 1_000_000);
        assert!(
            p50(&load, Metric::Connect) < FLOOR_NS,
            "the delay is the exchange's, not the connect's"
        );
    }
}
