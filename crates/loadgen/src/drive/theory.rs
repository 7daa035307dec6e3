//! What theory says of polls and long polls, with the production clients in a world whose clock moves only when told to:
//! the seed decides everything, so that a deviation is the client's. `just validate` does the same with real time.
//!
//! An update that comes at a random instant waits evenly for the next poll of an interval T, and a poll finds nothing with
//! the probability that a Poisson process leaves a gap of T.

use std::cell::RefCell;
use std::rc::Rc;

use sockrates_core::failure::FailureKind;
use sockrates_core::histogram::Histogram;
use sockrates_core::lane::Lifecycle;
use sockrates_core::record::{Metric, UpdateCounts};
use sockrates_core::schedule::{Arrival, Load, arrivals};
use sockrates_core::update::{self, Update};

use super::{Connection, Shared, Slot};
use crate::agenda::{Agenda, Span};
use crate::environment::Environment;
use crate::environment::manual::Manual;
use crate::recorder::{Course, Metrics, Recorder, Scope};
use crate::transport::{Peer, Reply, Request, Transport};
use crate::watch::Tick;
use crate::worker::{WorkerOutcome, crew_of_one};
use crate::workload::Exchanges;
use crate::workload::updates::{Follower, Patience, Poller, topic_seed};

const MS: u64 = 1_000_000;
/// Long enough for 20,000 events: their own luck is below a hundredth.
const LENGTH_NS: u64 = 1_000_000 * MS;
const SPAN: Span = Span {
    start_ns: MS,
    window_start_ns: MS,
    end_ns: MS + LENGTH_NS,
};
const EVENTS_PER_SECOND: f64 = 20.0;
const INTERVAL_MS: u64 = 50;
/// The way to the server, and as long back.
const TRANSIT_NS: u64 = 4 * MS;
const SEED: u64 = 5;

/// A topic whose events came, and will come, at known instants.
struct Board {
    world: Manual,
    events_ns: Vec<u64>,
}

/// A question for what is new.
#[derive(Default)]
struct Question {
    /// `None` begins with the present.
    since: Option<u64>,
    waits: bool,
}

impl Board {
    /// Makes a topic with events over such a time, drawn from this seed.
    fn new(world: Manual, length_ns: u64, seed: u64) -> Self {
        let rate_per_second = EVENTS_PER_SECOND;
        let load = Load::OpenPoisson { rate_per_second };
        let events = arrivals(&load, 1, length_ns, seed, 0);
        Self {
            world,
            events_ns: events.iter().map(|e| SPAN.start_ns + e.at_ns).collect(),
        }
    }
}

impl Transport<Manual> for Board {
    const NAME: &'static str = "board";

    type Prepared = Question;

    fn prepare(request: &Request<'_>, _: &Peer, question: &mut Question) -> Option<()> {
        let Request::Poll {
            since, timeout_ms, ..
        } = request
        else {
            return None;
        };
        *question = Question {
            since: *since,
            waits: timeout_ms.is_some(),
        };
        Some(())
    }

    async fn handshake(world: Manual, _peer: &Peer) -> Result<Self, FailureKind> {
        Ok(Self::new(world, LENGTH_NS, SEED))
    }

    async fn exchange<R: Reply>(
        &mut self,
        ask: &Question,
        reply: &mut R,
    ) -> Result<(), FailureKind> {
        self.world.advance(TRANSIT_NS);
        let now_ns = self.world.now_ns();
        let present = self.events_ns.partition_point(|at_ns| *at_ns <= now_ns) as u64;
        let known = usize::try_from(ask.since.unwrap_or(present)).unwrap();
        if ask.waits {
            let next_ns = self.events_ns.get(known).copied().unwrap_or(SPAN.end_ns);
            self.world
                .advance(next_ns.saturating_sub(self.world.now_ns()));
        }
        let now_ns = self.world.now_ns();
        let new = self.events_ns.iter().enumerate().skip(known);
        let new: Vec<_> = new.take_while(|(_, at_ns)| **at_ns <= now_ns).collect();
        reply.status(if new.is_empty() { 204 } else { 200 })?;
        reply.head((known + new.len()) as u64);
        for (index, created_ns) in new {
            let sequence = index as u64 + 1;
            let mut line = Vec::new();
            let update = Update {
                sequence,
                created_ns: *created_ns,
                payload: &update::payload(topic_seed(SEED, 0), sequence, 8),
            };
            update.write(&mut line);
            reply.feed(&line);
        }
        self.world.advance(TRANSIT_NS);
        reply.finish()
    }

