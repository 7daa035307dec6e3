//! The search for a server's capacity: the highest rate at which the 99th percentile stays within an objective.
//!
//! A state machine without clock or network. [`Search::next`] says which rate to probe, [`Search::observe`] takes what
//! the probe gave:
//!
//! 1. Double the rate until one misses the objective; halve it when already the first one does.
//! 2. Bisect on the logarithmic scale until the miss is within 5 % of the best rate that met.
//! 3. Confirm that rate with three more probes that all have to meet, and back off by 2 % when one does not.
//!
//! Near the objective one probe says little: there, the majority of three decides on a rate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A missed rate this close above one that met ends the bisection.
const RESOLUTION: f64 = 1.05;
/// So many rates are tried before confirmation at most; probes that repeat one are not counted.
const MAX_RATES: u32 = 14;
/// A first rate that misses is halved so often at most.
const MAX_HALVINGS: u32 = 6;
/// |ln(p99 / objective)| below this is near: probes of the same rate may disagree.
const NEAR: f64 = 0.2;
/// The majority of three.
const VOTES: u32 = 2;
/// So many confirmations have to meet, without a miss between them.
const CONFIRMATIONS: u32 = 3;
/// What a rate that was not confirmed is multiplied by.
const BACK_OFF: f64 = 0.98;
/// A rate is backed off so often at most.
const MAX_BACK_OFFS: u32 = 5;
/// So many probes may be disturbed; they are made again, and one more ends the search without a number.
const MAX_DISTURBED: u32 = 4;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Offer this load to a fresh server, then [`Search::observe`] what it gave.
    Probe {
        /// The rate to offer, operations per second.
        rate_per_second: f64,
        /// The rate was found and is now being confirmed: worth a longer probe.
        is_confirmation: bool,
    },
    /// The search is over.
    Done(Found),
}

/// What a search found.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Found {
    /// The highest rate that was confirmed, operations per second; absent when none was.
    pub rate_per_second: Option<f64>,
    /// How it relates to the server's capacity.
    pub bound: Bound,
}

/// How the rate found relates to the server's capacity.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It is the capacity, within the search's resolution.
    Reached,
    /// The capacity may be higher: the client was the limit, or the search ended before a rate close above missed.
    AtLeast,
    /// A rate met once and could not be confirmed, nor could those just below.
    NotConverged,
    /// No rate met, down to the lowest one tried.
    None,
    /// The machine disturbed the probes so often that no rate can be told.
    Disturbed,
}

/// What one probe gave.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ProbeOutcome {
    /// Whether the objective was met.
    pub verdict: ProbeVerdict,
    /// The 99th percentile that was compared with the objective; absent when there is none, and the verdict then stands
    /// alone.
    pub p99_ns: Option<u64>,
}

/// The judgement of one probe.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeVerdict {
    /// The rate was sustained, and the percentile is within the objective.
    Met,
    /// It was not, or the percentile is not.
    Missed,
    /// The client could not offer the rate, or was itself the limit: nothing is known about the server.
    ClientLimited,
    /// It missed while something outside disturbed the machine, in spite of repetitions: nothing is known. A rate that was
    /// met in spite of a disturbance was met.
    Disturbed,
}

/// One search, from its first rate to what it found.
#[derive(Clone, Debug)]
pub struct Search {
    objective_p99_ns: u64,
    /// The rate of the next probe.
    rate: f64,
    /// The highest rate that met.
    met: Option<f64>,
    /// The lowest rate that did not.
    ceiling: Option<Ceiling>,
    /// How many rates were decided on.
    rates: u32,
    /// How many probes said nothing, since they were disturbed.
    disturbed: u32,
    /// What the probes of this rate said.
    votes: Votes,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
struct Ceiling {
    rate: f64,
    is_client: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    met: u32,
    missed: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Seek,
    Confirm {
        met: u32,
        back_offs: u32,
        bound: Bound,
    },
    Done(Found),
}

impl Search {
    /// The most probes a search can ask for.
    pub const MAX_PROBES: u32 =
        MAX_RATES * (2 * VOTES - 1) + (MAX_BACK_OFFS + 1) * CONFIRMATIONS + MAX_DISTURBED;

