//! The clockwork of a worker: publishes the updates of its share of the topics when they are due.
//!
//! An update is stamped with the instant its schedule wanted, not with that at which the clockwork got to it: an event
//! of the world does not wait for the server either. So a late publisher publishes old news, and its lateness is part of
//! what clients see.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sockrates_core::publishing::{Arrivals, TopicSpec};
use sockrates_core::{seed, update};
use sockrates_probe::clock;
use sockrates_probe::timer::TimerFd;
use tokio::sync::Notify;

use crate::topic::Topic;
use crate::worker::Shared;

/// Where topics wait for a worker to take them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    topics: Mutex<Vec<Arc<Topic>>>,
    news: Notify,
}

impl Inbox {
    /// Hands a topic over.
    pub(crate) fn add(&self, topic: Arc<Topic>) {
        let topics = self.topics.lock();
        topics
            .expect("nothing panics while it holds topics")
            .push(topic);
        self.news.notify_one();
    }

    fn take(&self) -> Vec<Arc<Topic>> {
        let topics = self.topics.lock();
        std::mem::take(&mut *topics.expect("nothing panics while it holds topics"))
    }
}

/// One topic's publisher.
#[derive(Debug)]
struct Publisher {
    topic: Arc<Topic>,
    schedule: Schedule,
    /// Of the next update, which must not wait for it.
    payload: Vec<u8>,
    start_ns: u64,
    next: u64,
}

/// Publishes for ever.
pub(crate) async fn run(shared: Arc<Shared>, inbox: Arc<Inbox>) {
    let mut timer = TimerFd::new().expect("a descriptor for the publishers' timer");
    let mut publishers: Vec<Option<Publisher>> = Vec::new();
    let mut due: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    loop {
        let now_ns = clock::monotonic_ns();
        for topic in inbox.take() {
            if let Some((publisher, at_ns)) = Publisher::new(topic, now_ns) {
                due.push(Reverse((at_ns, publishers.len())));
                publishers.push(Some(publisher));
            }
        }
        // In turns, so that a publisher that cannot keep up leaves time for its clients.
        for _ in 0..UPDATES_PER_TURN {
            let Some(Reverse((at_ns, index))) = due.peek().copied() else {
                break;
            };
            let late_ns = clock::monotonic_ns().checked_sub(at_ns);
            let Some(late_ns) = late_ns else { break };
            due.pop();
            let place = &mut publishers[index];
            let Some(publisher) = place.as_mut().filter(|one| !one.topic.is_over()) else {
                *place = None;
                continue;
            };
            shared
                .publisher_lag_max_ns
                .fetch_max(late_ns, Ordering::Relaxed);
            due.push(Reverse((publisher.publish(at_ns), index)));
        }
        match due.peek() {
            None => inbox.news.notified().await,
            Some(Reverse((at_ns, _))) if *at_ns <= clock::monotonic_ns() => {
                tokio::task::yield_now().await;
            }
            Some(Reverse((at_ns, _))) => tokio::select! {
                () = inbox.news.notified() => {}
                waited = timer.until(*at_ns) => waited.expect("a timer that was made can be set"),
            },
        }
    }
}

impl Publisher {
    /// Makes the publisher of a topic, and returns when its first update is due; `None` for a silent one.
    fn new(topic: Arc<Topic>, now_ns: u64) -> Option<(Self, u64)> {
        let mut schedule = Schedule::new(&topic.spec)?;
        let at_ns = now_ns + schedule.next_ns();
        let mut publisher = Self {
            topic,
            schedule,
            payload: Vec::new(),
            start_ns: now_ns,
            next: 1,
        };
        publisher.prepare();
        Some((publisher, at_ns))
    }

    /// Publishes what was due at this instant, and returns when the next update is.
    fn publish(&mut self, at_ns: u64) -> u64 {
        self.topic.publish(at_ns, &self.payload);
        self.next += 1;
        self.prepare();
        self.start_ns + self.schedule.next_ns()
    }

    fn prepare(&mut self) {
        let TopicSpec {
            seed,
            payload_bytes,
            ..
        } = self.topic.spec;
        self.payload = update::payload(seed, self.next, payload_bytes as usize);
    }
}

/// Instants since the start, each from the one before and not from the clock: lateness does not add up, and the rate
/// holds.
#[derive(Debug)]
struct Schedule {
    random: ChaCha8Rng,
    arrivals: Arrivals,
    mean_ns: f64,
    phase_ns: f64,
    at_ns: f64,
    count: u64,
}

impl Schedule {
    fn new(spec: &TopicSpec) -> Option<Self> {
        if spec.events_per_second <= 0.0 {
            return None;
        }
        let mut random = seed::stream(spec.seed, "publisher", 0);
        let mean_ns = 1e9 / spec.events_per_second;
        let phase_ns = match spec.arrivals {
            Arrivals::Poisson => 0.0,
            Arrivals::Periodic => random.random::<f64>() * mean_ns,
        };
        Some(Self {
            random,
            arrivals: spec.arrivals,
            mean_ns,
            phase_ns,
            at_ns: 0.0,
            count: 0,
        })
    }

    fn next_ns(&mut self) -> u64 {
        match self.arrivals {
            // 1 - U lies in (0, 1], so that the logarithm is finite.
            Arrivals::Poisson => {
                self.at_ns -= (1.0 - self.random.random::<f64>()).ln() * self.mean_ns;
            }
            Arrivals::Periodic => self.at_ns = self.phase_ns + self.count as f64 * self.mean_ns,
        }
        self.count += 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative; `as` saturates above u64, and half of it is 292 years"
        )]
        let at_ns = self.at_ns.min(u64::MAX as f64 / 2.0) as u64;
        at_ns
    }
}

const UPDATES_PER_TURN: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(arrivals: Arrivals, seed: u64) -> Schedule {
        let spec = TopicSpec {
            events_per_second: 1000.0,
            arrivals,
            seed,
            ..TopicSpec::default()
        };
        Schedule::new(&spec).unwrap()
    }

    #[test]
    fn the_mean_rate_holds() {
        let mut schedule = schedule(Arrivals::Poisson, 1);
        let end_ns = (0..100_000).fold(0, |_, _| schedule.next_ns());
        // 100 s expected; the standard deviation is 0.32 s.
        assert!(
            (98_400_000_000..101_600_000_000).contains(&end_ns),
            "{end_ns}"
        );
    }

    #[test]
    fn periods_are_exact_from_a_random_phase_on() {
        let mut schedule = schedule(Arrivals::Periodic, 1);
        let first_ns = schedule.next_ns();
        assert!(first_ns < 1_000_000);
        for count in 1..10_000 {
            let distance_ns = schedule.next_ns() - first_ns;
            assert!(distance_ns.abs_diff(count * 1_000_000) <= 1);
        }
    }

    #[test]
    fn instants_follow_from_the_seed() {
        for arrivals in [Arrivals::Poisson, Arrivals::Periodic] {
            let first = |seed| schedule(arrivals, seed).next_ns();
            assert_eq!(first(1), first(1));
            assert_ne!(first(1), first(2));
        }
    }

    #[test]
    fn a_silent_topic_has_no_schedule() {
        assert!(Schedule::new(&TopicSpec::default()).is_none());
    }
}
