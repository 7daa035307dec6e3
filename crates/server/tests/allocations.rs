//! An update is encoded once, however many are told: one more subscriber costs no allocation. A binary of its own, because
//! its allocator counts for the whole process.

#![allow(
    clippy::unwrap_used,
    reason = "helpers outside of #[test] functions are tests too"
)]
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[path = "it/support.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use support::{Client, WebSocket};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is a client: only the server's count.
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: every call is passed on unchanged; counting needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !IS_CLIENT.get() {
            ALLOCATIONS.fetch_add(1, Relaxed);
        }
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

const UPDATES: u64 = 200;
const FEW: usize = 2;
const MANY: usize = 42;
const ATTEMPTS: u32 = 10;

#[test]
fn a_copy_more_is_no_allocation_more() {
    IS_CLIENT.set(true);
    let few = per_update(FEW);
    let mut all = Vec::new();
    // A subscriber that a busy machine keeps waiting is told several updates at once, which takes memory to gather: such a
    // count says nothing of a copy.
    for _ in 0..ATTEMPTS {
        let many = per_update(MANY);
        all.push(many);
        if (many - few) / ((MANY - FEW) as f64) < 0.1 {
            return;
        }
    }
    panic!("{few:.1} per update for {FEW} subscribers, {all:.1?} for {MANY}");
}

/// Counts the server's allocations per update while so many follow a topic.
fn per_update(subscribers: usize) -> f64 {
    let server = support::server();
    let mut client = Client::http(&server);
    // So slow that a busy machine's reader keeps up: what is published beyond its reading counts.
    client.make_topic("t", "rate=200&arrivals=periodic");
    let mut all: Vec<_> = (0..subscribers)
        .map(|_| WebSocket::open_at(&server, "/ws/updates?topic=t").0)
        .collect();
    for subscriber in &mut all {
        subscriber.text();
    }
    let before = ALLOCATIONS.load(Relaxed);
    // The last subscriber has them all: no other can be far behind.
    let last = all.last_mut().unwrap();
    for _ in 0..UPDATES {
        last.text();
    }
    let after = ALLOCATIONS.load(Relaxed);
    drop(all);
    server.stop();
    (after - before) as f64 / UPDATES as f64
}
