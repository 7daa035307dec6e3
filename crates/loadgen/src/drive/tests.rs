//! The driver in a world whose clock moves only when told to: every sample is exact.

use std::collections::VecDeque;

use sockrates_core::lane::Lifecycle;
use sockrates_core::record::{Metric, Operations};
use sockrates_core::schedule::{Load, arrivals};

use super::*;
use crate::agenda::Span;
use crate::environment::manual::Manual;
use crate::recorder::{Course, Scope, exchange_metrics};
use crate::transport::{Reply, Request};
use crate::watch::Tick;
use crate::worker::crew_of_one;

const MS: u64 = 1_000_000;
const SPAN: Span = Span {
    start_ns: MS,
    window_start_ns: MS,
    end_ns: 1001 * MS,
};

/// What the next exchanges do; afterwards they succeed at once.
type Script = VecDeque<Step>;

#[derive(Clone, Copy)]
enum Step {
    Take(u64),
    Fail(FailureKind),
    Hang,
}

/// A transport that does what its script says, in a world's own time.
struct Scripted {
    world: Manual,
}

const HANDSHAKE_NS: u64 = 5;
const CLOSE_NS: u64 = 2;

impl Transport<Manual> for Scripted {
    const NAME: &'static str = "scripted";

    type Prepared = Step;

    fn prepare(_: &Request<'_>, _: &Peer, _: &mut Step) -> Option<()> {
        Some(())
    }

    async fn handshake(world: Manual, _peer: &Peer) -> Result<Self, FailureKind> {
        world.advance(HANDSHAKE_NS);
        Ok(Self { world })
    }

    async fn exchange<R: Reply>(&mut self, step: &Step, reply: &mut R) -> Result<(), FailureKind> {
        match *step {
            Step::Take(ns) => self.world.advance(ns),
            Step::Fail(kind) => return Err(kind),
            Step::Hang => std::future::pending().await,
        }
        reply.finish()
    }

    async fn close(self) -> Result<(), FailureKind> {
        self.world.advance(CLOSE_NS);
        Ok(())
    }
}

impl Default for Step {
    fn default() -> Self {
        Self::Take(0)
    }
}

struct Scene {
    script: Script,
    then: Step,
    current: Step,
}

struct Yes;

impl Reply for Yes {
    fn status(&mut self, _status: u16) -> Result<(), FailureKind> {
        Ok(())
    }

    fn feed(&mut self, _chunk: &[u8]) {}

    fn finish(&mut self) -> Result<(), FailureKind> {
        Ok(())
    }
}

impl Workload<Step> for Scene {
    type Reply<'a> = Yes;

    fn next(&mut self, _is_last: bool) -> (&Step, Yes) {
        self.current = self.script.pop_front().unwrap_or(self.then);
        (&self.current, Yes)
    }

    fn verified(&mut self, _intended_ns: u64, _completed_ns: u64, _recorder: &mut Recorder) {}
}

/// Plays a script on one connection and returns the recorder and the books of the window.
fn play(
    exchanges: Exchanges,
    agenda: Agenda,
    script: impl Into<Script>,
    then: Step,
) -> (Recorder, Operations) {
    play_from(0, exchanges, agenda, script, then)
}

/// The same with a connection that joins at an instant.
fn play_from(
    from_ns: u64,
    exchanges: Exchanges,
    agenda: Agenda,
    script: impl Into<Script>,
    then: Step,
) -> (Recorder, Operations) {
    let is_open_load = agenda.next_arrival_ns().is_some();
    let opens = exchanges != Exchanges::UNLIMITED;
    let world = Manual::with_dial_ns(3);
    world.advance(SPAN.start_ns);
    let scope = Scope {
        span: SPAN,
        slice_width_ns: 50 * MS,
        is_open_load,
        records: exchange_metrics(is_open_load, opens),
        course: Course::Operations,
        connections: 1,
    };
    let shared = Rc::new(Shared {
        environment: world.clone(),
        agenda,
        recorder: RefCell::new(Recorder::new(scope)),
        peer: Peer {
            host: String::new(),
            lifecycle: Lifecycle::Persistent,
            door: None,
        },
        exchanges,
        counts_wire: false,
        timeout_ns: 300 * MS,
        is_foreign: false,
        tick: Tick::default(),
    });
    let slot = Slot::<Manual, Scripted, Scene> {
        shared: Rc::clone(&shared),
        alarm: Rc::default(),
        local: 0,
        global: 0,
        workload: Scene {
            script: script.into(),
            then,
            current: Step::default(),
        },
        connection: (!opens).then_some(Connection {
            has_answered: false,
            transport: Scripted { world },
            left: Exchanges::UNLIMITED.0,
            fresh: None,
        }),
        witness: None,
        is_connecting: false,
        from_ns,
    };
    let outcome = crew_of_one(&shared, slot, SPAN, SPAN.end_ns + 100 * MS);
    let books = outcome.recorder.operations(outcome.issued).1;
    assert!(books.is_conserved(), "{books:?}");
    (outcome.recorder, books)
}

