//! What a worker's watchdog looks at beside the deadlines: how far the load is, how long nothing has been answered, and
//! whether it shall end.

use sockrates_core::record::Silence;

use crate::agenda::Span;
use crate::drive::Shared;
use crate::environment::Environment;
use crate::live::Live;

/// What the watchdog looks at beside the deadlines.
pub(crate) struct Watch<'a> {
    live: Option<&'a Live>,
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
    pub(crate) const fn new(live: Option<&'a Live>, span: Span, drain_ns: u64) -> Self {
        Self {
            live,
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

    /// Says what happened since the last look, and stops the load when that is asked for.
    pub(crate) fn look<E: Environment>(&mut self, shared: &Shared<E>, now_ns: u64) {
        let (verified, failed) = shared.recorder.borrow().ended();
        let before = std::mem::replace(&mut self.ended, (verified, failed));
        let replies = shared.recorder.borrow().replies();
        let has_answered = std::mem::replace(&mut self.replies, replies) != replies;
        // Who is turned away is silence, too, though nothing is open meanwhile.
        // Who listens asks for nothing, so that more may have come than was issued.
        let is_idle = before == self.ended && shared.agenda.issued().total() <= verified + failed;
        if has_answered || is_idle {
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
