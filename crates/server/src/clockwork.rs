//! Publishes one worker's topics, each update at the instant that its schedule wants.

use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sockrates_core::publishing::{Arrivals, TopicSpec};
use sockrates_core::{seed, update};
use sockrates_probe::clock;
use sockrates_probe::timer::TimerFd;
use tokio::sync::Notify;

use crate::topic::Topic;
use crate::topics::MAX_TOPICS;
use crate::worker::{Worker, count};

/// Topics that a worker is to publish from now on.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    added: Mutex<Vec<(Arc<Topic>, TopicSpec)>>,
    is_longer: Notify,
}

impl Agenda {
    pub(crate) fn add(&self, topic: Arc<Topic>, spec: TopicSpec) {
        self.added.lock().expect(NO_PANIC).push((topic, spec));
        self.is_longer.notify_one();
    }

    fn take(&self) -> Vec<(Arc<Topic>, TopicSpec)> {
        mem::take(&mut *self.added.lock().expect(NO_PANIC))
    }
}

/// Publishes for ever what is on this worker's agenda.
pub(crate) async fn run(worker: Rc<Worker>, index: usize) {
    let agenda = worker.shared.topics.agenda(index);
    let mut timer = TimerFd::new().expect("a descriptor for the publisher's timer");
    let mut clockwork = Clockwork::default();
    loop {
        for (topic, spec) in agenda.take() {
            clockwork.add(topic, spec, clock::monotonic_ns());
        }
        if clockwork.publish_due(&worker) {
            tokio::task::yield_now().await;
            continue;
        }
        let Some(due_ns) = clockwork.next_ns() else {
            agenda.is_longer.notified().await;
            continue;
        };
        tokio::select! {
            waited = timer.until(due_ns) => waited.expect("a timer that can be set"),
            () = agenda.is_longer.notified() => {}
        }
    }
}

/// What is to be published, in the order of the instants; topics of the same instant in that of their making.
#[derive(Debug, Default)]
struct Clockwork {
    due: BTreeMap<(u64, u64), Box<Publication>>,
    added: u64,
}

impl Clockwork {
    fn add(&mut self, topic: Arc<Topic>, spec: TopicSpec, start_ns: u64) {
        // One that is over goes when it is due; here are those that would be due too late.
        if self.due.len() >= 2 * MAX_TOPICS {
            self.due
                .retain(|_, publication| !publication.topic.is_over());
        }
        self.added += 1;
        let publication = Box::new(Publication::new(topic, spec, start_ns));
        self.due
            .insert((publication.due_ns, self.added), publication);
    }

    fn next_ns(&self) -> Option<u64> {
        self.due.first_key_value().map(|((due_ns, _), _)| *due_ns)
    }

    /// Publishes what is due, and returns whether there may be more: others must have a turn before.
    fn publish_due(&mut self, worker: &Worker) -> bool {
        let mut now_ns = clock::monotonic_ns();
        for _ in 0..TURN {
            let Some(next) = self.due.first_entry().filter(|next| next.key().0 <= now_ns) else {
                return false;
            };
            let ((due_ns, id), mut publication) = next.remove_entry();
            if publication.topic.is_over() {
                continue;
            }
            publication.topic.publish(due_ns, &publication.payload);
            now_ns = clock::monotonic_ns();
            let lag_ns = now_ns.saturating_sub(due_ns);
            worker
                .shared
                .publisher_lag_max_ns
                .fetch_max(lag_ns, Relaxed);
            worker.counts.publisher_lag_ns.set(lag_ns);
            count(&worker.counts.published);
            publication.prepare();
            self.due.insert((publication.due_ns, id), publication);
        }
        true
    }
}

/// One topic's next update.
#[derive(Debug)]
struct Publication {
    topic: Arc<Topic>,
    spec: TopicSpec,
    schedule: Schedule,
    start_ns: u64,
    sequence: u64,
    due_ns: u64,
    /// Made before it is due, so that making it does not delay the update.
    payload: Vec<u8>,
}

