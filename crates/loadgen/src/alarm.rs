//! Time-outs without timers: each slot states its deadline, one watchdog per worker looks at all of
//! them now and then, and ringing the alarm ends whatever the slot is waiting for.
//!
//! Ending an exchange midway leaves its connection in an unknown state; the driver drops it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, Waker};

/// Why an alarm rang.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ring {
    /// The deadline passed.
    TimedOut,
    /// The drain is over: whatever is open counts as unfinished.
    Over,
}

/// The alarm of one slot.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// When the slot's operation must have ended; `None` between operations.
    deadline_ns: Cell<Option<u64>>,
    ring: Cell<Option<Ring>>,
    waker: RefCell<Option<Waker>>,
}

impl Alarm {
    /// Runs `work` until it ends, its deadline has passed, or all is over.
    ///
    /// Takes it pinned: an operation's future is large, and would be copied on its way here.
    pub(crate) async fn guard<F: Future>(
        &self,
        deadline_ns: u64,
        work: Pin<&mut F>,
    ) -> Result<F::Output, Ring> {
        self.deadline_ns.set(Some(deadline_ns));
        let result = self.wait(work).await;
        self.deadline_ns.set(None);
        if self.ring.get() == Some(Ring::TimedOut) {
            self.ring.set(None);
        }
        result
    }

    /// Runs `work` until it ends or the alarm rings. A ring that came earlier counts, too.
    pub(crate) async fn wait<F: Future>(&self, mut work: Pin<&mut F>) -> Result<F::Output, Ring> {
        poll_fn(|context| {
            if let Some(ring) = self.ring.get() {
                return Poll::Ready(Err(ring));
            }
            let poll = work.as_mut().poll(context).map(Ok);
            if poll.is_pending() {
                self.remember(context.waker());
            }
            poll
        })
        .await
    }

    /// Returns when it rings; `None` between operations.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns.get()
    }

    /// Rings when the deadline has passed.
    pub(crate) fn check(&self, now_ns: u64) {
        if self
            .deadline_ns
            .get()
            .is_some_and(|deadline_ns| deadline_ns <= now_ns)
        {
            self.ring(Ring::TimedOut);
        }
    }

    /// Ends what the slot waits for, now or as soon as it waits.
    pub(crate) fn ring(&self, ring: Ring) {
        self.ring.set(Some(ring));
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// A slot is one task for its whole life, so that this clones a waker once.
    fn remember(&self, waker: &Waker) {
        let mut remembered = self.waker.borrow_mut();
        if !remembered
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            *remembered = Some(waker.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn work_that_ends_is_not_disturbed() {
        assert_eq!(Alarm::default().guard(10, pin!(ready(7))).await, Ok(7));
    }

    #[tokio::test]
    async fn a_passed_deadline_ends_the_work_once() {
        let alarm = Alarm::default();
        let hanging = pin!(pending::<()>());
        let (result, ()) = tokio::join!(alarm.guard(10, hanging), async {
            alarm.check(9);
            assert_eq!(alarm.ring.get(), None);
            alarm.check(10);
        });
        assert_eq!(result, Err(Ring::TimedOut));
        assert_eq!(
            alarm.guard(20, pin!(ready(()))).await,
            Ok(()),
            "the next operation starts afresh"
        );
        alarm.check(30);
        assert_eq!(alarm.ring.get(), None, "no operation, no deadline");
    }

    #[tokio::test]
    async fn the_end_of_the_drain_ends_everything_after_it() {
        let alarm = Alarm::default();
        alarm.ring(Ring::Over);
        assert_eq!(
            alarm.guard(10, pin!(pending::<()>())).await,
            Err(Ring::Over)
        );
        assert_eq!(
            alarm.guard(10, pin!(pending::<()>())).await,
            Err(Ring::Over)
        );
    }
}
