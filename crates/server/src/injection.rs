//! Makes the faults happen that a server was given.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sockrates_core::seed;
use sockrates_probe::clock;
use sockrates_probe::timer::TimerFd;
use tokio::sync::Notify;

use crate::faults::{Faults, Padding, SHORTEST_HEADER, Stall, Time, Times};
use crate::reply::Reply;

/// What carries an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Http1,
    WebSocket,
    Tcp,
}

/// The faults of one worker.
#[derive(Debug)]
pub(crate) struct Injection {
    burn: Draws,
    http1_instructions: Option<u32>,
    delay: Draws,
    padding: Option<HeaderValue>,
    stall: Option<Arc<Stalling>>,
}

impl Injection {
    /// Prepares a worker's faults; `None` when there are none.
    pub(crate) fn new(faults: &Faults, stall: Option<Arc<Stalling>>, index: usize) -> Option<Self> {
        let none = Faults {
            seed: faults.seed,
            ..Faults::default()
        };
        (*faults != none).then(|| Self {
            burn: Draws::new(&faults.burn, "burn", faults.seed, index),
            http1_instructions: faults.burn_instructions.http1(),
            delay: Draws::new(&faults.delay, "delay", faults.seed, index),
            padding: padding(&faults.pad),
            stall,
        })
    }

    /// Does what comes before an operation's reply. In a box, so that the futures of a server without faults stay small.
    #[cold]
    pub(crate) fn before_reply(
        &self,
        transport: Transport,
    ) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            if let Some(stall) = &self.stall {
                stall.operation_begins();
            }
            if let Some(ns) = self.burn.next_ns(transport) {
                burn(ns);
            }
            if let (Transport::Http1, Some(count)) = (transport, self.http1_instructions) {
                execute(count);
            }
            if let Some(ns) = self.delay.next_ns(transport) {
                let at_ns = clock::monotonic_ns() + ns;
                until(at_ns)
                    .await
                    .expect("descriptors for the timers of delayed operations");
            }
        })
    }

    /// Makes a reply longer.
    pub(crate) fn pad(&self, reply: &mut Reply) {
        if let Some(padding) = &self.padding {
            reply.headers_mut().insert(PADDING, padding.clone());
        }
    }
}

/// Waits on a timer of its own: faults are rare, and many may wait at once.
async fn until(at_ns: u64) -> io::Result<()> {
    TimerFd::new()?.until(at_ns).await
}

/// The stall of a server; each worker takes part.
#[derive(Debug)]
pub(crate) struct Stalling {
    stall: Stall,
    begins_ns: OnceLock<u64>,
    is_set: Notify,
}

impl Stalling {
    pub(crate) fn new(stall: Stall) -> Self {
        Self {
            stall,
            begins_ns: OnceLock::new(),
            is_set: Notify::new(),
        }
    }

    /// Sets the instant of the stall, if this is the first operation.
    fn operation_begins(&self) {
        if self.begins_ns.get().is_none() {
            let after_ns = u64::from(self.stall.after_ms) * 1_000_000;
            let begins_ns = clock::monotonic_ns() + after_ns;
            if self.begins_ns.set(begins_ns).is_ok() {
                self.is_set.notify_waiters();
            }
        }
    }

    /// Waits for the stall and then blocks this thread to its end, which is the same instant for all workers.
    pub(crate) async fn take_part(&self) {
        // Made before the look, so that an instant that is set just after it wakes this.
        let is_set = self.is_set.notified();
        if self.begins_ns.get().is_none() {
            is_set.await;
        }
        let begins_ns = *self.begins_ns.get().expect("set before it is told");
        until(begins_ns)
            .await
            .expect("a descriptor for the timer of the stall");
        let end_ns = begins_ns + u64::from(self.stall.for_ms) * 1_000_000;
        let left_ns = end_ns.saturating_sub(clock::monotonic_ns());
        thread::sleep(Duration::from_nanos(left_ns));
    }
}

/// The times of one kind of fault.
#[derive(Debug)]
struct Draws {
    http1: Option<Draw>,
    websocket: Option<Draw>,
    tcp: Option<Draw>,
}