    async fn close(self) -> Result<(), FailureKind> {
        Ok(())
    }
}

/// Follows the topic from its beginning with one client, and returns what it saw and how stale that was.
fn follow(patience: Patience, agenda: Agenda) -> (UpdateCounts, Histogram) {
    follow_within(SPAN, SEED, Some(0), patience, agenda)
}

/// Follows a topic with these events after a sequence, or from the client's first question on.
fn follow_within(
    span: Span,
    events_seed: u64,
    since: Option<u64>,
    patience: Patience,
    agenda: Agenda,
) -> (UpdateCounts, Histogram) {
    let outcome = outcome_within(span, events_seed, since, patience, agenda);
    let updates = outcome.recorder.updates;
    assert_eq!(
        (updates.missed, updates.repeated, updates.out_of_order),
        (0, 0, 0)
    );
    let mut times = outcome.recorder.into_histograms().0;
    (updates, times.remove(&Metric::Staleness).unwrap())
}

fn outcome_within(
    span: Span,
    events_seed: u64,
    since: Option<u64>,
    patience: Patience,
    agenda: Agenda,
) -> WorkerOutcome {
    let is_open_load = agenda.next_arrival_ns().is_some();
    let world = Manual::with_dial_ns(0);
    world.advance(SPAN.start_ns);
    let scope = Scope {
        span,
        slice_width_ns: (span.end_ns - span.window_start_ns) / 10,
        is_open_load,
        records: Metrics::default().and(&[Metric::Staleness, Metric::ServiceTime]),
        course: Course::Operations,
        connections: 1,
    };
    let peer = Peer {
        host: String::new(),
        lifecycle: Lifecycle::Persistent,
        door: None,
    };
    let shared = Rc::new(Shared {
        environment: world.clone(),
        agenda,
        recorder: RefCell::new(Recorder::new(scope)),
        peer: peer.clone(),
        exchanges: Exchanges::UNLIMITED,
        counts_wire: false,
        timeout_ns: LENGTH_NS,
        is_foreign: false,
        tick: Tick::default(),
    });
    let mut follower = Follower::new(0, 1, SEED, Rc::default());
    if let Some(since) = since {
        follower.begin_after(since);
    }
    let connection = Board::new(world, span.end_ns - span.start_ns, events_seed);
    let slot = Slot::<Manual, Board, Poller<Manual, Board>> {
        shared: Rc::clone(&shared),
        alarm: Rc::default(),
        local: 0,
        global: 0,
        workload: Poller::new(follower, patience, &peer).unwrap(),
        connection: Some(Connection {
            has_answered: false,
            transport: connection,
            left: Exchanges::UNLIMITED.0,
            fresh: None,
        }),
        witness: None,
        is_connecting: false,
        from_ns: 0,
    };
    crew_of_one(&shared, slot, span, span.end_ns + 100 * MS)
}

#[track_caller]
fn near(what: &str, found: f64, expected: f64, share: f64) {
    let error = found / expected - 1.0;
    assert!(error.abs() < share, "{what}: {found}, expected {expected}");
}

#[test]
fn polls_age_news_by_half_their_interval_and_mostly_find_what_theory_says() {
    let interval_ms = INTERVAL_MS;
    let polls = arrivals(&Load::Interval { interval_ms }, 1, LENGTH_NS, SEED, 0);
    let count = polls.len() as f64;
    let (updates, staleness) = follow(Patience::None, Agenda::open(SPAN, polls, 1));
    let wait_ns = (INTERVAL_MS * MS) as f64;
    let transit_ns = TRANSIT_NS as f64;
    // From an even wait and one transit: mean T/2 + h, and q T + h.
    let mean_ns = staleness.mean_ns().unwrap();
    near("mean", mean_ns, wait_ns / 2.0 + transit_ns, 0.01);
    for share in [0.1, 0.5, 0.9, 0.99] {
        let found_ns = staleness.quantile_unchecked_ns(share) as f64;
        near("quantile", found_ns, share * wait_ns + transit_ns, 0.03);
    }
    // ν T = 1: a poll finds nothing with probability 1/e.
    let expected = EVENTS_PER_SECOND * wait_ns / 1e9;
    let empty = updates.empty_polls as f64;
    near("empty polls", empty / count, (-expected).exp(), 0.02);
    let filled = count - empty;
    let each = expected / (1.0 - (-expected).exp());
    near(
        "events of a poll",
        updates.received as f64 / filled,
        each,
        0.01,
    );
}

