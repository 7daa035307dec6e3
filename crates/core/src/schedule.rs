//! When operations are due. The whole schedule of a trial is drawn from the seed before the trial starts, so that
//! nothing the system does can change it, and every lane of a block faces the same arrivals.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::seed;

/// The load model of a scenario.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "model", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Load {
    /// Each connection starts its next operation when the last one ended.
    Closed {},
    /// Operations are due at equal distances, whatever the system does.
    OpenConstant {
        /// The total over all connections.
        rate_per_second: f64,
    },
    /// Operations are due at random instants (Poisson process), whatever the system does.
    OpenPoisson {
        /// The mean total over all connections.
        rate_per_second: f64,
    },
    /// Each connection has an operation due every `interval_ms`, from a random phase on: what a polling client does.
    Interval {
        /// The distance between two operations of one connection.
        interval_ms: u64,
    },
    /// Each connection has an operation due at this rate, from a random phase on: what a player or a chatting member
    /// does.
    PerClient {
        /// The rate of one connection.
        rate_per_second: f64,
    },
    /// Operations begin when the server has news, at the rate of its publishers.
    Events {},
    /// The highest rate of random instants is searched at which the 99th percentile of the response time stays below
    /// the objective. One trial is one whole search; each of its probes is an open load in fresh processes.
    Capacity {
        /// The objective.
        p99_ms: f64,
    },
}

impl Load {
    /// Returns the model's name, as in scenario files.
    pub const fn model(&self) -> &'static str {
        match self {
            Self::Closed {} => "closed",
            Self::OpenConstant { .. } => "open-constant",
            Self::OpenPoisson { .. } => "open-poisson",
            Self::Interval { .. } => "interval",
            Self::PerClient { .. } => "per-client",
            Self::Events {} => "events",
            Self::Capacity { .. } => "capacity",
        }
    }

    /// Returns the offered total rate, or `None` where the client offers none: in a closed loop, in a search, which
    /// finds it, and where the server begins.
    pub fn offered_per_second(&self, connections: u32) -> Option<f64> {
        match *self {
            Self::Closed {} | Self::Capacity { .. } | Self::Events {} => None,
            Self::OpenConstant { rate_per_second } | Self::OpenPoisson { rate_per_second } => {
                Some(rate_per_second)
            }
            Self::Interval { interval_ms } => {
                Some(f64::from(connections) * 1e3 / interval_ms as f64)
            }
            Self::PerClient { rate_per_second } => Some(f64::from(connections) * rate_per_second),
        }
    }
}

/// One due operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// When it is due: nanoseconds since the schedule's start.
    pub at_ns: u64,
    /// The connection that must do it; `None` lets the first idle connection do it.
    pub slot: Option<u32>,
}

/// Draws the arrivals of `[0, length_ns)`, in order of time. Empty for a closed loop.
pub fn arrivals(
    load: &Load,
    connections: u32,
    length_ns: u64,
    seed: u64,
    block: u32,
) -> Vec<Arrival> {
    let mut all = Vec::new();
    let mut take = |arrival| all.push(arrival);
    draw(load, connections, length_ns, seed, block, &mut take);
    all.sort_by_key(|arrival| arrival.at_ns);
    all
}

/// Draws the arrivals of `[0, length_ns)` and hands each to `take`: in order of time, or of slots where each has its own.
/// None in a closed loop.
pub(crate) fn draw(
    load: &Load,
    connections: u32,
    length_ns: u64,
    seed: u64,
    block: u32,
    take: &mut impl FnMut(Arrival),
) {
    let mut random = seed::stream(seed, "arrivals", u64::from(block));
    match *load {
        Load::Closed {} | Load::Capacity { .. } | Load::Events {} => {}
        Load::OpenConstant { rate_per_second } => evenly(length_ns, 1e9 / rate_per_second, 0.0)
            .for_each(|at_ns| take(Arrival { at_ns, slot: None })),
        Load::OpenPoisson { rate_per_second } => {
            let mut at = 0.0;
            std::iter::from_fn(|| {
                // 1 - U lies in (0, 1], so that the logarithm is finite.
                at -= (1.0 - random.random::<f64>()).ln() * 1e9 / rate_per_second;
                whole_ns(at, length_ns)
            })
            .for_each(|at_ns| take(Arrival { at_ns, slot: None }));
        }
        Load::Interval { interval_ms } => each_evenly(
            connections,
            length_ns,
            interval_ms as f64 * 1e6,
            &mut random,
            take,
        ),
        Load::PerClient { rate_per_second } => each_evenly(
            connections,
            length_ns,
            1e9 / rate_per_second,
            &mut random,
            take,
        ),
    }
}

