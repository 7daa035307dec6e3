//! What a load costs both ends and the network, read from the kernel at its beginning and its end,
//! and at those of the window within it.

use std::cell::Cell;
use std::rc::Rc;

use sockrates_core::record::{LoadCost, NetworkCost};
use sockrates_probe::{process, surroundings};
use tokio::task::{JoinHandle, spawn_local};

use crate::agenda::Span;
use crate::environment::Timer;
#[cfg(test)]
use crate::{drive::Shared, environment::Environment};

/// Reads what a worker and, for one of the workers, the server and the network use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// The server's process, where it is known.
    pub(crate) server_pid: Option<u32>,
    /// Whether the network is the trial's own.
    pub(crate) network_is_own: bool,
}

impl Meter {
    /// Returns what has been used up to now, since whenever each count began.
    pub(crate) fn read(self, now_ns: u64) -> LoadCost {
        LoadCost {
            wall_ns: now_ns,
            client_cpu_ns: Some(process::thread_usage().cpu_ns()),
            server_cpu_ns: self.server_pid.and_then(surroundings::cpu_ns),
            network: self.network_is_own.then(surroundings::network_cost),
        }
    }
}

/// Returns what was used between two readings.
pub(crate) fn cost_since(before: &LoadCost, after: &LoadCost) -> LoadCost {
    let between = |(before, after): (u64, u64)| after.saturating_sub(before);
    let network = before.network.zip(after.network);
    LoadCost {
        wall_ns: after.wall_ns - before.wall_ns,
        client_cpu_ns: before.client_cpu_ns.zip(after.client_cpu_ns).map(between),
        server_cpu_ns: before.server_cpu_ns.zip(after.server_cpu_ns).map(between),
        network: network.map(|(before, after)| NetworkCost {
            ip_bytes: after.ip_bytes - before.ip_bytes,
            ip_packets: after.ip_packets - before.ip_packets,
        }),
    }
}

/// Adds what another worker used.
pub(crate) fn add_client(cost: &mut Option<LoadCost>, other: Option<&LoadCost>) {
    let all = cost.as_mut().map(|cost| &mut cost.client_cpu_ns);
    if let Some(all) = all {
        let other = other.and_then(|other| other.client_cpu_ns);
        *all = all.zip(other).map(|(one, other)| one + other);
    }
}

/// Makes a meter for a test's world, in which each request of a client of news is one packet.
#[cfg(test)]
pub(crate) fn of_requests<E: Environment>(
    shared: &Rc<Shared<E>>,
) -> impl Fn() -> LoadCost + 'static {
    let shared = Rc::clone(shared);
    move || LoadCost {
        wall_ns: shared.environment.now_ns(),
        network: Some(NetworkCost {
            ip_bytes: 0,
            ip_packets: shared.recorder.borrow().updates.requests,
        }),
        ..LoadCost::default()
    }
}

/// Reads a meter when the window begins and when it ends, on a task of its own: what the load does
/// before, such as first polls that bring nothing, costs otherwise.
pub(crate) struct WindowMeter {
    reading: JoinHandle<()>,
    cost: Rc<Cell<Option<LoadCost>>>,
}

impl WindowMeter {
    /// Begins to wait for the window.
    pub(crate) fn begin(
        span: Span,
        mut timer: impl Timer + 'static,
        read: impl Fn() -> LoadCost + 'static,
    ) -> Self {
        let cost = Rc::<Cell<Option<LoadCost>>>::default();
        let found = Rc::clone(&cost);
        let reading = spawn_local(async move {
            let mut at = async |ns| timer.until(ns).await.map(|()| read());
            let before = at(span.window_start_ns).await;
            let after = at(span.end_ns).await;
            if let (Ok(before), Ok(after)) = (before, after) {
                found.set(Some(cost_since(&before, &after)));
            }
        });
        Self { reading, cost }
    }

    /// Waits for the window's end, which comes a little after the last operation. `None` where the
    /// load was ended before.
    pub(crate) async fn finish(self, is_whole: bool) -> Option<LoadCost> {
        if !is_whole {
            self.reading.abort();
        }
        // An abort is its only error; nothing in it panics.
        let _ = self.reading.await;
        self.cost.take()
    }
}