    /// Starts a search at this rate, in operations per second: best, one that surely meets the objective. The rate has
    /// to be above 0 and finite.
    pub fn new(first_rate: f64, objective_p99_ns: u64) -> Self {
        assert!(
            first_rate.is_finite() && first_rate > 0.0,
            "no rate to start from: {first_rate}"
        );
        Self {
            objective_p99_ns,
            rate: first_rate,
            met: None,
            ceiling: None,
            rates: 0,
            disturbed: 0,
            votes: Votes::default(),
            phase: Phase::Seek,
        }
    }

    /// Says what to do next; the same until something is observed.
    pub fn next(&self) -> Step {
        match self.phase {
            Phase::Done(found) => Step::Done(found),
            phase => Step::Probe {
                rate_per_second: self.rate,
                is_confirmation: matches!(phase, Phase::Confirm { .. }),
            },
        }
    }

    /// Takes what the probe that [`Search::next`] asked for gave; ignored when the search is over.
    pub fn observe(&mut self, outcome: ProbeOutcome) {
        let is_over = matches!(self.phase, Phase::Done(_));
        if outcome.verdict == ProbeVerdict::Disturbed && !is_over {
            self.disturbed += 1;
            if self.disturbed > MAX_DISTURBED {
                self.phase = done(None, Bound::Disturbed);
            }
            return;
        }
        match self.phase {
            Phase::Seek => self.seek(outcome),
            Phase::Confirm {
                met,
                back_offs,
                bound,
            } => self.phase = self.confirm(outcome.verdict, met, back_offs, bound),
            Phase::Done(_) => {}
        }
    }

    fn seek(&mut self, outcome: ProbeOutcome) {
        let Some(verdict) = self.decide(outcome) else {
            return;
        };
        self.votes = Votes::default();
        self.rates += 1;
        if verdict == ProbeVerdict::Met {
            self.met = Some(self.rate);
        } else {
            self.ceiling = Some(Ceiling {
                rate: self.rate,
                is_client: verdict == ProbeVerdict::ClientLimited,
            });
        }
        self.choose();
    }

    /// Returns what is now known of the rate; `None` when it has to be probed again.
    fn decide(&mut self, outcome: ProbeOutcome) -> Option<ProbeVerdict> {
        let is_first = self.votes.met + self.votes.missed == 0;
        let counted = match outcome.verdict {
            ProbeVerdict::Met => &mut self.votes.met,
            ProbeVerdict::Missed => &mut self.votes.missed,
            ProbeVerdict::ClientLimited | ProbeVerdict::Disturbed => return Some(outcome.verdict),
        };
        *counted += 1;
        let is_decided = *counted == VOTES || is_first && !self.is_near(outcome.p99_ns);
        is_decided.then_some(outcome.verdict)
    }

    fn is_near(&self, p99_ns: Option<u64>) -> bool {
        let objective = self.objective_p99_ns as f64;
        p99_ns.is_some_and(|p99| (p99 as f64 / objective).ln().abs() < NEAR)
    }

    /// Chooses the next rate, or ends the search for one.
    fn choose(&mut self) {
        let is_spent = self.rates >= MAX_RATES;
        match (self.met, self.ceiling) {
            (Some(met), Some(ceiling)) => {
                if ceiling.is_client {
                    self.settle(met, Bound::AtLeast);
                } else if ceiling.rate / met <= RESOLUTION {
                    self.settle(met, Bound::Reached);
                } else if is_spent {
                    self.settle(met, Bound::AtLeast);
                } else {
                    self.rate = (met * ceiling.rate).sqrt();
                }
            }
            (Some(met), None) if is_spent => self.settle(met, Bound::AtLeast),
            (Some(met), None) => self.rate = 2.0 * met,
            (None, _) if self.rates > MAX_HALVINGS => {
                self.phase = done(None, Bound::None);
            }
            (None, _) => self.rate /= 2.0,
        }
    }

    /// Turns to confirming a rate.
    fn settle(&mut self, rate: f64, bound: Bound) {
        self.rate = rate;
        self.phase = Phase::Confirm {
            met: 0,
            back_offs: 0,
            bound,
        };
    }

