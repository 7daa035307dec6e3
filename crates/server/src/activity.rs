//! What one connection is doing, and since when: enough to tell a slow or silent client from a good one.
//!
//! Time is counted in ticks, which the worker's sweeper advances. So an operation costs a few plain loads and stores,
//! and neither a clock reading nor a timer. hyper's own header timer would be re-armed with each request, and would
//! bound idle connections by the same time as request heads.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use crate::Limits;

/// The worker's coarse clock.
pub(crate) type Ticks = Arc<AtomicU32>;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Nothing is owed by either side.
    Idle,
    /// A request head has begun.
    Head,
    /// A request or message has begun, and is not yet answered.
    Exchange,
    /// The client has asked to wait for news; whatever else it sends is for later.
    Waiting,
    /// The HTTP reply has been handed to hyper; once it is flushed, the connection is idle.
    Replying,
}

/// The activity of one connection. Shared by its stream, its protocol and the sweeper, all of one thread; atomic only
/// because hyper demands that an upgradable stream may change threads.
#[derive(Debug)]
pub(crate) struct Activity {
    ticks: Ticks,
    progress: AtomicU32,
    since: AtomicU32,
    stage: AtomicU8,
    lingers: AtomicBool,
    is_cut: AtomicBool,
    /// The receiver of what others say, where there is one; goes with its subscription or membership.
    listener: Mutex<Option<Weak<dyn Listener>>>,
}

/// What the sweeper sees of a client that is sent what others say.
pub(crate) trait Listener: Debug + Send + Sync {
    /// Says whether more than `backlog` updates or messages wait for it.
    fn is_slow(&self, backlog: u64) -> bool;

    /// Has it told that the connection lives, where that is done.
    fn break_silence(&self) {}
}

impl Activity {
    pub(crate) fn new(ticks: Ticks) -> Self {
        let now = ticks.load(Relaxed);
        Self {
            ticks,
            progress: AtomicU32::new(now),
            since: AtomicU32::new(now),
            stage: AtomicU8::new(Stage::Idle as u8),
            lingers: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            listener: Mutex::default(),
        }
    }

    /// Notes that bytes came in; they begin `first` if nothing was under way.
    #[inline]
    pub(crate) fn received(&self, first: Stage) {
        self.sent();
        if self.is_in(Stage::Idle) {
            self.enter(first);
        }
    }

    /// Notes that bytes went out.
    #[inline]
    pub(crate) fn sent(&self) {
        self.progress.store(self.ticks.load(Relaxed), Relaxed);
    }

    /// Notes that all bytes handed to the stream went out.
    #[inline]
    pub(crate) fn flushed(&self) {
        if self.is_in(Stage::Replying) {
            self.enter(Stage::Idle);
        }
    }

    /// Begins a stage and its time limit.
    #[inline]
    pub(crate) fn enter(&self, stage: Stage) {
        self.since.store(self.ticks.load(Relaxed), Relaxed);
        self.stage.store(stage as u8, Relaxed);
    }

    /// Goes from the exchange to its reply, within the same time limit.
    #[inline]
    pub(crate) fn reply(&self) {
        self.stage.store(Stage::Replying as u8, Relaxed);
    }

    /// Begins to wait for news. Whoever waits sets a limit of its own.
    pub(crate) fn wait(&self) {
        self.enter(Stage::Waiting);
    }

    /// Goes on with the exchange after a wait, in time as if it began now.
    pub(crate) fn resume(&self) {
        self.sent();
        self.enter(Stage::Exchange);
    }

    /// Says that the client is sent what others say from now on.
    pub(crate) fn listen(&self, listener: Weak<dyn Listener>) {
        *self.lock() = Some(listener);
    }

    /// Returns whether the client reads what others say so slowly, if at all, that it will not be waited for.
    pub(crate) fn is_slow(&self, allowed: &Allowed) -> bool {
        self.listener()
            .is_some_and(|listener| listener.is_slow(allowed.backlog))
    }

    /// Has a listener told that the connection lives, when nothing was said for long.
    pub(crate) fn break_silence(&self, allowed: &Allowed) {
        if self.passed(&self.progress) >= allowed.keep_alive
            && let Some(listener) = self.listener()
        {
            listener.break_silence();
        }
    }

    fn listener(&self) -> Option<Arc<dyn Listener>> {
        self.lock().as_ref()?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Weak<dyn Listener>>> {
        self.listener
            .lock()
            .expect("nothing panics while it holds the listener")
    }

    /// Returns whether nothing is owed by either side.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_in(Stage::Idle) || self.is_in(Stage::Waiting)
    }

