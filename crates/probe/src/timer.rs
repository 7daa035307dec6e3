//! Waiting for an instant: a `timerfd` with an absolute time, exact to the wake-up.
//!
//! The runtime's own timers have a granularity of a millisecond, which is a hundred exchanges here.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One reusable timer on `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub struct TimerFd(AsyncFd<OwnedFd>);

impl TimerFd {
    /// Makes a timer; must be called inside a runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd that never leaves is safe with both"
    )]
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        AsyncFd::with_interest(fd, Interest::READABLE).map(Self)
    }

    /// Waits until the monotonic clock shows `at_ns`; returns at once when it already does.
    pub async fn until(&mut self, at_ns: u64) -> io::Result<()> {
        // A zero time would disarm the timer; 1 ns after boot is as long past.
        let value = timespec(at_ns.max(1));
        let spec = Itimerspec {
            it_interval: timespec(0),
            it_value: value,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
        let mut expirations = [0; 8];
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?));
            match read {
                Ok(done) => return done.map(|_| ()),
                Err(_would_block) => {}
            }
        }
    }
}

fn timespec(ns: u64) -> Timespec {
    let part = |number: u64| i64::try_from(number).expect("a u64 of ns is below i64::MAX seconds");
    Timespec {
        tv_sec: part(ns / 1_000_000_000),
        tv_nsec: part(ns % 1_000_000_000),
    }
}
