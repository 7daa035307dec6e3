//! Clients that listen: they follow a topic, note each update, and resume where they were when a connection ends.

use std::pin::pin;
use std::rc::Rc;

use sockrates_core::failure::FailureKind;
use sockrates_core::record::Metric;

use crate::alarm::{Alarm, Ring};
use crate::drive::Shared;
use crate::environment::Environment;
use crate::transport::Listen;
use crate::workload::updates::Follower;

/// One listening client.
pub(crate) struct Subscriber<E: Environment, L> {
    pub(crate) shared: Rc<Shared<E>>,
    pub(crate) alarm: Rc<Alarm>,
    /// The number within the trial, for the dialer.
    pub(crate) global: u32,
    pub(crate) follower: Follower,
    pub(crate) connection: Option<L>,
    /// After so many updates the client drops its connection, and resumes on another.
    pub(crate) updates_per_connection: Option<u32>,
    /// The server refused to go on where the client was, since its history does not reach back so far: the next
    /// connection begins with the present.
    pub(crate) is_lost: bool,
}

impl<E: Environment, L: Listen<E::Stream>> Subscriber<E, L> {
    /// Listens until the alarm says that it is over.
    pub(crate) async fn listen(mut self) {
        let alarm = Rc::clone(&self.alarm);
        let mut left = self.updates_per_connection;
        loop {
            let Some(connection) = &mut self.connection else {
                match self.resume().await {
                    Err(Ring::Over) => return,
                    Ok(()) | Err(Ring::TimedOut) => {}
                }
                left = self.updates_per_connection;
                continue;
            };
            let heard = {
                let next = pin!(connection.next_update());
                alarm.wait(next).await
            };
            let received_ns = self.shared.environment.now_ns();
            let update = match heard {
                Err(_) => return,
                Ok(line) => line.and_then(|line| self.follower.read(line)),
            };
            match update {
                Ok((sequence, created_ns)) => {
                    let recorder = &mut self.shared.recorder.borrow_mut();
                    let counts = recorder.is_in_open_window(created_ns);
                    self.follower.note(sequence, counts, recorder);
                    recorder.verified_since(created_ns);
                    recorder.arrived(Metric::Staleness, created_ns, received_ns);
                    left = left.map(|left| left - 1);
                    if left == Some(0) {
                        self.connection = None;
                    }
                }
                // The connection ended: what it did not bring, the next one will.
                Err(FailureKind::PeerClosed | FailureKind::ConnectionReset) => {
                    self.connection = None;
                }
                Err(kind) => {
                    self.connection = None;
                    self.shared.recorder.borrow_mut().failed(received_ns, kind);
                }
            }
        }
    }

    /// Connects again, from the latest update on, or with the present where that is no longer to be had. A failure is
    /// noted, and the next try waits a little.
    async fn resume(&mut self) -> Result<(), Ring> {
        let (shared, alarm) = (Rc::clone(&self.shared), Rc::clone(&self.alarm));
        let started_ns = shared.environment.now_ns();
        let opened = {
            let since = self.follower.since().filter(|_| !self.is_lost);
            let opening = pin!(follow::<E, L>(&shared, self.global, &self.follower, since));
            alarm.guard(started_ns + shared.timeout_ns, opening).await
        };
        let failure = match opened {
            Ok(Ok((connection, head))) => {
                let mut recorder = shared.recorder.borrow_mut();
                recorder.updates.reconnections += 1;
                recorder.updates.requests += 1;
                recorder.connections_opened += 1;
                if let Some(head) = head {
                    self.follower.begin_after(head);
                }
                self.connection = Some(connection);
                self.is_lost = false;
                return Ok(());
            }
            Ok(Err(kind)) => {
                let refusals = [FailureKind::HandshakeRefused, FailureKind::BadStatus];
                self.is_lost |= refusals.contains(&kind);
                kind
            }
            Err(Ring::Over) => return Err(Ring::Over),
            Err(Ring::TimedOut) => FailureKind::ConnectTimedOut,
        };
        shared.recorder.borrow_mut().failed(started_ns, failure);
        alarm.wait(pin!(shared.tick.next())).await
    }
}

/// Opens a connection that follows on after a sequence, or with the present.
pub(crate) async fn follow<E: Environment, L: Listen<E::Stream>>(
    shared: &Shared<E>,
    slot: u32,
    follower: &Follower,
    since: Option<u64>,
) -> Result<(L, Option<u64>), FailureKind> {
    let stream = shared.environment.dial(slot).await?;
    L::follow(stream, &shared.peer, &follower.topic, since).await
}
