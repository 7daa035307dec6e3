//! The publisher: updates at the instants of a Poisson process.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sockrates_core::{seed, update};
use sockrates_probe::clock;

use crate::Publisher;
use crate::pause::pause;
use crate::topic::Topic;

/// Publishes for ever; does nothing when the rate is 0.
pub(crate) async fn publish(publisher: Publisher, topic: &Topic) {
    if publisher.events_per_second <= 0.0 {
        return;
    }
    let mut schedule = Schedule::new(&publisher);
    let start_ns = clock::monotonic_ns();
    for sequence in 1.. {
        // Before the wait: making the payload must not delay the update.
        let payload = update::payload(publisher.seed, sequence, publisher.payload_bytes as usize);
        let due_ns = start_ns + schedule.next_ns();
        match due_ns.checked_sub(clock::monotonic_ns()) {
            Some(early_ns @ 1..) => pause(Duration::from_nanos(early_ns)).await,
            // Late, as often happens with distances below the timer's millisecond: let others have a turn.
            _ => tokio::task::yield_now().await,
        }
        topic.publish(&payload);
    }
}

/// Instants since the start, each from the one before and not from the clock: lateness does not add up, and the mean
/// rate holds.
#[derive(Debug)]
struct Schedule {
    random: ChaCha8Rng,
    mean_ns: f64,
    at_ns: f64,
}

impl Schedule {
    fn new(publisher: &Publisher) -> Self {
        Self {
            random: seed::stream(publisher.seed, "publisher", 0),
            mean_ns: 1e9 / publisher.events_per_second,
            at_ns: 0.0,
        }
    }

    fn next_ns(&mut self) -> u64 {
        // 1 - U lies in (0, 1], so that the logarithm is finite.
        self.at_ns -= (1.0 - self.random.random::<f64>()).ln() * self.mean_ns;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative; `as` saturates above u64, and half of it is 292 years"
        )]
        let at_ns = self.at_ns.min(u64::MAX as f64 / 2.0) as u64;
        at_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Schedule {
        Schedule::new(&Publisher {
            events_per_second: 1000.0,
            seed,
            ..Publisher::default()
        })
    }

    #[test]
    fn the_mean_rate_holds() {
        let mut schedule = schedule(1);
        let end_ns = (0..100_000).fold(0, |_, _| schedule.next_ns());
        // 100 s expected; the standard deviation is 0.32 s.
        assert!(
            (98_400_000_000..101_600_000_000).contains(&end_ns),
            "{end_ns}"
        );
    }

    #[test]
    fn instants_follow_from_the_seed() {
        assert_eq!(schedule(1).next_ns(), schedule(1).next_ns());
        assert_ne!(schedule(1).next_ns(), schedule(2).next_ns());
    }
}
