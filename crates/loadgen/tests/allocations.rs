//! On the persistent lanes the driver allocates nothing per operation. A binary of its own, because
//! its allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sockrates_core::plan::{Cell as PlanCell, Placement, TrialSpec};
use sockrates_core::scenario::Timing;
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
    let server = Server::start(&Config::default()).unwrap();
    let ready = server.ready();
    let addresses = Addresses {
        http: ready.http,
        tcp: ready.tcp,
        server_pid: None,
        network_is_own: false,
    };
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

/// Counts the allocations of one trial's thread: start, connections, recorder and all.
fn allocations(spec: &TrialSpec, addresses: Addresses) -> u64 {
    std::thread::scope(|scope| {
        let trial = scope.spawn(|| {
            let before = ALLOCATIONS.get();
            let load = trial::run(spec, addresses, &[]).unwrap();
            let after = ALLOCATIONS.get();
            let expected = spec.stop_after_operations.unwrap();
            assert_eq!(load.operations.verified, expected, "{:?}", load.operations);
            after - before
        });
        trial.join().unwrap()
    })
}

fn spec(lane: &str, load: &Load, operations: u64) -> TrialSpec {
    let timing = Timing {
        warm_up_ms: 0,
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