#[test]
fn long_polls_miss_the_moment_as_often_as_the_gap_between_two_allows() {
    let load_ms = u32::try_from(LENGTH_NS / MS).unwrap();
    let patience = Patience::Up {
        to_ms: load_ms,
        load_ms,
    };
    let (updates, staleness) = follow(patience, Agenda::closed(SPAN, u64::MAX));
    // The gap: a reply's way to the client, and the next question's way back.
    let gap_ns = 2.0 * TRANSIT_NS as f64;
    let expected = EVENTS_PER_SECOND * gap_ns / 1e9;
    // A poll brings what came in the gap, or else waits for one: ν g + exp(-ν g) events on average.
    let each = expected + (-expected).exp();
    let polls = updates.requests as f64;
    near(
        "events of a poll",
        updates.received as f64 / polls,
        each,
        0.01,
    );
    let late = staleness
        .counts()
        .count_between(TRANSIT_NS + MS / 10, u64::MAX >> 1) as f64;
    let in_gap = expected / each;
    // Those that came a tenth of a millisecond or less before the question arrived are not told apart.
    let seen = in_gap * (1.0 - 0.1 * MS as f64 / gap_ns);
    near(
        "events in the gap",
        late / updates.received as f64,
        seen,
        0.04,
    );
    let mean_ns = TRANSIT_NS as f64 + in_gap * gap_ns / 2.0;
    near("mean", staleness.mean_ns().unwrap(), mean_ns, 0.01);
}

/// Returns the mean staleness that many clients see in one second after such a warm-up, asking every five seconds, each
/// from a phase of its own and for what is new since its first question.
fn mean_staleness_ns(warm_up_ms: u64) -> f64 {
    let window_start_ns = SPAN.start_ns + warm_up_ms * MS;
    let span = Span {
        start_ns: SPAN.start_ns,
        window_start_ns,
        end_ns: window_start_ns + 1000 * MS,
    };
    let load = Load::Interval { interval_ms: 5000 };
    let (mut sum_ns, mut count) = (0.0, 0.0);
    for seed in 0..1000 {
        let polls = arrivals(&load, 1, span.end_ns - span.start_ns, !seed, 0);
        if polls.is_empty() {
            continue;
        }
        let agenda = Agenda::open(span, polls, 1);
        let (updates, staleness) = follow_within(span, seed, None, Patience::None, agenda);
        let received = updates.received as f64;
        sum_ns += staleness.mean_ns().unwrap_or(0.0) * received;
        count += received;
    }
    sum_ns / count
}

#[test]
fn polls_every_five_seconds_are_steady_after_a_whole_interval_and_too_fresh_before() {
    let steady_ns = (2500 * MS + TRANSIT_NS) as f64;
    near("steady", mean_staleness_ns(5000), steady_ns, 0.02);
    // Half an interval after the start nobody has asked twice who asks every five seconds.
    assert!(mean_staleness_ns(2500).is_nan());
}

/// The load has three polls of most clients, the window two of all: costs of the load, divided by its time, would be those
/// of no window.
#[test]
fn polls_every_five_seconds_cost_two_requests_in_a_window_of_ten() {
    const INTERVAL_MS: u64 = 5000;
    let window_start_ns = SPAN.start_ns + INTERVAL_MS * MS;
    let span = Span {
        start_ns: SPAN.start_ns,
        window_start_ns,
        end_ns: window_start_ns + 2 * INTERVAL_MS * MS,
    };
    for phase_ms in (100..INTERVAL_MS).step_by(700) {
        let polls = (0..3).map(|turn| Arrival {
            at_ns: (phase_ms + turn * INTERVAL_MS) * MS,
            slot: Some(0),
        });
        let agenda = Agenda::open(span, polls.collect(), 1);
        let outcome = outcome_within(span, SEED, None, Patience::None, agenda);
        let cost = outcome.window_cost.unwrap();
        assert_eq!(cost.wall_ns, span.end_ns - window_start_ns, "{phase_ms}");
        assert_eq!(cost.network.unwrap().ip_packets, 2, "{phase_ms}");
        let (_, operations) = outcome.recorder.operations(outcome.issued);
        assert_eq!(
            (operations.issued, operations.verified),
            (2, 2),
            "{phase_ms}"
        );
        assert_eq!(outcome.recorder.updates.requests, 3, "{phase_ms}");
    }
}
