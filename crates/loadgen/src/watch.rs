//! What a worker's watchdog looks at beside the deadlines: how far the load is, how long nothing has been answered, and
//! whether it shall end.

use std::cell::Cell;

use sockrates_core::record::Silence;
use tokio::sync::Notify;

use crate::agenda::Span;
use crate::drive::Shared;
use crate::environment::Environment;
use crate::live::Live;

/// How often the watchdog looks while operations are open, or someone waits for its tick.
const TICK_NS: u64 = 10_000_000;
/// How often it looks while nothing is asked of the server: to look is work of the instrument, which would be charged to
/// those that do almost none.
const REST_NS: u64 = 100_000_000;
/// The same where clients mostly wait for what others say: each look takes 70 µs from a CPU that had halted, and two
/// hundred clients that see one event a second each use 30 ms a second.
const LISTENING_NS: u64 = 1_000_000_000;

/// Strikes when the watchdog looks, which is soon where someone waits for it.
#[derive(Debug, Default)]
pub(crate) struct Tick {
    struck: Notify,
    asked: Notify,
    is_awaited: Cell<bool>,
}

impl Tick {
    /// Waits for the next one.
    pub(crate) async fn next(&self) {
        if !self.is_awaited.replace(true) {
            self.asked.notify_one();
        }
        self.struck.notified().await;
    }

    /// Waits until someone waits.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Ends all waits.
    pub(crate) fn strike(&self) {
        self.is_awaited.set(false);
        self.struck.notify_waiters();
    }
}

/// What the watchdog looks at beside the deadlines.
pub(crate) struct Watch<'a> {
    live: Option<&'a Live>,
    /// Whether clients mostly wait for what others say.
    brings_news: bool,
    /// Whether nothing was open at the last look.
    is_idle: bool,
    /// As planned; shorter once the load was stopped.
    pub(crate) span: Span,
    drain_ns: u64,
    /// What had ended at the last look, well and otherwise.
    ended: (u64, u64),
    /// How many replies had come at the last look.
    replies: u64,
    /// The look at which something had been answered last, or there was nothing to answer.
    heard_ns: u64,
    pub(crate) silence: Option<Silence>,
}

impl<'a> Watch<'a> {
    /// Begins to watch a load of this span, after which open operations have the time of the drain.
    pub(crate) const fn new(
        live: Option<&'a Live>,
        span: Span,
        drain_ns: u64,
        brings_news: bool,
    ) -> Self {
        Self {
            live,
            brings_news,
            is_idle: false,
            span,
            drain_ns,
            ended: (0, 0),
            replies: 0,
            heard_ns: span.start_ns,
            silence: None,
        }
    }

    /// Returns when even the drain is over.
    pub(crate) const fn over_ns(&self) -> u64 {
        self.span.end_ns + self.drain_ns
    }

    /// Returns when to look next: in time for what is due until then, and after `now_ns`.
    pub(crate) fn next_ns<E: Environment>(
        &self,
        shared: &Shared<E>,
        now_ns: u64,
        deadlines: impl Iterator<Item = u64>,
    ) -> u64 {
        let rest_ns = match (self.brings_news, self.is_idle) {
            _ if shared.tick.is_awaited.get() => TICK_NS,
            (true, _) => LISTENING_NS,
            (false, true) => REST_NS,
            (false, false) => TICK_NS,
        };
        // An operation that begins before the next look has its deadline after it.
        let wait_ns = rest_ns.min(shared.timeout_ns.max(TICK_NS));
        let deadlines = (wait_ns > TICK_NS).then_some(deadlines);
        let ends = [self.span.end_ns, self.over_ns()].into_iter();
        let due = ends.chain(deadlines.into_iter().flatten());
        let coming = due.filter(|due_ns| *due_ns > now_ns);
        coming.fold(now_ns + wait_ns, u64::min)
    }

    /// Says what happened since the last look, and stops the load when that is asked for.
    pub(crate) fn look<E: Environment>(&mut self, shared: &Shared<E>, now_ns: u64) {
        let (verified, failed) = shared.recorder.borrow().ended();
        let before = std::mem::replace(&mut self.ended, (verified, failed));
        let replies = shared.recorder.borrow().replies();
        let has_answered = std::mem::replace(&mut self.replies, replies) != replies;
        // Refused connections count as silence, though nothing is open meanwhile. Listeners ask
        // for nothing, so that more may have come than was issued.
        let is_idle = before == self.ended && shared.agenda.issued().total() <= verified + failed;
        // What was asked after an idle look was asked later than that.
        let was_idle = std::mem::replace(&mut self.is_idle, is_idle);
        if has_answered || is_idle || was_idle {
            self.heard_ns = now_ns;
        }
        let silent_ns = now_ns.saturating_sub(self.heard_ns);
        if silent_ns > self.silence.map_or(0, |silence| silence.ns) {
            self.silence = Some(Silence {
                from_ns: self.heard_ns.saturating_sub(self.span.start_ns),
                ns: silent_ns,
            });
        }
        let Some(live) = self.live else { return };
        live.add(verified - before.0, failed - before.1);
        if live.is_stopped() && now_ns < self.span.end_ns {
            self.span.end_ns = now_ns;
            self.span.window_start_ns = self.span.window_start_ns.min(now_ns);
            shared.agenda.end();
        }
    }
}
