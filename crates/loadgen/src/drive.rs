//! The driver loop: the one place where an operation is started, timed, judged and recorded, the
//! same for every lane.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use sockrates_core::failure::FailureKind;
use sockrates_core::payload::PayloadKind;
use sockrates_core::record::Wire;

use crate::agenda::{Agenda, Due};
use crate::alarm::{Alarm, Ring};
use crate::environment::Environment;
use crate::recorder::{Recorder, Sample};
use crate::transport::{Over, Peer, Reply, Transport};
use crate::watch::Tick;
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
    /// Whether the server is one that sockrates knows nothing of: it may close a connection that is idle, and when its
    /// reply begins is of interest.
    pub(crate) is_foreign: bool,
    /// Strikes when the watchdog looks.
    pub(crate) tick: Tick,
}

/// A slot's connection.
pub(crate) struct Connection<T> {
    pub(crate) transport: T,
    /// How many exchanges it has left, while they are limited.
    pub(crate) left: u32,
    /// Whether it has carried a right reply.
    pub(crate) has_answered: bool,
    /// Whether its first reply is still to come, and when that begins is of interest: since when, and whether the
    /// connection was opened ahead of the load.
    pub(crate) fresh: Option<(u64, bool)>,
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
    pub(crate) connection: Option<Connection<T>>,
    /// Sees what the current connection carries, from before it is usable until it is gone; if anyone wants to know.
    pub(crate) witness: Option<E::Witness>,
    pub(crate) is_connecting: bool,
    /// Begins no earlier.
    pub(crate) from_ns: u64,
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
        while now_ns() < self.from_ns {
            let tick = alarm.wait(pin!(shared.tick.next())).await;
            if tick.is_err() || shared.agenda.is_ended() {
                break;
            }
        }
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
                    self.drop_connection();
                    return;
                }
            };
            self.fail(due, failure).await;
        }
        if let Some(connection) = &mut self.connection {
            // A server that takes nothing more holds up the end no longer than anything else.
            let _ = alarm.wait(pin!(connection.transport.leave())).await;
        }
        self.drop_connection();
    }

    /// Does one operation and records it when it is verified.
    async fn operate(&mut self, due: Due) -> Result<(), FailureKind> {
        if self.shared.is_foreign {
            self.leave_what_is_over().await;
        }
        let opened_ns = match self.connection {
            Some(_) => None,
            None => Some(self.connect().await?),
        };
        let connection = self.connection.as_mut().expect("connected above");
        let is_last = connection.left == 1;
        let (request, reply) = self.workload.next(is_last);
        let fresh = connection.fresh.take();
        let mut reply = Stamped {
            reply,
            clock: fresh.and(Some(&self.shared.environment)),
            began_ns: None,
        };
        connection.transport.exchange(request, &mut reply).await?;
        connection.has_answered = true;
        let began_ns = reply.began_ns;
        drop(reply);
        let completed_ns = self.shared.environment.now_ns();
        let close_ns = if is_last {
            Some(self.close(completed_ns).await?)
        } else {
            connection.left -= u32::from(self.shared.exchanges != Exchanges::UNLIMITED);
            if connection.transport.is_spent() {
                self.drop_connection();
            }
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
        if let Some(((usable_ns, is_ahead), began_ns)) = fresh.zip(began_ns) {
            // A connection opened ahead was idle until its first operation.
            let since_ns = usable_ns.max(due.started_ns);
            recorder.first_byte(due.intended_ns, began_ns - since_ns, is_ahead);
        }
        self.workload
            .verified(due.intended_ns, completed_ns, &mut recorder);
        Ok(())
    }

    /// Drops a connection that the server has closed while it was idle: the operation opens another one.
    async fn leave_what_is_over(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let transport = &mut connection.transport;
        let over = poll_fn(|context| Poll::Ready(transport.look(context))).await;
        if over == Some(Over::Spoke) {
            self.shared.recorder.borrow_mut().answers.unasked += 1;
        }
        if over.is_some() {
            self.drop_connection();
        }
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        self.shared.account(self.witness.take());
    }

    /// Makes a connection and returns when it was connected and when it was usable.
    async fn connect(&mut self) -> Result<(u64, u64), FailureKind> {
        let environment = &self.shared.environment;
        self.is_connecting = true;
        let stream = environment.dial(self.global).await?;
        self.is_connecting = false;
        let connected_ns = environment.now_ns();
        self.shared.recorder.borrow_mut().connections_opened += 1;
        self.witness = self.shared.witness(&stream);
        let transport = T::handshake(stream, &self.shared.peer).await?;
        let usable_ns = environment.now_ns();
        self.shared.account_handshake(self.witness.as_ref());
        self.connection = Some(Connection {
            transport,
            left: self.shared.exchanges.0,
            has_answered: false,
            fresh: self.shared.is_foreign.then_some((usable_ns, false)),
        });
        Ok((connected_ns, usable_ns))
    }

    /// Waits until the server has closed, and returns how long after the reply that was.
    async fn close(&mut self, completed_ns: u64) -> Result<u64, FailureKind> {
        let connection = self
            .connection
            .take()
            .expect("an operation has a connection");
        connection.transport.close().await?;
        // A second hold on the connection is its last: giving it up is what ends the socket.
        self.shared.account(self.witness.take());
        Ok(self.shared.environment.now_ns() - completed_ns)
    }

    async fn fail(&mut self, due: Due, kind: FailureKind) {
        // Accepted and sent away again is refused.
        let is_cut = matches!(kind, FailureKind::PeerClosed | FailureKind::ConnectionReset);
        let is_new = matches!(&self.connection, Some(connection) if !connection.has_answered);
        let is_turned_away =
            self.is_connecting || kind == FailureKind::HandshakeRefused || is_cut && is_new;
        self.drop_connection();
        {
            let mut recorder = self.shared.recorder.borrow_mut();
            recorder.failed(due.intended_ns, kind);
            self.workload.failed(due.intended_ns, &mut recorder);
        }
        self.is_connecting = false;
        if is_turned_away {
            // A closed loop must not hammer a target that does not let it in. Ending the pause, whether
            // by a tick or by the alarm, is all that matters.
            let _ = self.alarm.wait(pin!(self.shared.tick.next())).await;
        }
    }
}

