//! What the driver needs from outside: time and connections. One trait, so that tests can replace all of it by a world
//! in which time passes only when told to.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use sockrates_core::failure::FailureKind;
use sockrates_core::record::{HandshakeWire, Wire};
use sockrates_probe::timer::TimerFd;
use sockrates_probe::{clock, connection};
use tokio::net::TcpStream;

use crate::dial::Dialer;

/// The world around the driver loop.
pub(crate) trait Environment: Clone + 'static {
    /// A connection's byte stream.
    type Stream: 'static;

    /// A second hold on a connection, from which what it carried can be read at its end.
    type Witness: 'static;

    /// Reads the clock all instants are taken from, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// Opens a connection for one slot.
    async fn dial(&self, slot: u32) -> Result<Self::Stream, FailureKind>;

    /// Takes a second hold on a connection; `None` where that cannot be done.
    fn witness(&self, stream: &Self::Stream) -> Option<Self::Witness>;

    /// Reads what a connection has carried; `None` where the kernel does not say.
    fn carried(&self, witness: &Self::Witness) -> Option<Wire>;

    /// Reads what a connection has carried that has just become usable.
    fn handshake(&self, witness: &Self::Witness) -> Option<HandshakeWire> {
        let carried = self.carried(witness)?;
        Some(HandshakeWire {
            connections: 1,
            waits: u64::from(carried.bytes_received > 0),
            bytes_sent: carried.bytes_sent,
            bytes_received: carried.bytes_received,
        })
    }

    /// Makes a wait for instants of this clock. Called once per task, not per operation.
    fn timer(&self) -> std::io::Result<impl Timer + 'static>;
}

/// Waits for instants of an environment's clock.
pub(crate) trait Timer {
    /// Returns once the clock shows `at_ns` or later.
    async fn until(&mut self, at_ns: u64) -> std::io::Result<()>;
}

/// The real world: the kernel's monotonic clock and TCP.
#[derive(Clone, Debug)]
pub(crate) struct Real(pub(crate) Rc<Dialer>);

impl Environment for Real {
    type Stream = TcpStream;

    type Witness = OwnedFd;

    #[inline]
    fn now_ns(&self) -> u64 {
        clock::monotonic_ns()
    }

    async fn dial(&self, slot: u32) -> Result<TcpStream, FailureKind> {
        self.0.dial(slot).await
    }

    fn witness(&self, stream: &TcpStream) -> Option<OwnedFd> {
        stream.as_fd().try_clone_to_owned().ok()
    }

    fn carried(&self, witness: &OwnedFd) -> Option<Wire> {
        let info = connection::tcp_info(witness.as_fd()).ok()?;
        Some(Wire {
            connections: 1,
            handshakes: 1,
            bytes_sent: info.bytes_sent,
            bytes_received: info.bytes_received,
            data_segments_sent: info.data_segments_sent,
            data_segments_received: info.data_segments_received,
            segments_retransmitted: info.segments_retransmitted,
            handshake: None,
        })
    }

    fn timer(&self) -> std::io::Result<impl Timer + 'static> {
        TimerFd::new()
    }
}

impl Timer for TimerFd {
    async fn until(&mut self, at_ns: u64) -> std::io::Result<()> {
        self.until(at_ns).await
    }
}

#[cfg(test)]
pub(crate) mod manual {
    //! A world whose clock moves only when a transport moves it, or when every task waits: then it
    //! jumps to the earliest instant that a timer waits for.

    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;
    use std::rc::Rc;

    use super::{Environment, FailureKind, Timer, Wire};

    /// The world, and the cost of dialing in it.
    #[derive(Clone, Debug)]
    pub(crate) struct Manual {
        state: Rc<State>,
        dial_ns: u64,
    }

    #[derive(Debug, Default)]
    struct State {
        now_ns: Cell<u64>,
        timers: Cell<u32>,
        /// Instants that timers wait for, each with its timer's number.
        waiting: RefCell<BTreeSet<(u64, u32)>>,
    }

    impl Manual {
        pub(crate) fn with_dial_ns(dial_ns: u64) -> Self {
            Self {
                state: Rc::default(),
                dial_ns,
            }
        }

        pub(crate) fn advance(&self, ns: u64) {
            self.state.now_ns.set(self.state.now_ns.get() + ns);
        }
    }

    impl Environment for Manual {
        /// A connection is a handle on its world, so that a transport can let time pass.
        type Stream = Self;

        type Witness = ();

        fn now_ns(&self) -> u64 {
            self.state.now_ns.get()
        }

        async fn dial(&self, _slot: u32) -> Result<Self, FailureKind> {
            self.advance(self.dial_ns);
            Ok(self.clone())
        }

        fn witness(&self, _stream: &Self) -> Option<()> {
            None
        }

        fn carried(&self, _witness: &()) -> Option<Wire> {
            None
        }

        fn timer(&self) -> std::io::Result<impl Timer + 'static> {
            let number = self.state.timers.get();
            self.state.timers.set(number + 1);
            Ok(ManualTimer {
                state: Rc::clone(&self.state),
                number,
            })
        }
    }

    struct ManualTimer {
        state: Rc<State>,
        number: u32,
    }

    /// Takes a timer's instant off the list, also when its wait is given up.
    struct Entry<'a>(&'a State, (u64, u32));

    impl Drop for Entry<'_> {
        fn drop(&mut self) {
            self.0.waiting.borrow_mut().remove(&self.1);
        }
    }

    /// How many turns of all other tasks in which nothing happens mean that all of them wait.
    const QUIET_TURNS: u32 = 8;

    impl Timer for ManualTimer {
        async fn until(&mut self, at_ns: u64) -> std::io::Result<()> {
            let state = &*self.state;
            let entry = Entry(state, (at_ns, self.number));
            state.waiting.borrow_mut().insert(entry.1);
            let mut quiet_turns = 0;
            let mut before = None;
            while state.now_ns.get() < at_ns {
                tokio::task::yield_now().await;
                let first = state.waiting.borrow().first().copied();
                let now = Some((state.now_ns.get(), first));
                quiet_turns = if now == before { quiet_turns + 1 } else { 0 };
                before = now;
                if first == Some(entry.1) && quiet_turns >= QUIET_TURNS {
                    state.now_ns.set(at_ns.max(state.now_ns.get()));
                }
            }
            Ok(())
        }
    }
}