/// Turns an instant of a steady load into that of one whose rate rises in a straight line up to `ramp_ns`: where the
/// integral of the rising rate is what that of the steady one was. The load becomes longer by half the ramp.
pub(crate) fn ramped(at_ns: u64, ramp_ns: u64) -> u64 {
    if at_ns < ramp_ns / 2 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and at most the ramp"
        )]
        let risen = (2.0 * ramp_ns as f64 * at_ns as f64).sqrt() as u64;
        risen
    } else {
        at_ns + ramp_ns / 2
    }
}

/// Gives each connection arrivals at equal distances, from a random phase on.
fn each_evenly(
    connections: u32,
    length_ns: u64,
    interval_ns: f64,
    random: &mut impl Rng,
    take: &mut impl FnMut(Arrival),
) {
    for slot in 0..connections {
        let phase = random.random::<f64>() * interval_ns;
        evenly(length_ns, interval_ns, phase).for_each(|at_ns| {
            take(Arrival {
                at_ns,
                slot: Some(slot),
            });
        });
    }
}

/// Yields `phase + k * step` for k = 0, 1, …, each rounded from its exact value, so that no error accumulates.
fn evenly(length_ns: u64, step_ns: f64, phase_ns: f64) -> impl Iterator<Item = u64> {
    (0u32..).map_while(move |k| whole_ns(phase_ns + f64::from(k) * step_ns, length_ns))
}

fn whole_ns(at: f64, length_ns: u64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; `as` saturates above u64"
    )]
    let at_ns = at as u64;
    (at_ns < length_ns).then_some(at_ns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_closed_loop_has_no_schedule() {
        assert!(arrivals(&Load::Closed {}, 4, SECOND, 1, 0).is_empty());
    }

    #[test]
    fn a_constant_rate_is_exact() {
        let all = arrivals(
            &Load::OpenConstant {
                rate_per_second: 1000.0,
            },
            4,
            SECOND,
            1,
            0,
        );
        assert_eq!(all.len(), 1000);
        assert!(
            all.iter()
                .enumerate()
                .all(|(k, arrival)| arrival.at_ns == k as u64 * 1_000_000)
        );
    }

    #[test]
    fn a_poisson_process_has_the_rate_and_the_spread_of_one() {
        let all = arrivals(
            &Load::OpenPoisson {
                rate_per_second: 10_000.0,
            },
            4,
            10 * SECOND,
            7,
            0,
        );
        // 100,000 expected, standard deviation 316: five of them either way.
        assert!((98_420..=101_580).contains(&all.len()), "{}", all.len());
        let gaps: Vec<f64> = all
            .windows(2)
            .map(|pair| (pair[1].at_ns - pair[0].at_ns) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential gap's standard deviation is its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02);
    }

    #[test]
    fn blocks_differ_and_repeat_for_the_same_seed() {
        let draw = |seed, block| {
            arrivals(
                &Load::OpenPoisson {
                    rate_per_second: 100.0,
                },
                1,
                SECOND,
                seed,
                block,
            )
        };
        assert_eq!(draw(3, 1), draw(3, 1));
        assert_ne!(draw(3, 1), draw(3, 2));
        assert_ne!(draw(3, 1), draw(4, 1));
    }

    #[test]
    fn each_poller_keeps_its_own_beat() {
        let all = arrivals(&Load::Interval { interval_ms: 50 }, 8, SECOND, 1, 0);
        for slot in 0..8 {
            let own: Vec<_> = all
                .iter()
                .filter(|arrival| arrival.slot == Some(slot))
                .map(|a| a.at_ns)
                .collect();
            assert_eq!(own.len(), 20);
            assert!(
                own.windows(2)
                    .all(|pair| (pair[1] - pair[0]).abs_diff(50_000_000) <= 1)
            );
        }
    }

    proptest! {
        #[test]
        fn arrivals_are_ordered_and_inside(rate in 1.0f64..5000.0, length_ms in 1u64..500, seed: u64) {
            let length_ns = length_ms * 1_000_000;
            for load in [Load::OpenPoisson { rate_per_second: rate }, Load::OpenConstant { rate_per_second: rate }] {
                let all = arrivals(&load, 3, length_ns, seed, 0);
                prop_assert!(all.is_sorted_by_key(|arrival| arrival.at_ns));
                prop_assert!(all.iter().all(|arrival| arrival.at_ns < length_ns));
            }
        }
    }
}