impl Draws {
    fn new(times: &Times, kind: &str, seed: u64, index: usize) -> Self {
        let draw = |time: Option<Time>, transport: &str| {
            time.map(|time| Draw {
                time,
                random: RefCell::new(seed::stream(
                    seed,
                    &format!("{kind} {transport}"),
                    index as u64,
                )),
            })
        };
        Self {
            http1: draw(times.http1, "http1"),
            websocket: draw(times.websocket, "websocket"),
            tcp: draw(times.tcp, "tcp"),
        }
    }

    fn next_ns(&self, transport: Transport) -> Option<u64> {
        let draw = match transport {
            Transport::Http1 => &self.http1,
            Transport::WebSocket => &self.websocket,
            Transport::Tcp => &self.tcp,
        };
        draw.as_ref().map(Draw::next_ns)
    }
}

#[derive(Debug)]
struct Draw {
    time: Time,
    random: RefCell<ChaCha8Rng>,
}

impl Draw {
    fn next_ns(&self) -> u64 {
        match self.time {
            Time::Constant { ns } => ns,
            Time::Exponential { mean_ns } => {
                // 1 - U lies in (0, 1], so that the logarithm is finite.
                let drawn = 1.0 - self.random.borrow_mut().random::<f64>();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "never negative, and at most 37 times the mean, which is at most a minute"
                )]
                let ns = (-drawn.ln() * mean_ns as f64) as u64;
                ns
            }
        }
    }
}

/// Spins for that much CPU time. Time in which the thread did not run is not counted: the clock leaps over it.
fn burn(ns: u64) {
    let mut last_ns = clock::monotonic_ns();
    let mut burnt_ns = 0;
    while burnt_ns < ns {
        let now_ns = clock::monotonic_ns();
        burnt_ns += (now_ns - last_ns).min(LEAP_NS);
        last_ns = now_ns;
    }
}

/// Executes about so many instructions: a turn of the loop as compiled takes [`TURN`], on any machine.
fn execute(instructions: u32) {
    for turn in 0..instructions / TURN {
        std::hint::black_box(turn);
    }
}

/// Store of the turn, addition, comparison, jump.
const TURN: u32 = 4;

/// Makes the value that brings a header to the length asked for.
fn padding(padding: &Padding) -> Option<HeaderValue> {
    padding.http1_bytes().map(|bytes| {
        HeaderValue::from_str(&"x".repeat(bytes - SHORTEST_HEADER)).expect("letters are a value")
    })
}

const PADDING: HeaderName = HeaderName::from_static("x");
/// Much longer than reading the clock takes, much shorter than a turn of another thread.
const LEAP_NS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(times: &str, seed: u64, index: usize) -> Draws {
        Draws::new(&times.parse().unwrap(), "delay", seed, index)
    }

    #[test]
    fn no_fault_is_no_injection() {
        let seeded = Faults {
            seed: 7,
            ..Faults::default()
        };
        assert!(Injection::new(&seeded, None, 0).is_none());
    }

    #[test]
    fn drawn_times_have_their_mean() {
        let draws = draws("http1=exp:1000000,tcp=7", 1, 0);
        let sum_ns: u64 = (0..10_000)
            .filter_map(|_| draws.next_ns(Transport::Http1))
            .sum();
        // 10 s expected; the standard deviation is 0.1 s.
        assert!(
            (9_500_000_000..10_500_000_000).contains(&sum_ns),
            "{sum_ns}"
        );
        assert_eq!(draws.next_ns(Transport::Tcp), Some(7));
        assert_eq!(draws.next_ns(Transport::WebSocket), None);
    }

    #[test]
    fn drawn_times_follow_from_seed_worker_and_transport() {
        let times = "http1=exp:1000000,websocket=exp:1000000";
        let first = |seed, index, transport| draws(times, seed, index).next_ns(transport);
        let one = first(1, 0, Transport::Http1);
        assert_eq!(one, first(1, 0, Transport::Http1));
        for other in [
            first(2, 0, Transport::Http1),
            first(1, 1, Transport::Http1),
            first(1, 0, Transport::WebSocket),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn burning_takes_at_least_its_time() {
        let start_ns = clock::monotonic_ns();
        burn(2_000_000);
        assert!(clock::monotonic_ns() - start_ns >= 2_000_000);
    }
}
