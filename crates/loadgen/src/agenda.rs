//! The agenda of a worker: which operation is due, when it was noticed, and which connection takes it.
//!
//! Under an open load, whoever looks at the clock (the pacer, or a connection that just became
//! idle) notices what has become due. A due operation goes to the connection that has been idle
//! longest, else it waits in a queue: none is ever skipped. In a closed loop an operation is due
//! when its connection asks for one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use sockrates_core::schedule::Arrival;

/// A due operation, taken by a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Due {
    /// When the schedule wanted it.
    pub(crate) intended_ns: u64,
    /// When the generator saw that it was due.
    pub(crate) noticed_ns: u64,
    /// When its connection took it up.
    pub(crate) started_ns: u64,
}

/// The instants of a load: zero of the schedule, beginning of the window, end of the window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start_ns: u64,
    pub(crate) window_start_ns: u64,
    pub(crate) end_ns: u64,
}

/// How many operations were issued, by the span in which they were due.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Issued {
    pub(crate) warm_up: u64,
    pub(crate) window: u64,
}

/// What a worker's connections have to do.
#[derive(Debug)]
pub(crate) struct Agenda {
    span: Span,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    issued: Issued,
    /// What a closed loop may still issue.
    allowed: u64,
    /// `None` in a closed loop.
    schedule: Option<Schedule>,
}

#[derive(Debug)]
struct Schedule {
    arrivals: std::vec::IntoIter<Arrival>,
    /// Any connection may take an arrival; else each is bound to one and nobody queues as idle.
    is_shared: bool,
    /// Noticed, waiting for any connection.
    waiting: VecDeque<Noticed>,
    /// Connections without work, the longest idle first.
    idle: VecDeque<u32>,
    slots: Vec<SlotQueue>,
}

#[derive(Clone, Debug, Default)]
struct SlotQueue {
    /// Noticed, for this connection: handed to it, or bound to it by the schedule.
    own: VecDeque<Noticed>,
    /// Set while the connection is idle.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
struct Noticed {
    intended_ns: u64,
    noticed_ns: u64,
}

impl Agenda {
    /// Makes a closed loop of `allowed` operations at most.
    pub(crate) fn closed(span: Span, allowed: u64) -> Self {
        let state = State {
            issued: Issued::default(),
            allowed,
            schedule: None,
        };
        Self {
            span,
            state: RefCell::new(state),
        }
    }

    /// Makes an open load of `arrivals`, relative to the span's start, for the slots `0..slots`.
    pub(crate) fn open(span: Span, arrivals: Vec<Arrival>, slots: u32) -> Self {
        let schedule = Schedule {
            // In the worst case every arrival waits: nothing grows while the load is on.
            waiting: VecDeque::with_capacity(arrivals.len()),
            is_shared: arrivals.iter().any(|arrival| arrival.slot.is_none()),
            arrivals: arrivals.into_iter(),
            idle: VecDeque::with_capacity(slots as usize),
            slots: vec![SlotQueue::default(); slots as usize],
        };
        let state = State {
            issued: Issued::default(),
            allowed: 0,
            schedule: Some(schedule),
        };
        Self {
            span,
            state: RefCell::new(state),
        }
    }

    /// Waits for this slot's next operation; `None` when there will be none. Reads the clock once
    /// each time it runs.
    pub(crate) async fn next(&self, slot: u32, now_ns: impl Fn() -> u64) -> Option<Due> {
        poll_fn(|context| self.poll_next(slot, now_ns(), context)).await
    }

    /// Notices everything that is due by now.
    pub(crate) fn notice(&self, now_ns: u64) {
        let state = &mut *self.state.borrow_mut();
        if let Some(schedule) = &mut state.schedule {
            schedule.notice(now_ns, self.span, &mut state.issued);
        }
    }

    /// Returns when the next operation not yet noticed is due; `None` when all were noticed.
    pub(crate) fn next_arrival_ns(&self) -> Option<u64> {
        self.state.borrow().schedule.as_ref()?.next_ns(self.span)
    }