fn constant(rate_per_second: f64) -> Agenda {
    let length_ns = SPAN.end_ns - SPAN.start_ns;
    Agenda::open(
        SPAN,
        arrivals(&Load::OpenConstant { rate_per_second }, 1, length_ns, 1, 0),
        1,
    )
}

/// The test of coordinated omission. At 1,000/s one exchange stalls for 100 ms: the 99 operations
/// due meanwhile had to wait, and their users with them.
#[test]
fn a_stalled_server_shows_in_response_time() {
    let script: Vec<_> = (0..500)
        .map(|_| Step::Take(0))
        .chain([Step::Take(100 * MS)])
        .collect();
    let (recorder, books) = play(
        Exchanges::UNLIMITED,
        constant(1000.0),
        script,
        Step::Take(0),
    );
    let (times, _) = recorder.into_histograms();
    assert_eq!((books.issued, books.verified), (1000, 1000));
    let above = |metric, ns: u64| times[&metric].counts().count_between(ns, u64::MAX >> 1);
    assert_eq!(above(Metric::ResponseTime, 1), 100, "in (0, 100] ms");
    assert_eq!(times[&Metric::ResponseTime].max_ns(), Some(100 * MS));
    assert_eq!(above(Metric::ServiceTime, 1), 1, "one slow exchange");
    assert_eq!(times[&Metric::ServiceTime].max_ns(), Some(100 * MS));
}

/// A connection that joins half-way does half of the operations, to the watchdog's tick.
#[test]
fn a_connection_of_a_ramp_joins_when_it_is_due() {
    let from_ns = SPAN.start_ns + 500 * MS;
    let closed = Agenda::closed(SPAN, u64::MAX);
    let (_, books) = play_from(from_ns, Exchanges::UNLIMITED, closed, [], Step::Take(MS));
    assert!((490..=500).contains(&books.verified), "{books:?}");
}

/// The same stall in a closed loop is one sample among a thousand: why open loads exist.
#[test]
fn a_closed_loop_hides_the_stall() {
    let script: Vec<_> = (0..500)
        .map(|_| Step::Take(MS))
        .chain([Step::Take(100 * MS)])
        .collect();
    let (recorder, books) = play(
        Exchanges::UNLIMITED,
        Agenda::closed(SPAN, u64::MAX),
        script,
        Step::Take(MS),
    );
    assert_eq!(books.verified, 901);
    let (times, _) = recorder.into_histograms();
    assert_eq!(
        times[&Metric::ServiceTime]
            .counts()
            .count_between(2 * MS, u64::MAX >> 1),
        1
    );
    assert!(!times.contains_key(&Metric::ResponseTime));
}

/// A stall of S in a window of T at load ρ: for p > 1 - S / ((1 - ρ) T) the p-quantile of the response time is the usual
/// time + S - (1 - p) T (1 - ρ). In a closed loop only the maximum tells.
#[test]
fn a_stall_raises_percentiles_by_its_formula_in_an_open_load_only() {
    const USUAL: u64 = MS / 10;
    const STALL: u64 = 200 * MS;
    let script: Vec<_> = (0..500)
        .map(|_| Step::Take(USUAL))
        .chain([Step::Take(STALL + USUAL)])
        .collect();
    let in_bucket = |found: u64, exact: u64| found.abs_diff(exact) * 1000 <= exact;

    let (recorder, books) = play(
        Exchanges::UNLIMITED,
        constant(1000.0),
        script.clone(),
        Step::Take(USUAL),
    );
    assert_eq!(books.verified, 1000);
    let open = &recorder.into_histograms().0[&Metric::ResponseTime];
    // 1,000 operations a second of 0.1 ms each: ρ = 0.1, and 22 % are late.
    for per_mille in [800, 900, 950, 990, 999] {
        let exact = USUAL + STALL - (1000 - per_mille) * MS * 9 / 10;
        let found = open.quantile_unchecked_ns(per_mille as f64 / 1000.0);
        assert!(in_bucket(found, exact), "{per_mille}: {found} {exact}");
    }
    assert!(in_bucket(open.quantile_unchecked_ns(0.75), USUAL));

    let agenda = Agenda::closed(SPAN, u64::MAX);
    let (recorder, _) = play(Exchanges::UNLIMITED, agenda, script, Step::Take(USUAL));
    let closed = &recorder.into_histograms().0[&Metric::ServiceTime];
    assert!(in_bucket(closed.quantile_unchecked_ns(0.999), USUAL));
    assert_eq!(closed.max_ns(), Some(STALL + USUAL));
}