    fn confirm(&mut self, verdict: ProbeVerdict, met: u32, back_offs: u32, bound: Bound) -> Phase {
        let (met, back_offs, bound) = match verdict {
            ProbeVerdict::Met if met + 1 == CONFIRMATIONS => return done(Some(self.rate), bound),
            ProbeVerdict::Met => {
                return Phase::Confirm {
                    met: met + 1,
                    back_offs,
                    bound,
                };
            }
            _ if back_offs == MAX_BACK_OFFS => return done(None, Bound::NotConverged),
            ProbeVerdict::Missed => (0, back_offs + 1, bound),
            ProbeVerdict::ClientLimited | ProbeVerdict::Disturbed => {
                (0, back_offs + 1, Bound::AtLeast)
            }
        };
        self.rate *= BACK_OFF;
        Phase::Confirm {
            met,
            back_offs,
            bound,
        }
    }
}

fn done(rate_per_second: Option<f64>, bound: Bound) -> Phase {
    Phase::Done(Found {
        rate_per_second,
        bound,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::Rng;

    use super::*;
    use crate::seed;

    const OBJECTIVE_NS: u64 = 1_000_000;
    const MET: ProbeOutcome = ProbeOutcome {
        verdict: ProbeVerdict::Met,
        p99_ns: Some(OBJECTIVE_NS / 2),
    };
    const MISSED: ProbeOutcome = ProbeOutcome {
        verdict: ProbeVerdict::Missed,
        p99_ns: Some(OBJECTIVE_NS * 2),
    };
    const JUST_MET: ProbeOutcome = ProbeOutcome {
        verdict: ProbeVerdict::Met,
        p99_ns: Some(OBJECTIVE_NS - 50_000),
    };
    const JUST_MISSED: ProbeOutcome = ProbeOutcome {
        verdict: ProbeVerdict::Missed,
        p99_ns: Some(OBJECTIVE_NS + 50_000),
    };
    const CLIENT: ProbeOutcome = ProbeOutcome {
        verdict: ProbeVerdict::ClientLimited,
        p99_ns: None,
    };

    const DISTURBED: ProbeOutcome = ProbeOutcome {
        verdict: ProbeVerdict::Disturbed,
        p99_ns: Some(OBJECTIVE_NS * 2),
    };

    /// A queue with one server: the 99th percentile grows without bound as the rate nears what it can serve.
    #[derive(Clone, Copy, Debug)]
    struct Queue {
        served_per_second: f64,
        objective_seconds: f64,
    }

    impl Queue {
        /// A queue whose objective is just met at this share of what it can serve.
        fn limited_at(served_per_second: f64, share: f64) -> Self {
            let objective_seconds = 100_f64.ln() / (served_per_second * (1.0 - share));
            Self {
                served_per_second,
                objective_seconds,
            }
        }

        fn limit(self) -> f64 {
            self.served_per_second - 100_f64.ln() / self.objective_seconds
        }

        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "times are positive and short"
        )]
        fn search(self, first_rate: f64) -> Search {
            Search::new(first_rate, (self.objective_seconds * 1e9) as u64)
        }

        /// A probe whose percentile is off by this factor.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "times are positive and short"
        )]
        fn probe(self, rate: f64, factor: f64) -> ProbeOutcome {
            let spare = self.served_per_second - rate;
            let p99 = (spare > 0.0).then(|| factor * 100_f64.ln() / spare);
            let is_met = p99.is_some_and(|p99| p99 <= self.objective_seconds);
            ProbeOutcome {
                verdict: if is_met {
                    ProbeVerdict::Met
                } else {
                    ProbeVerdict::Missed
                },
                p99_ns: p99.map(|p99| (p99 * 1e9) as u64),
            }
        }
    }

    /// Runs a search to its end; returns what it found and how many probes it took.
    fn run(mut search: Search, mut probe: impl FnMut(f64) -> ProbeOutcome) -> (Found, u32) {
        for probes in 0..=Search::MAX_PROBES {
            match search.next() {
                Step::Done(found) => return (found, probes),
                Step::Probe {
                    rate_per_second, ..
                } => search.observe(probe(rate_per_second)),
            }
        }
        panic!("the search does not end");
    }

    /// Feeds outcomes, and returns the rates probed with whether they were confirmations, and the step after.
    fn script(outcomes: &[ProbeOutcome]) -> (Vec<(f64, bool)>, Step) {
        let mut search = Search::new(100.0, OBJECTIVE_NS);
        let mut probed = Vec::new();
        for outcome in outcomes {
            let Step::Probe {
                rate_per_second,
                is_confirmation,
            } = search.next()
            else {
                panic!("over after {probed:?}");
            };
            probed.push(((rate_per_second * 10.0).round() / 10.0, is_confirmation));
            search.observe(*outcome);
        }
        (probed, search.next())
    }

    fn found(rate_per_second: Option<f64>, bound: Bound) -> Step {
        Step::Done(Found {
            rate_per_second,
            bound,
        })
    }

    #[test]
    fn doubles_bisects_and_confirms() {
        let (probed, step) =
            script(&[MET, MET, MISSED, MISSED, MET, MISSED, MISSED, MET, MET, MET]);
        let expected = [
            (100.0, false),
            (200.0, false),
            (400.0, false),
            (282.8, false),
            (237.8, false),
            (259.4, false),
            (248.4, false),
            (237.8, true),
            (237.8, true),
            (237.8, true),
        ];
        assert_eq!(probed, expected);
        let Step::Done(found) = step else {
            panic!("not over: {step:?}");
        };
        assert_eq!(found.bound, Bound::Reached);
        assert!((found.rate_per_second.unwrap() - 100.0 * 2_f64.powf(1.25)).abs() < 1e-9);
    }

    #[test]
    fn a_first_rate_that_misses_is_halved() {
        let (probed, _) = script(&[MISSED, MISSED, MET, MET]);
        assert_eq!(
            probed,
            [(100.0, false), (50.0, false), (25.0, false), (35.4, false)]
        );
    }

    #[test]
    fn a_hopeless_server_is_given_up() {
        let (probed, step) = script(&[MISSED; 7]);
        assert_eq!(probed.last(), Some(&(1.6, false)));
        assert_eq!(step, found(None, Bound::None));
        assert_eq!(script(&[CLIENT; 7]).1, found(None, Bound::None));
    }

    #[test]
    fn near_the_objective_the_majority_of_three_decides() {
        // Two to one for a miss, then for a hit; a repeat counts wherever it falls.
        let (probed, _) = script(&[
            MET,
            JUST_MET,
            JUST_MISSED,
            MISSED,
            JUST_MISSED,
            JUST_MET,
            MET,
            MET,
        ]);
        let rates: Vec<f64> = probed.into_iter().map(|(rate, _)| rate).collect();
        assert_eq!(
            rates,
            [100.0, 200.0, 200.0, 200.0, 141.4, 141.4, 141.4, 168.2]
        );
        // Two that agree need no third.
        let (probed, _) = script(&[JUST_MET, JUST_MET, MET]);
        assert_eq!(probed, [(100.0, false), (100.0, false), (200.0, false)]);
    }

    #[test]
    fn a_busy_client_gives_a_lower_bound() {
        let (probed, step) = script(&[MET, MET, CLIENT, MET, MET, MET]);
        assert_eq!(probed[3..], [(200.0, true); 3]);
        assert_eq!(step, found(Some(200.0), Bound::AtLeast));
        // The client is the limit above, the server below: the server's is found.
        let (probed, _) = script(&[CLIENT, MISSED, MET, MET]);
        assert_eq!(probed[3], (35.4, false));
        // While bisecting, and while confirming.
        let (_, step) = script(&[MET, MISSED, CLIENT, MET, MET, MET]);
        assert_eq!(step, found(Some(100.0), Bound::AtLeast));
        let to_confirm = [MET, MISSED, MISSED, MISSED, MISSED, MISSED];
        let (_, step) = script(&[&to_confirm[..], &[CLIENT, MET, MET, MET]].concat());
        assert_eq!(step, found(Some(98.0), Bound::AtLeast));
    }

    #[test]
    fn an_unconfirmed_rate_is_backed_off_and_in_the_end_dropped() {
        let to_confirm = [MET, MISSED, MISSED, MISSED, MISSED, MISSED];
        let (probed, step) =
            script(&[&to_confirm[..], &[MET, MET, MISSED, MET, MET, MET]].concat());
        assert_eq!(
            probed[8..],
            [(100.0, true), (98.0, true), (98.0, true), (98.0, true)]
        );
        assert_eq!(step, found(Some(98.0), Bound::Reached));
        let (_, step) = script(&[&to_confirm[..], &[MISSED; 6]].concat());
        assert_eq!(step, found(None, Bound::NotConverged));
    }

    #[test]
    fn a_server_without_a_limit_gives_a_lower_bound() {
        let (_, step) = script(&[MET; 17]);
        assert_eq!(step, found(Some(100.0 * 2_f64.powi(13)), Bound::AtLeast));
    }

    #[test]
    fn a_disturbed_probe_is_made_again_and_too_many_give_no_number() {
        let queue = Queue::limited_at(10_000.0, 0.7);
        let mut quiet = queue.search(2_000.0);
        let mut search = queue.search(2_000.0);
        search.observe(MET);
        quiet.observe(MET);
        for _ in 0..MAX_DISTURBED {
            search.observe(DISTURBED);
            assert_eq!(search.next(), quiet.next(), "nothing was learned");
        }
        search.observe(DISTURBED);
        assert_eq!(search.next(), found(None, Bound::Disturbed));
    }

    #[test]
    fn what_comes_after_the_end_is_ignored() {
        let mut search = Search::new(1.0, OBJECTIVE_NS);
        for _ in 0..10 {
            search.observe(MISSED);
        }
        assert_eq!(search.next(), found(None, Bound::None));
    }

    #[test]
    fn noisy_probes_still_find_the_limit() {
        let queue = Queue::limited_at(10_000.0, 0.7);
        let (mut reached, mut close) = (0, 0);
        for index in 0..200 {
            let mut random = seed::stream(1, "capacity", index);
            // A sum of uniforms, near enough to normal: the percentile is off by 10 %.
            let mut factor = || {
                let sum: f64 = (0..12).map(|_| random.random::<f64>()).sum();
                (0.1 * (sum - 6.0)).exp()
            };
            let (found, _) = run(queue.search(2_000.0), |rate| queue.probe(rate, factor()));
            reached += u32::from(found.bound == Bound::Reached);
            close += u32::from(
                found
                    .rate_per_second
                    .is_some_and(|rate| (0.88..1.04).contains(&(rate / queue.limit()))),
            );
        }
        assert!(reached >= 190 && close >= 190, "{reached} {close} of 200");
    }

    #[test]
    fn found_is_written_in_snake_case() {
        let found = Found {
            rate_per_second: Some(1.5),
            bound: Bound::NotConverged,
        };
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(json, r#"{"rate_per_second":1.5,"bound":"not_converged"}"#);
        assert_eq!(serde_json::from_str::<Found>(&json).unwrap(), found);
    }

    fn outcomes() -> impl Strategy<Value = Vec<ProbeOutcome>> {
        let outcome =
            prop::sample::select(vec![MET, MISSED, JUST_MET, JUST_MISSED, CLIENT, DISTURBED]);
        prop::collection::vec(outcome, Search::MAX_PROBES as usize)
    }

    proptest! {
        #[test]
        fn the_limit_is_found_within_the_resolution(
            served in 10.0..100_000.0_f64,
            share in 0.05..0.99_f64,
            first in 0.01..2.0_f64,
        ) {
            let queue = Queue::limited_at(served, share);
            let (found, _) = run(queue.search(first * served), |rate| queue.probe(rate, 1.0));
            prop_assert_eq!(found.bound, Bound::Reached);
            let ratio = found.rate_per_second.unwrap() / queue.limit();
            prop_assert!((1.0 / 1.05..=1.0).contains(&ratio), "{}", ratio);
        }

        #[test]
        fn every_search_ends(outcomes in outcomes()) {
            let mut search = Search::new(100.0, OBJECTIVE_NS);
            for outcome in outcomes {
                if let Step::Probe { rate_per_second, .. } = search.next() {
                    prop_assert!(rate_per_second.is_finite() && rate_per_second > 0.0);
                }
                search.observe(outcome);
            }
            let Step::Done(found) = search.next() else {
                return Err(TestCaseError::fail("not over"));
            };
            let is_found = matches!(found.bound, Bound::Reached | Bound::AtLeast);
            prop_assert_eq!(found.rate_per_second.is_some(), is_found);
        }
    }
}