    /// Lets nothing more become due.
    pub(crate) fn end(&self) {
        let state = &mut *self.state.borrow_mut();
        state.allowed = 0;
        if let Some(schedule) = &mut state.schedule {
            schedule.arrivals = Vec::new().into_iter();
            schedule.wake_all();
        }
    }

    /// Says whether nothing more will become due.
    pub(crate) fn is_ended(&self) -> bool {
        let state = self.state.borrow();
        match &state.schedule {
            None => state.allowed == 0,
            Some(schedule) => schedule.arrivals.len() == 0,
        }
    }

    /// Returns how many operations were issued so far.
    pub(crate) fn issued(&self) -> Issued {
        self.state.borrow().issued
    }

    /// Takes the instants at which the operations that no connection has taken were due.
    pub(crate) fn take_waiting(&self) -> Vec<u64> {
        let mut state = self.state.borrow_mut();
        let Some(schedule) = &mut state.schedule else {
            return Vec::new();
        };
        let own = schedule
            .slots
            .iter_mut()
            .flat_map(|slot| slot.own.drain(..));
        schedule
            .waiting
            .drain(..)
            .chain(own)
            .map(|noticed| noticed.intended_ns)
            .collect()
    }

    fn poll_next(&self, slot: u32, now_ns: u64, context: &Context<'_>) -> Poll<Option<Due>> {
        let state = &mut *self.state.borrow_mut();
        let noticed = match &mut state.schedule {
            None => state.next_closed(now_ns, self.span),
            Some(schedule) => {
                schedule.notice(now_ns, self.span, &mut state.issued);
                match schedule.take(slot, context) {
                    Poll::Ready(noticed) => noticed,
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        Poll::Ready(noticed.map(
            |Noticed {
                 intended_ns,
                 noticed_ns,
             }| Due {
                intended_ns,
                noticed_ns,
                started_ns: now_ns,
            },
        ))
    }
}

impl State {
    fn next_closed(&mut self, now_ns: u64, span: Span) -> Option<Noticed> {
        if self.allowed == 0 || now_ns >= span.end_ns {
            return None;
        }
        self.allowed -= 1;
        self.issued.count(now_ns, span);
        Some(Noticed {
            intended_ns: now_ns,
            noticed_ns: now_ns,
        })
    }
}

impl Issued {
    /// Adds what others issued.
    pub(crate) const fn add(&mut self, other: Self) {
        self.warm_up += other.warm_up;
        self.window += other.window;
    }

    /// Returns all of them.
    pub(crate) const fn total(self) -> u64 {
        self.warm_up + self.window
    }

    fn count(&mut self, intended_ns: u64, span: Span) {
        if intended_ns < span.window_start_ns {
            self.warm_up += 1;
        } else {
            self.window += 1;
        }
    }
}

impl Schedule {
    fn next_ns(&self, span: Span) -> Option<u64> {
        self.arrivals
            .as_slice()
            .first()
            .map(|arrival| span.start_ns + arrival.at_ns)
    }

    fn notice(&mut self, now_ns: u64, span: Span, issued: &mut Issued) {
        while let Some(intended_ns) = self.next_ns(span).filter(|due_ns| *due_ns <= now_ns) {
            let arrival = self.arrivals.next().expect("there is a next arrival");
            issued.count(intended_ns, span);
            self.hand_out(
                arrival.slot,
                Noticed {
                    intended_ns,
                    noticed_ns: now_ns,
                },
            );
            if self.arrivals.len() == 0 {
                self.wake_all();
            }
        }
    }

    fn hand_out(&mut self, slot: Option<u32>, noticed: Noticed) {
        let Some(slot) = slot.or_else(|| self.idle.pop_front()) else {
            self.waiting.push_back(noticed);
            return;
        };
        let queue = &mut self.slots[slot as usize];
        queue.own.push_back(noticed);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    /// After the last arrival, idle connections must learn that nothing more comes.
    fn wake_all(&mut self) {
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.waker.take())
            .for_each(Waker::wake);
    }

    fn take(&mut self, slot: u32, context: &Context<'_>) -> Poll<Option<Noticed>> {
        let queue = &mut self.slots[slot as usize];
        if let Some(noticed) = queue.own.pop_front().or_else(|| self.waiting.pop_front()) {
            return Poll::Ready(Some(noticed));
        }
        if self.arrivals.len() == 0 {
            return Poll::Ready(None);
        }
        if queue.waker.is_none() {
            queue.waker = Some(context.waker().clone());
            if self.is_shared {
                self.idle.push_back(slot);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span {
        start_ns: 1000,
        window_start_ns: 1010,
        end_ns: 1100,
    };

    fn arrivals(at: &[u64]) -> Vec<Arrival> {
        at.iter()
            .map(|at_ns| Arrival {
                at_ns: *at_ns,
                slot: None,
            })
            .collect()
    }

    fn poll(agenda: &Agenda, slot: u32, now_ns: u64) -> Poll<Option<u64>> {
        let due = agenda.poll_next(slot, now_ns, &Context::from_waker(Waker::noop()));
        due.map(|due| due.map(|due| due.intended_ns))
    }

    #[test]
    fn a_closed_loop_is_due_when_asked_until_its_end() {
        let agenda = Agenda::closed(SPAN, 3);
        assert_eq!(poll(&agenda, 0, 1001), Poll::Ready(Some(1001)));
        assert_eq!(poll(&agenda, 1, 1099), Poll::Ready(Some(1099)));
        assert_eq!(poll(&agenda, 0, 1100), Poll::Ready(None));
        assert_eq!(poll(&agenda, 0, 1050), Poll::Ready(Some(1050)));
        assert_eq!(
            poll(&agenda, 0, 1060),
            Poll::Ready(None),
            "three were allowed"
        );
        assert_eq!(
            agenda.issued(),
            Issued {
                warm_up: 1,
                window: 2
            }
        );
    }

    #[test]
    fn the_longest_idle_connection_is_served_first() {
        let agenda = Agenda::open(SPAN, arrivals(&[5, 20, 30]), 2);
        assert_eq!(poll(&agenda, 1, 1000), Poll::Pending);
        assert_eq!(poll(&agenda, 0, 1000), Poll::Pending);
        agenda.notice(1005);
        assert_eq!(
            poll(&agenda, 0, 1006),
            Poll::Pending,
            "handed to the other one"
        );
        assert_eq!(poll(&agenda, 1, 1006), Poll::Ready(Some(1005)));
        assert_eq!(poll(&agenda, 0, 1025), Poll::Ready(Some(1020)));
    }

    #[test]
    fn without_an_idle_connection_operations_wait_in_order() {
        let agenda = Agenda::open(SPAN, arrivals(&[5, 20, 30]), 1);
        agenda.notice(1030);
        assert_eq!(agenda.next_arrival_ns(), None);
        for expected in [Some(1005), Some(1020), Some(1030), None] {
            assert_eq!(poll(&agenda, 0, 1050), Poll::Ready(expected));
        }
        assert_eq!(
            agenda.issued(),
            Issued {
                warm_up: 1,
                window: 2
            }
        );
    }

    #[test]
    fn a_bound_operation_waits_for_its_own_connection() {
        let bound = vec![
            Arrival {
                at_ns: 1,
                slot: Some(1),
            },
            Arrival {
                at_ns: 50,
                slot: Some(0),
            },
        ];
        let agenda = Agenda::open(SPAN, bound, 2);
        assert_eq!(poll(&agenda, 0, 1002), Poll::Pending);
        assert_eq!(poll(&agenda, 1, 1002), Poll::Ready(Some(1001)));
    }

    #[test]
    fn what_nobody_took_is_accounted_for() {
        let agenda = Agenda::open(SPAN, arrivals(&[5, 20]), 1);
        agenda.notice(1090);
        assert_eq!(agenda.take_waiting(), [1005, 1020]);
    }
}