#[test]
fn the_phases_of_a_request_add_up_exactly() {
    let agenda = Agenda::closed(SPAN, 10);
    let (recorder, books) = play(Exchanges(1), agenda, [], Step::Take(7));
    assert_eq!((books.verified, recorder.connections_opened), (10, 10));
    let (times, _) = recorder.into_histograms();
    let all_are = |metric| {
        let histogram = &times[&metric];
        assert_eq!(
            (histogram.count(), histogram.min_ns()),
            (10, histogram.max_ns())
        );
        histogram.max_ns().unwrap()
    };
    assert_eq!(all_are(Metric::Connect), 3);
    assert_eq!(all_are(Metric::Handshake), HANDSHAKE_NS);
    assert_eq!(all_are(Metric::Exchange), 7);
    assert_eq!(all_are(Metric::ServiceTime), 3 + HANDSHAKE_NS + 7);
    assert_eq!(all_are(Metric::Close), CLOSE_NS);
}

#[test]
fn a_connection_lives_for_as_many_exchanges_as_asked() {
    let agenda = Agenda::closed(SPAN, 6);
    let (recorder, books) = play(Exchanges(3), agenda, [], Step::Take(10));
    assert_eq!((books.verified, recorder.connections_opened), (6, 2));
    let (times, _) = recorder.into_histograms();
    // Only the first exchange on each connection has phases before it, and only the last a close behind it.
    assert_eq!(times[&Metric::Connect].count(), 2);
    assert_eq!(times[&Metric::Close].count(), 2);
    assert_eq!(times[&Metric::ServiceTime].min_ns(), Some(10));
    assert_eq!(
        times[&Metric::ServiceTime].max_ns(),
        Some(10 + 3 + HANDSHAKE_NS)
    );
}

#[test]
fn a_lagging_generator_and_a_busy_connection_are_told_apart() {
    let script = [Step::Take(0), Step::Take(4 * MS)];
    let (recorder, _) = play(
        Exchanges::UNLIMITED,
        constant(1000.0),
        script,
        Step::Take(0),
    );
    let (times, _) = recorder.into_histograms();
    // While the connection was busy nobody looked at the clock: the wait is noticed late, in full.
    let lag = times[&Metric::ScheduleLag].max_ns().unwrap();
    let wait = times[&Metric::ConnectionWait].max_ns().unwrap();
    assert_eq!(lag + wait, 3 * MS);
}

#[test]
fn failures_are_counted_by_kind_and_never_sampled() {
    let script = [
        Step::Take(9),
        Step::Fail(FailureKind::WrongPayload),
        Step::Fail(FailureKind::PeerClosed),
    ];
    let agenda = Agenda::closed(SPAN, 5);
    let (recorder, books) = play(Exchanges::UNLIMITED, agenda, script, Step::Take(9));
    assert_eq!((books.issued, books.verified), (5, 3));
    assert_eq!(books.failed[&FailureKind::WrongPayload], 1);
    assert_eq!(books.failed[&FailureKind::PeerClosed], 1);
    assert_eq!(
        recorder.connections_opened, 2,
        "a failed connection is not used again"
    );
    assert_eq!(
        recorder.into_histograms().0[&Metric::ServiceTime].count(),
        3
    );
}

#[test]
fn a_hanging_exchange_times_out_and_the_load_goes_on() {
    let agenda = Agenda::closed(SPAN, 3);
    let (_, books) = play(
        Exchanges::UNLIMITED,
        agenda,
        [Step::Take(9), Step::Hang],
        Step::Take(9),
    );
    assert_eq!(
        (books.verified, books.failed[&FailureKind::TimedOut]),
        (2, 1)
    );
}

#[test]
fn what_the_drain_does_not_finish_is_unfinished() {
    // Hangs 900 ms into the window: the drain ends 200 ms later, before the time-out.
    let script: Vec<_> = (0..900).map(|_| Step::Take(0)).collect();
    let (_, books) = play(Exchanges::UNLIMITED, constant(1000.0), script, Step::Hang);
    assert_eq!(
        (books.issued, books.verified, books.unfinished),
        (1000, 900, 100)
    );
    let oldest = books.oldest_unfinished_ns.unwrap();
    assert!((200 * MS..=211 * MS).contains(&oldest), "{oldest}");
}
