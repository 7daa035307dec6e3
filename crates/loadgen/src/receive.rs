//! Clients that only receive: whatever the server sends counts, and how long it is from one message to the next.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use sockrates_core::failure::FailureKind;
use sockrates_core::record::Metric;
use tokio::net::TcpStream;

use crate::agenda::Issued;
use crate::alarm::{Alarm, Ring};
use crate::drive::Shared;
use crate::environment::{Environment, Real};
use crate::recorder::{Course, Metrics, Recorder};
use crate::transport::Transport;
use crate::transport::websocket::any::AnyWs;
use crate::worker::{Crew, Part, WorkerPlan};

/// Clients that receive, each of which may send something once, when its connection is open.
pub(crate) struct Receiving {
    subscriptions: Vec<Option<Rc<[u8]>>>,
}

impl Receiving {
    /// Makes it of what the worker's slots send.
    pub(crate) const fn new(subscriptions: Vec<Option<Rc<[u8]>>>) -> Self {
        Self { subscriptions }
    }
}

/// A connection, and the instants at which it was dialed, connected and usable.
pub(crate) struct Opened {
    connection: AnyWs<TcpStream>,
    instants: [u64; 3],
    witness: Option<<Real as Environment>::Witness>,
}

impl Part for Receiving {
    type Connection = Opened;

    fn metrics(&self, _plan: &WorkerPlan) -> (Metrics, Course) {
        let metrics = Metrics::default().and(&[
            Metric::Connect,
            Metric::Handshake,
            Metric::FirstByte,
            Metric::InterArrival,
        ]);
        (metrics, Course::News(Metric::InterArrival))
    }

    fn opens_ahead(&self, _plan: &WorkerPlan) -> bool {
        true
    }

    fn open(
        &self,
        environment: &Real,
        plan: &WorkerPlan,
        place: usize,
    ) -> impl Future<Output = Result<Opened, FailureKind>> + 'static {
        let (environment, peer) = (environment.clone(), plan.peer.clone());
        let (slot, subscription) = (plan.slots[place], self.subscriptions[place].clone());
        async move { open(&environment, slot, &peer, subscription.as_deref()).await }
    }

    fn begin(
        &mut self,
        plan: &WorkerPlan,
        connections: Vec<Option<Opened>>,
        shared: &Rc<Shared<Real>>,
        crew: &mut Crew,
    ) {
        let subscriptions = self.subscriptions.drain(..);
        for ((subscription, opened), global) in subscriptions.zip(connections).zip(&plan.slots) {
            let alarm = Rc::<Alarm>::default();
            let receiver = Receiver {
                shared: Rc::clone(shared),
                alarm: Rc::clone(&alarm),
                global: *global,
                subscription,
            };
            crew.spawn(&alarm, receiver.receive(opened));
        }
    }

    /// What was received is what there was to receive.
    fn settle(
        &mut self,
        recorder: &mut Recorder,
        _waiting: &[u64],
        _end_ns: u64,
    ) -> Option<Issued> {
        Some(recorder.accounted())
    }
}

async fn open(
    environment: &Real,
    slot: u32,
    peer: &crate::transport::Peer,
    subscription: Option<&[u8]>,
) -> Result<Opened, FailureKind> {
    let dialed_ns = environment.now_ns();
    let stream = environment.dial(slot).await?;
    let connected_ns = environment.now_ns();
    let witness = environment.witness(&stream);
    let mut connection = AnyWs::handshake(stream, peer).await?;
    let usable_ns = environment.now_ns();
    if let Some(subscription) = subscription {
        connection.subscribe(subscription).await?;
    }
    Ok(Opened {
        connection,
        instants: [dialed_ns, connected_ns, usable_ns],
        witness,
    })
}

/// Polls once.
async fn now_or_never<F: Future>(work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|context| {
        Poll::Ready(match work.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// One client.
struct Receiver {
    shared: Rc<Shared<Real>>,
    alarm: Rc<Alarm>,
    /// The number within the trial, for the dialer.
    global: u32,
    subscription: Option<Rc<[u8]>>,
}

impl Receiver {
    /// Receives until the alarm says that it is over; a connection that ends is a failure, and another one is opened.
    async fn receive(self, mut opened: Option<Opened>) {
        loop {
            match opened.take() {
                Some(opened) => {
                    if self.receive_on(opened).await == Ring::Over {
                        return;
                    }
                    // A server that closes at once must not be hammered.
                    let tick = pin!(self.shared.tick.next());
                    if self.alarm.wait(tick).await.is_err() {
                        return;
                    }
                }
                None => match self.reopen().await {
                    Ok(another) => opened = another,
                    Err(Ring::Over) => return,
                    Err(Ring::TimedOut) => {}
                },
            }
        }
    }

    /// Receives on one connection to its end, and notes what it carried; returns `Over` when all is over.
    async fn receive_on(&self, opened: Opened) -> Ring {
        let Opened {
            connection,
            instants,
            witness,
        } = opened;
        let ring = self.messages(connection, instants).await;
        self.shared.account(witness);
        ring
    }

    async fn messages(
        &self,
        mut connection: AnyWs<TcpStream>,
        [dialed_ns, connected_ns, usable_ns]: [u64; 3],
    ) -> Ring {
        let shared = &*self.shared;
        let mut last_ns = None;
        shared
            .recorder
            .borrow_mut()
            .set_up(dialed_ns, connected_ns, usable_ns);
        loop {
            let received = {
                let next = pin!(connection.receive());
                self.alarm.wait(next).await
            };
            let now_ns = shared.environment.now_ns();
            if now_ns >= shared.recorder.borrow().end_ns() {
                // Only what the socket takes at once: the end has come.
                let _ = now_or_never(connection.leave()).await;
                return Ring::Over;
            }
            let mut recorder = shared.recorder.borrow_mut();
            match received {
                Err(ring) => return ring,
                Ok(Ok(Ok(bytes))) => {
                    match last_ns {
                        None => recorder.first_byte(now_ns, now_ns.saturating_sub(usable_ns), true),
                        Some(last_ns) => recorder.came_after(now_ns, now_ns - last_ns),
                    }
                    recorder.verified_since(now_ns);
                    recorder.received(now_ns, bytes);
                    last_ns = Some(now_ns);
                }
                Ok(Ok(Err(code))) => {
                    *recorder.answers.close_codes.entry(code).or_default() += 1;
                    recorder.failed(now_ns, FailureKind::PeerClosed);
                    return Ring::TimedOut;
                }
                Ok(Err(kind)) => {
                    recorder.failed(now_ns, kind);
                    return Ring::TimedOut;
                }
            }
        }
    }

    /// Connects again. A failure is noted, and the next try waits a little.
    async fn reopen(&self) -> Result<Option<Opened>, Ring> {
        let shared = &*self.shared;
        let started_ns = shared.environment.now_ns();
        let opened = {
            let opening = pin!(open(
                &shared.environment,
                self.global,
                &shared.peer,
                self.subscription.as_deref()
            ));
            self.alarm
                .guard(started_ns + shared.timeout_ns, opening)
                .await
        };
        let failure = match opened {
            Ok(Ok(opened)) => {
                shared.recorder.borrow_mut().connections_opened += 1;
                return Ok(Some(opened));
            }
            Ok(Err(kind)) => kind,
            Err(Ring::Over) => return Err(Ring::Over),
            Err(Ring::TimedOut) => FailureKind::ConnectTimedOut,
        };
        shared.recorder.borrow_mut().failed(started_ns, failure);
        self.alarm.wait(pin!(shared.tick.next())).await?;
        Ok(None)
    }
}
