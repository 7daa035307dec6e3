//! On the persistent lanes the driver allocates nothing per operation. A binary of its own, because
//! its allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sockrates_core::plan::{Cell as PlanCell, Placement, TrialSpec};
use sockrates_core::publishing::Arrivals;
use sockrates_core::scenario::{Delivery, Timing, Workload};
use sockrates_core::schedule::Load;
use sockrates_loadgen::trial::{self, Addresses};
use sockrates_server::{Config, Server};

struct Counting;

thread_local! {
    /// Per thread: the server lives in the same process, and may allocate as it likes.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged; the counter needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FEW: u64 = 500;
const MORE: u64 = 2000;
/// Start and end allocate once or twice more or less, as the tasks happen to run.
const NOISE: u64 = 8;

#[test]
fn persistent_lanes_allocate_nothing_per_operation() {
    let (server, addresses) = server();
    for lane in ["tcp-persistent", "http1-persistent", "websocket-persistent"] {
        for load in [
            Load::Closed {},
            Load::OpenConstant {
                rate_per_second: 5000.0,
            },
        ] {
            let few = allocations(&spec(lane, &load, FEW), addresses);
            let many = allocations(&spec(lane, &load, FEW + MORE), addresses);
            let growth = few.abs_diff(many);
            let model = load.model();
            assert!(
                growth < NOISE,
                "{lane}, {model}: {growth} more for {MORE} operations more"
            );
        }
    }
    server.stop();
}

/// Whoever learns of twenty times as many events, or polls fifty times as often, allocates no more for it.
#[test]
fn following_news_allocates_nothing_per_event_or_poll() {
    let (server, addresses) = server();
    let listens = |events_per_second: f64| (events_per_second, Load::Events {});
    let polls = |interval_ms: u64| (100.0, Load::Interval { interval_ms });
    for (lane, delivery, few, many) in [
        (
            "http1-persistent",
            Delivery::Sse,
            listens(50.0),
            listens(1000.0),
        ),
        (
            "websocket-persistent",
            Delivery::Push,
            listens(50.0),
            listens(1000.0),
        ),
        ("http1-persistent", Delivery::ShortPoll, polls(50), polls(1)),
    ] {
        let count = |(events_per_second, load): (f64, Load)| {
            let spec = news(lane, delivery, events_per_second, &load);
            let (allocations, load) = counted(&spec, addresses);
            let updates = load.updates.unwrap();
            assert_eq!((updates.missed, updates.lost), (0, 0));
            (allocations, updates.received + updates.requests)
        };
        let (few, few_done) = count(few);
        let (many, many_done) = count(many);
        let more = many_done - few_done;
        assert!(more > 300, "{lane}, {}: {more}", delivery.name());
        let growth = few.abs_diff(many);
        // Beside the start and the end: more slices of the course and more of a histogram's range are in use.
        assert!(
            growth < 5 * NOISE,
            "{lane}, {}: {growth} more for {more} events and polls more",
            delivery.name()
        );
    }
    server.stop();
}

fn news(lane: &str, delivery: Delivery, events_per_second: f64, load: &Load) -> TrialSpec {
    let timing = Timing {
        warm_up_ms: 0,
        ramp_ms: 0,
        window_ms: 500,
        drain_ms: 500,
        timeout_ms: 5000,
    };
    let cell = PlanCell {
        load: load.clone(),
        connections: 2,
        workload: Workload::Updates {
            delivery,
            events_per_second,
            arrivals: Arrivals::Periodic,
            payload_bytes: 64,
            topics: 1,
            updates_per_connection: None,
        },
        ..PlanCell::echo(lane.parse().unwrap(), 64, timing)
    };
    TrialSpec::alone(cell, Placement::default())
}

fn server() -> (Server, Addresses) {
    let server = Server::start(&Config::default()).unwrap();
    let ready = server.ready();
    let addresses = Addresses {
        http: ready.http,
        tcp: ready.tcp,
        server_pid: None,
        network_is_own: false,
    };
    (server, addresses)
}

/// Counts the allocations of one trial's thread: start, connections, recorder and all.
fn counted(spec: &TrialSpec, addresses: Addresses) -> (u64, trial::Load) {
    std::thread::scope(|scope| {
        let trial = scope.spawn(|| {
            let before = ALLOCATIONS.get();
            let load = trial::run(spec, addresses, &[]).unwrap();
            (ALLOCATIONS.get() - before, load)
        });
        trial.join().unwrap()
    })
}

fn allocations(spec: &TrialSpec, addresses: Addresses) -> u64 {
    let (allocations, load) = counted(spec, addresses);
    let expected = spec.stop_after_operations.unwrap();
    assert_eq!(load.operations.verified, expected, "{:?}", load.operations);
    allocations
}

fn spec(lane: &str, load: &Load, operations: u64) -> TrialSpec {
    let timing = Timing {
        warm_up_ms: 0,
        ramp_ms: 0,
        window_ms: 20_000,
        drain_ms: 5000,
        timeout_ms: 20_000,
    };
    let cell = PlanCell {
        load: load.clone(),
        connections: 4,
        ..PlanCell::echo(lane.parse().unwrap(), 64, timing)
    };
    TrialSpec {
        stop_after_operations: Some(operations),
        ..TrialSpec::alone(cell, Placement::default())
    }
}