    #[inline]
    pub(crate) fn is_in(&self, stage: Stage) -> bool {
        self.stage.load(Relaxed) == stage as u8
    }

    /// Says whether closing must wait for the client's end, because it may still be sending what nobody will read: a
    /// close with unread bytes resets the connection, and may take away the reply that says why.
    pub(crate) fn set_lingers(&self, lingers: bool) {
        self.lingers.store(lingers, Relaxed);
    }

    /// Says that the client is given up: what it has not read is of no use to anyone.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Relaxed)
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Relaxed)
    }

    /// Returns whether the client took longer than it may.
    pub(crate) fn is_overdue(&self, allowed: &Allowed) -> bool {
        let stage_limit = match self.stage.load(Relaxed) {
            stage if stage == Stage::Waiting as u8 => return false,
            stage if stage == Stage::Idle as u8 => u32::MAX,
            stage if stage == Stage::Head as u8 => allowed.head,
            _ => allowed.exchange,
        };
        self.passed(&self.progress) > allowed.idle || self.passed(&self.since) > stage_limit
    }

    fn passed(&self, since: &AtomicU32) -> u32 {
        let now = self.ticks.load(Relaxed);
        now.wrapping_sub(since.load(Relaxed))
    }
}

/// The time limits in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// The length of a tick.
    pub(crate) tick: Duration,
    head: u32,
    exchange: u32,
    idle: u32,
    keep_alive: u32,
    /// In updates or messages.
    backlog: u64,
}

impl Allowed {
    /// Takes a tick that is short against each limit, yet costs nothing that a measurement could see.
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits {
            header_read_timeout: head,
            exchange_timeout: exchange,
            idle_timeout: idle,
            subscriber_backlog: backlog,
            ..
        } = *limits;
        // Silence of subscribers must not be taken for idleness.
        let keep_alive = limits.keep_alive.min(idle / 2);
        let tick =
            (head.min(exchange).min(idle).min(keep_alive) / 4).clamp(SHORTEST_TICK, LONGEST_TICK);
        let ticks = |limit: Duration| {
            u32::try_from(limit.as_nanos().div_ceil(tick.as_nanos())).unwrap_or(u32::MAX)
        };
        Self {
            tick,
            head: ticks(head),
            exchange: ticks(exchange),
            idle: ticks(idle),
            keep_alive: ticks(keep_alive),
            backlog,
        }
    }
}

const SHORTEST_TICK: Duration = Duration::from_millis(10);
const LONGEST_TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(activity: &Activity, ticks: u32) -> bool {
        activity.ticks.fetch_add(ticks, Relaxed);
        // Ticks of one second: head 10, exchange 60, idle 120.
        activity.is_overdue(&Allowed::new(&Limits::default()))
    }

    #[test]
    fn silence_is_allowed_up_to_its_limit() {
        let activity = Activity::new(Ticks::default());
        assert!(!after(&activity, 120));
        assert!(after(&activity, 1));
        activity.sent();
        assert!(!after(&activity, 120));
    }

    #[test]
    fn a_trickled_head_is_overdue_in_spite_of_its_progress() {
        let activity = Activity::new(Ticks::default());
        assert!(!after(&activity, 100));
        for _ in 0..10 {
            activity.received(Stage::Head);
            assert!(!after(&activity, 1));
        }
        activity.received(Stage::Head);
        assert!(after(&activity, 1));
    }

    #[test]
    fn reply_and_request_share_a_limit_which_ends_with_the_flush() {
        let activity = Activity::new(Ticks::default());
        activity.enter(Stage::Exchange);
        assert!(!after(&activity, 40));
        activity.reply();
        assert!(!after(&activity, 20));
        assert!(after(&activity, 1));
        activity.flushed();
        assert!(!after(&activity, 50));
        assert!(activity.is_in(Stage::Idle));
    }

    #[test]
    fn who_waits_is_never_overdue() {
        let activity = Activity::new(Ticks::default());
        activity.enter(Stage::Exchange);
        activity.wait();
        activity.received(Stage::Head);
        assert!(activity.is_at_rest() && !after(&activity, 1000));
        activity.resume();
        assert!(!activity.is_at_rest() && !after(&activity, 60));
        assert!(after(&activity, 1));
    }

    #[test]
    fn a_wrapped_clock_changes_nothing() {
        let activity = Activity::new(Arc::new(AtomicU32::new(u32::MAX - 5)));
        assert!(!after(&activity, 120));
        assert!(after(&activity, 1));
    }
}
