//! What others see of a load while it is on, and how they end it: a few counters that each worker's watchdog brings up to
//! date at every tick, whether anyone looks or not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The view of a running load.
#[derive(Debug, Default)]
pub struct Live {
    stops: AtomicBool,
    start_ns: AtomicU64,
    verified: AtomicU64,
    failed: AtomicU64,
}

/// What has happened so far, warm-up included.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// When the load began, by the monotonic clock; 0 before it did.
    pub start_ns: u64,
    /// Operations that ended well.
    pub verified: u64,
    /// Operations that ended otherwise.
    pub failed: u64,
}

impl Live {
    /// Ends the load: nothing more becomes due, and what is open has the time of the drain.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }

    /// Returns what has happened so far.
    pub fn progress(&self) -> Progress {
        Progress {
            start_ns: self.start_ns.load(Ordering::Relaxed),
            verified: self.verified.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, start_ns: u64) {
        self.start_ns.store(start_ns, Ordering::Relaxed);
    }

    /// Adds what a worker did since it last said.
    pub(crate) fn add(&self, verified: u64, failed: u64) {
        self.verified.fetch_add(verified, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
    }
}
