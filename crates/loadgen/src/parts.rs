//! The parts that connections play on their own: exchanging messages, and following topics.

use std::marker::PhantomData;
use std::rc::Rc;

use sockrates_core::failure::FailureKind;
use sockrates_core::record::Metric;
use sockrates_core::scenario::Workload as Spec;
use tokio::net::TcpStream;

use crate::agenda::Issued;
use crate::alarm::Alarm;
use crate::converse::Voice;
use crate::drive::{Connection, Shared, Slot};
use crate::environment::{Environment, Real};
use crate::listen::Subscriber;
use crate::recorder::{Course, Metrics, Recorder, exchange_metrics};
use crate::transport::{Listen, Transport};
use crate::worker::{Crew, Part, WorkerPlan};
use crate::workload::game::Player;
use crate::workload::updates::Follower;
use crate::workload::{Exchanges, Workload};

/// Requests and replies, driven by the loop of [`crate::drive`].
pub(crate) struct Exchanging<T, W> {
    workloads: Vec<W>,
    transport: PhantomData<T>,
}

impl<T, W> Exchanging<T, W> {
    /// Makes it of the workloads of a worker's slots.
    pub(crate) fn new(workloads: Vec<W>) -> Self {
        Self {
            workloads,
            transport: PhantomData,
        }
    }
}

/// A connection that was opened ahead of the load.
pub(crate) struct Opened<T> {
    connection: Connection<T>,
    witness: Option<<Real as Environment>::Witness>,
    /// When it was dialed, connected and usable.
    instants: [u64; 3],
}

impl<T, W> Part for Exchanging<T, W>
where
    T: Transport<TcpStream> + 'static,
    W: Workload<T::Prepared> + 'static,
{
    type Connection = Opened<T>;

    fn metrics(&self, plan: &WorkerPlan) -> (Metrics, Course) {
        let opens = plan.exchanges != Exchanges::UNLIMITED;
        let exchange = exchange_metrics(plan.arrivals.is_some(), opens);
        let metrics = match plan.workload {
            Spec::Echo { .. } | Spec::Fanout { .. } => exchange,
            Spec::Updates { .. } => exchange.and(&[Metric::Staleness]),
            Spec::Duplex { .. } => exchange.and(Player::TIMES),
            Spec::Custom(_) => {
                let all = exchange_metrics(plan.arrivals.is_some(), true);
                all.and(&[Metric::FirstByte])
            }
        };
        (metrics, Course::Operations)
    }

    fn opens_ahead(&self, plan: &WorkerPlan) -> bool {
        plan.exchanges == Exchanges::UNLIMITED
    }

    fn open(
        &self,
        environment: &Real,
        plan: &WorkerPlan,
        place: usize,
    ) -> impl Future<Output = Result<Self::Connection, FailureKind>> + 'static {
        let (environment, peer) = (environment.clone(), plan.peer.clone());
        let (slot, counts_wire) = (plan.slots[place], plan.counts_wire);
        let is_foreign = plan.is_foreign();
        async move {
            let dialed_ns = environment.now_ns();
            let stream = environment.dial(slot).await?;
            let connected_ns = environment.now_ns();
            let witness = counts_wire.then(|| environment.witness(&stream)).flatten();
            let transport = T::handshake(stream, &peer).await?;
            let usable_ns = environment.now_ns();
            let connection = Connection {
                has_answered: false,
                transport,
                left: Exchanges::UNLIMITED.0,
                fresh: is_foreign.then_some((usable_ns, true)),
            };
            Ok(Opened {
                connection,
                witness,
                instants: [dialed_ns, connected_ns, usable_ns],
            })
        }
    }

    fn begin(
        &mut self,
        plan: &WorkerPlan,
        connections: Vec<Option<Self::Connection>>,
        shared: &Rc<Shared<Real>>,
        crew: &mut Crew,
    ) {
        let workloads = self.workloads.drain(..);
        let slots = workloads.zip(connections).zip(&plan.slots).zip(0..);
        for (((workload, opened), global), local) in slots {
            let alarm = Rc::<Alarm>::default();
            let (connection, witness) = opened.map_or((None, None), |opened| {
                // Nothing was asked of it since it became usable.
                shared.account_handshake(opened.witness.as_ref());
                let [dialed_ns, connected_ns, usable_ns] = opened.instants;
                let mut recorder = shared.recorder.borrow_mut();
                recorder.set_up(dialed_ns, connected_ns, usable_ns);
                (Some(opened.connection), opened.witness)
            });
            let slot = Slot {
                shared: Rc::clone(shared),
                alarm: Rc::clone(&alarm),
                local,
                global: *global,
                workload,
                connection,
                witness,
                is_connecting: false,
                from_ns: plan.joins_ns(*global, shared.recorder.borrow().start_ns()),
            };
            crew.spawn(&alarm, slot.drive());
        }
    }

    fn settle(&mut self, recorder: &mut Recorder, waiting: &[u64], end_ns: u64) -> Option<Issued> {
        recorder.unfinished_all(waiting, end_ns);
        None
    }
}

/// Clients that listen for updates.
pub(crate) struct Following<L> {
    followers: Vec<Follower>,
    updates_per_connection: Option<u32>,
    listener: PhantomData<L>,
}

impl<L> Following<L> {
    /// Makes it of the followers of a worker's slots.
    pub(crate) fn new(followers: Vec<Follower>, updates_per_connection: Option<u32>) -> Self {
        Self {
            followers,
            updates_per_connection,
            listener: PhantomData,
        }
    }
}

impl<L: Listen<TcpStream> + 'static> Part for Following<L> {
    type Connection = (L, Option<u64>);

    fn metrics(&self, _plan: &WorkerPlan) -> (Metrics, Course) {
        let metrics = Metrics::default().and(&[Metric::Staleness]);
        (metrics, Course::News(Metric::Staleness))
    }

    fn opens_ahead(&self, _plan: &WorkerPlan) -> bool {
        true
    }

    fn open(
        &self,
        environment: &Real,
        plan: &WorkerPlan,
        place: usize,
    ) -> impl Future<Output = Result<Self::Connection, FailureKind>> + 'static {
        let (environment, peer) = (environment.clone(), plan.peer.clone());
        let (slot, topic) = (plan.slots[place], self.followers[place].topic.clone());
        async move {
            let stream = environment.dial(slot).await?;
            L::follow(stream, &peer, &topic, None).await
        }
    }

    fn begin(
        &mut self,
        plan: &WorkerPlan,
        connections: Vec<Option<Self::Connection>>,
        shared: &Rc<Shared<Real>>,
        crew: &mut Crew,
    ) {
        let followers = self.followers.drain(..);
        for ((mut follower, opened), global) in followers.zip(connections).zip(&plan.slots) {
            let alarm = Rc::<Alarm>::default();
            let connection = opened.map(|(connection, head)| {
                let mut recorder = shared.recorder.borrow_mut();
                recorder.updates.requests += 1;
                if let Some(head) = head {
                    follower.begin_after(head);
                    recorder.followed[*global as usize] = head;
                }
                connection
            });
            let subscriber = Subscriber {
                shared: Rc::clone(shared),
                alarm: Rc::clone(&alarm),
                global: *global,
                follower,
                connection,
                updates_per_connection: self.updates_per_connection,
                is_lost: false,
            };
            crew.spawn(&alarm, subscriber.listen());
        }
    }

    fn settle(&mut self, recorder: &mut Recorder, waiting: &[u64], end_ns: u64) -> Option<Issued> {
        recorder.unfinished_all(waiting, end_ns);
        None
    }
}
