//! The driver loop: the one place where an operation is started, timed, judged and recorded, the
//! same for every lane.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use sockrates_core::failure::FailureKind;
use tokio::sync::Notify;

use crate::agenda::{Agenda, Due};
use crate::alarm::{Alarm, Ring};
use crate::environment::Environment;
use crate::recorder::{Recorder, Sample};
use crate::transport::{Peer, Transport};
use crate::workload::{Exchanges, Workload};

/// What the slots of a worker have in common.
pub(crate) struct Shared<E> {
    pub(crate) environment: E,
    pub(crate) agenda: Agenda,
    pub(crate) recorder: RefCell<Recorder>,
    pub(crate) peer: Peer,
    pub(crate) exchanges: Exchanges,
    /// Whether the kernel is asked what each connection carried.
    pub(crate) counts_wire: bool,
    pub(crate) timeout_ns: u64,
    /// Is notified at each tick of the watchdog.
    pub(crate) tick: Notify,
}

/// A slot's connection.
pub(crate) struct Connection<E: Environment, T> {
    pub(crate) transport: T,
    /// Sees what the connection carried, if anyone wants to know.
    pub(crate) witness: Option<E::Witness>,
    /// How many exchanges it has left, while they are limited.
    pub(crate) left: u32,
}

/// One connection's place: on a persistent lane one connection for the whole trial, on a per-request
/// lane one connection after the other.
pub(crate) struct Slot<E: Environment, T, W> {
    pub(crate) shared: Rc<Shared<E>>,
    pub(crate) alarm: Rc<Alarm>,
    /// The number within the worker, for the agenda.
    pub(crate) local: u32,
    /// The number within the trial, for the dialer.
    pub(crate) global: u32,
    pub(crate) workload: W,
    pub(crate) connection: Option<Connection<E, T>>,
    pub(crate) is_connecting: bool,
}

impl<E, T, W> Slot<E, T, W>
where
    E: Environment,
    T: Transport<E::Stream>,
    W: Workload<T::Prepared>,
{
    /// Does what the agenda asks for until there is nothing more, or until the alarm says that it
    /// is over.
    pub(crate) async fn drive(mut self) {
        let shared = Rc::clone(&self.shared);
        let alarm = Rc::clone(&self.alarm);
        let now_ns = || shared.environment.now_ns();
        while let Ok(Some(due)) = alarm
            .wait(pin!(shared.agenda.next(self.local, now_ns)))
            .await
        {
            let deadline_ns = due.started_ns + shared.timeout_ns;
            let outcome = {
                let operation = pin!(self.operate(due));
                alarm.guard(deadline_ns, operation).await
            };
            let failure = match outcome {
                Ok(Ok(())) => continue,
                Ok(Err(kind)) => kind,
                Err(Ring::TimedOut) if self.is_connecting => FailureKind::ConnectTimedOut,
                Err(Ring::TimedOut) => FailureKind::TimedOut,
                Err(Ring::Over) => {
                    shared
                        .recorder
                        .borrow_mut()
                        .unfinished(due.intended_ns, now_ns());
                    return;
                }
            };
            self.fail(due, failure).await;
        }
        if let Some(connection) = self.connection.take() {
            self.account(connection.witness);
        }
    }

    /// Does one operation and records it when it is verified.
    async fn operate(&mut self, due: Due) -> Result<(), FailureKind> {
        let opened_ns = match self.connection {
            Some(_) => None,
            None => Some(self.connect().await?),
        };
        let connection = self.connection.as_mut().expect("connected above");
        let is_last = connection.left == 1;
        let (request, mut reply) = self.workload.next(is_last);
        connection.transport.exchange(request, &mut reply).await?;
        drop(reply);
        let completed_ns = self.shared.environment.now_ns();
        let close_ns = if is_last {
            Some(self.close(completed_ns).await?)
        } else {
            connection.left -= u32::from(self.shared.exchanges != Exchanges::UNLIMITED);
            None
        };
        let mut recorder = self.shared.recorder.borrow_mut();
        recorder.verified(&Sample {
            due,
            opened_ns,
            completed_ns,
        });
        if let Some(close_ns) = close_ns {
            recorder.closed(due.intended_ns, close_ns);
        }
        self.workload
            .verified(due.intended_ns, completed_ns, &mut recorder);
        Ok(())
    }

    /// Makes a connection and returns when it was connected and when it was usable.
    async fn connect(&mut self) -> Result<(u64, u64), FailureKind> {
        let environment = &self.shared.environment;
        self.is_connecting = true;
        let stream = environment.dial(self.global).await?;
        self.is_connecting = false;
        let connected_ns = environment.now_ns();
        self.shared.recorder.borrow_mut().connections_opened += 1;
        let witness = self.shared.witness(&stream);
        self.connection = Some(Connection {
            transport: T::handshake(stream, &self.shared.peer).await?,
            witness,
            left: self.shared.exchanges.0,
        });
        Ok((connected_ns, environment.now_ns()))
    }

    /// Waits until the server has closed, and returns how long after the reply that was.
    async fn close(&mut self, completed_ns: u64) -> Result<u64, FailureKind> {
        let connection = self
            .connection
            .take()
            .expect("an operation has a connection");
        connection.transport.close().await?;
        let close_ns = self.shared.environment.now_ns() - completed_ns;
        self.account(connection.witness);
        Ok(close_ns)
    }

    /// Notes what a connection carried, where that is counted.
    fn account(&self, witness: Option<E::Witness>) {
        if let Some(carried) = witness.and_then(|witness| self.shared.environment.carried(&witness))
        {
            self.shared.recorder.borrow_mut().wire.merge(&carried);
        }
    }

    async fn fail(&mut self, due: Due, kind: FailureKind) {
        self.connection = None;
        self.shared
            .recorder
            .borrow_mut()
            .failed(due.intended_ns, kind);
        if self.is_connecting {
            self.is_connecting = false;
            // A closed loop must not hammer a target that does not let it in. Ending the pause, whether
            // by a tick or by the alarm, is all that matters.
            let _ = self.alarm.wait(pin!(self.shared.tick.notified())).await;
        }
    }
}

impl<E: Environment> Shared<E> {
    /// Makes a witness of a new connection, where what it carries is counted.
    pub(crate) fn witness(&self, stream: &E::Stream) -> Option<E::Witness> {
        self.counts_wire
            .then(|| self.environment.witness(stream))
            .flatten()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod theory;