/// A reply of which it may be of interest when it began.
struct Stamped<'a, E, R> {
    reply: R,
    /// Present while the reply has not begun, and someone wants to know when it does.
    clock: Option<&'a E>,
    began_ns: Option<u64>,
}

impl<E: Environment, R: Reply> Reply for Stamped<'_, E, R> {
    #[inline]
    fn begins(&mut self) {
        if let Some(clock) = self.clock.take() {
            self.began_ns = Some(clock.now_ns());
        }
    }

    #[inline]
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        self.reply.status(status)
    }

    #[inline]
    fn head(&mut self, sequence: u64) {
        self.reply.head(sequence);
    }

    #[inline]
    fn message(&mut self, kind: PayloadKind, message: &[u8]) -> Result<bool, FailureKind> {
        self.reply.message(kind, message)
    }

    #[inline]
    fn unasked(&mut self, kind: PayloadKind, message: &[u8]) {
        self.reply.unasked(kind, message);
    }

    #[inline]
    fn closed(&mut self, code: u16) {
        self.reply.closed(code);
    }

    #[inline]
    fn feed(&mut self, chunk: &[u8]) {
        self.reply.feed(chunk);
    }

    #[inline]
    fn finish(&mut self) -> Result<(), FailureKind> {
        self.reply.finish()
    }
}

impl<E: Environment> Shared<E> {
    /// Notes what a connection carried, where that is counted.
    pub(crate) fn account(&self, witness: Option<E::Witness>) {
        if let Some(carried) = witness.and_then(|witness| self.environment.carried(&witness)) {
            self.recorder.borrow_mut().wire.merge(&carried);
        }
    }

    /// Notes what a connection had carried when it became usable, before any message. A server of one's own may say
    /// something by itself, which is no handshake.
    pub(crate) fn account_handshake(&self, witness: Option<&E::Witness>) {
        let witness = witness.filter(|_| !self.is_foreign);
        let handshake = witness.and_then(|witness| self.environment.handshake(witness));
        if handshake.is_some() {
            let wire = Wire {
                handshake,
                ..Wire::default()
            };
            self.recorder.borrow_mut().wire.merge(&wire);
        }
    }

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