impl Publication {
    fn new(topic: Arc<Topic>, spec: TopicSpec, start_ns: u64) -> Self {
        let mut publication = Self {
            topic,
            spec,
            schedule: Schedule::new(&spec),
            start_ns,
            sequence: 0,
            due_ns: 0,
            payload: Vec::new(),
        };
        publication.prepare();
        publication
    }

    fn prepare(&mut self) {
        self.sequence += 1;
        self.due_ns = self.start_ns + self.schedule.next_ns();
        let bytes = self.spec.payload_bytes as usize;
        self.payload = update::payload(self.spec.seed, self.sequence, bytes);
    }
}

/// Instants since the start, none from the clock: lateness does not add up, and the rate holds.
#[derive(Debug)]
enum Schedule {
    Poisson {
        random: Box<ChaCha8Rng>,
        mean_ns: f64,
        at_ns: f64,
    },
    Periodic {
        period_ns: f64,
        /// In periods.
        phase: f64,
        past: u64,
    },
}

impl Schedule {
    fn new(spec: &TopicSpec) -> Self {
        let mean_ns = 1e9 / spec.events_per_second;
        match spec.arrivals {
            Arrivals::Poisson => Self::Poisson {
                random: Box::new(seed::stream(spec.seed, "publisher", 0)),
                mean_ns,
                at_ns: 0.0,
            },
            Arrivals::Periodic => Self::Periodic {
                period_ns: mean_ns,
                phase: seed::stream(spec.seed, "publisher phase", 0).random(),
                past: 0,
            },
        }
    }

    fn next_ns(&mut self) -> u64 {
        let at_ns = match self {
            Self::Poisson {
                random,
                mean_ns,
                at_ns,
            } => {
                // 1 - U lies in (0, 1], so that the logarithm is finite.
                *at_ns -= (1.0 - random.random::<f64>()).ln() * *mean_ns;
                *at_ns
            }
            Self::Periodic {
                period_ns,
                phase,
                past,
            } => {
                let at_ns = (*phase + *past as f64) * *period_ns;
                *past += 1;
                at_ns
            }
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative; `as` saturates above u64, and half of it is 292 years"
        )]
        let at_ns = at_ns.min(u64::MAX as f64 / 2.0) as u64;
        at_ns
    }
}

/// How many updates are published before others have a turn: well below a millisecond's work.
const TURN: usize = 64;
const NO_PANIC: &str = "nothing panics while it holds the agenda";

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64, arrivals: Arrivals) -> Schedule {
        Schedule::new(&TopicSpec {
            events_per_second: 1000.0,
            arrivals,
            payload_bytes: 0,
            seed,
        })
    }

    #[test]
    fn the_mean_rate_holds() {
        let mut schedule = schedule(1, Arrivals::Poisson);
        let end_ns = (0..100_000).fold(0, |_, _| schedule.next_ns());
        // 100 s expected; the standard deviation is 0.32 s.
        assert!(
            (98_400_000_000..101_600_000_000).contains(&end_ns),
            "{end_ns}"
        );
    }

    #[test]
    fn periodic_distances_are_exact_and_do_not_drift() {
        let mut schedule = schedule(1, Arrivals::Periodic);
        let first_ns = schedule.next_ns();
        assert!(first_ns < 1_000_000);
        for k in 1..=100_000 {
            assert!(schedule.next_ns().abs_diff(first_ns + k * 1_000_000) <= 1);
        }
    }

    #[test]
    fn instants_follow_from_the_seed() {
        for arrivals in [Arrivals::Poisson, Arrivals::Periodic] {
            let first = |seed| schedule(seed, arrivals).next_ns();
            assert_eq!(first(1), first(1));
            assert_ne!(first(1), first(2));
        }
    }

    #[test]
    fn what_is_due_first_comes_first() {
        let mut clockwork = Clockwork::default();
        let spec = TopicSpec::parse("rate=1&arrivals=periodic").unwrap();
        for start_ns in [20, 10, 10] {
            clockwork.add(Arc::new(Topic::new("t")), spec, start_ns);
        }
        let order: Vec<_> = clockwork.due.into_keys().map(|(_, id)| id).collect();
        assert_eq!(order, [2, 3, 1]);
    }
}
