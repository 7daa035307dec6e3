//! A worker: one thread, one current-thread runtime, its share of a trial's connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use sockrates_core::failure::FailureKind;
use sockrates_core::scenario::{Wait, Workload as WorkloadSpec};
use sockrates_core::schedule::Arrival;
use sockrates_core::target::ProcessUsage;
use sockrates_probe::{clock, process};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

use crate::agenda::{Agenda, Issued, Span};
use crate::alarm::{Alarm, Ring};
use crate::dial::Dialer;
use crate::drive::{Connection, Shared, Slot};
use crate::environment::{Environment, Real, Timer};
use crate::recorder::{Recorder, Scope};
use crate::transport::{Peer, Transport};
use crate::workload::{Exchanges, Workload};

/// How often the watchdog looks at the deadlines.
const TICK_NS: u64 = 10_000_000;
/// From the workers' agreement to the schedule's zero: time to allocate what records.
const LEAD_NS: u64 = 5_000_000;

/// What one worker has to do.
#[derive(Clone, Debug)]
pub(crate) struct WorkerPlan {
    pub(crate) dialer: Dialer,
    pub(crate) peer: Peer,
    pub(crate) workload: WorkloadSpec,
    pub(crate) exchanges: Exchanges,
    pub(crate) counts_wire: bool,
    pub(crate) seed: u64,
    pub(crate) wait: Wait,
    /// The numbers of this worker's slots within the trial.
    pub(crate) slots: Vec<u32>,
    /// `None` in a closed loop; slots are numbered within the worker.
    pub(crate) arrivals: Option<Vec<Arrival>>,
    /// What a closed loop may issue.
    pub(crate) allowed: u64,
    pub(crate) warm_up_ns: u64,
    pub(crate) window_ns: u64,
    pub(crate) drain_ns: u64,
    pub(crate) timeout_ns: u64,
    pub(crate) slice_width_ns: u64,
}

/// Lets workers begin at the same instant.
#[derive(Debug)]
pub(crate) struct Start {
    barrier: Barrier,
    start_ns: AtomicU64,
}

/// What one worker did.
#[derive(Debug)]
pub(crate) struct WorkerOutcome {
    pub(crate) recorder: Recorder,
    pub(crate) issued: Issued,
    pub(crate) span: Span,
    pub(crate) end_ns: u64,
    /// The whole process, between this worker's start and its end.
    pub(crate) usage: ProcessUsage,
}

/// Says why a worker could not begin.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The runtime or a timer could not be made.
    #[error("cannot set up a worker: {0}")]
    Setup(#[from] std::io::Error),
    /// No connection could be opened ahead of the load.
    #[error("cannot open a connection: {0}")]
    Open(FailureKind),
}

impl Start {
    /// Makes the starting line for so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            barrier: Barrier::new(workers),
            start_ns: AtomicU64::new(0),
        }
    }

    /// Waits for all workers and returns the instant they agree on. Blocks the thread: nothing else
    /// is to be done on it before the start.
    fn agree(&self) -> u64 {
        if self.barrier.wait().is_leader() {
            self.start_ns
                .store(clock::monotonic_ns() + LEAD_NS, Ordering::Release);
        }
        self.barrier.wait();
        self.start_ns.load(Ordering::Acquire)
    }
}

/// Runs a worker to its end on the calling thread. `make` builds the workload of a slot.
pub(crate) fn run<T, W>(
    plan: &WorkerPlan,
    start: &Start,
    make: impl Fn(u32) -> W,
) -> Result<WorkerOutcome, WorkerError>
where
    T: Transport<TcpStream> + 'static,
    W: Workload<T::Prepared> + 'static,
{
    // Without the runtime's timers, which are too coarse here (see `timer`).
    let runtime = Builder::new_current_thread()
        .enable_io()
        .build_local(LocalOptions::default())?;
    runtime.block_on(work::<T, W>(plan, start, make))
}

async fn work<T, W>(
    plan: &WorkerPlan,
    start: &Start,
    make: impl Fn(u32) -> W,
) -> Result<WorkerOutcome, WorkerError>
where
    T: Transport<TcpStream> + 'static,
    W: Workload<T::Prepared> + 'static,
{
    let environment = Real(Rc::new(plan.dialer.clone()));
    let workloads: Vec<W> = plan.slots.iter().map(|slot| make(*slot)).collect();
    let opened = open_all::<T>(&environment, plan).await;
    // All workers go to the starting line, the unlucky ones too: the others wait for them.
    let start_ns = start.agree();
    let connections = opened?;
    let span = plan.span(start_ns);
    let mut recorder = Recorder::new(plan.scope(span));
    recorder.connections_opened = connections.iter().flatten().count() as u64;
    let shared = Rc::new(Shared {
        environment,
        agenda: plan.agenda(span),
        recorder: RefCell::new(recorder),
        peer: plan.peer.clone(),
        exchanges: plan.exchanges,
        counts_wire: plan.counts_wire,
        timeout_ns: plan.timeout_ns,
        tick: Notify::new(),
    });
    let slots = workloads
        .into_iter()
        .zip(connections)
        .zip(&plan.slots)
        .zip(0..);
    let slots = slots.map(|(((workload, connection), global), local)| Slot {
        shared: Rc::clone(&shared),
        alarm: Rc::default(),
        local,
        global: *global,
        workload,
        connection,
        is_connecting: false,
    });
    let mut timer = shared.environment.timer()?;
    timer.until(start_ns).await?;
    let before = process::usage();
    let crew = Crew::start(plan.wait, &shared, slots.collect())?;
    let end_ns = crew
        .watch(&shared, &mut timer, span.end_ns + plan.drain_ns)
        .await?;
    let usage = process::since(&before, &process::usage());
    Ok(shared.outcome(span, end_ns, usage))
}

/// Plays one slot in a test's world, until it has finished or `over_ns` has come.
#[cfg(test)]
pub(crate) fn crew_of_one<E, T, W>(
    shared: &Rc<Shared<E>>,
    slot: Slot<E, T, W>,
    span: Span,
    over_ns: u64,
) -> WorkerOutcome
where
    E: Environment,
    T: Transport<E::Stream> + 'static,
    W: Workload<T::Prepared> + 'static,
{
    let runtime = Builder::new_current_thread()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let mut timer = shared.environment.timer().unwrap();
        let crew = Crew::start(Wait::Blocking, shared, vec![slot]).unwrap();
        let end_ns = crew.watch(shared, &mut timer, over_ns).await.unwrap();
        shared.outcome(span, end_ns, ProcessUsage::default())
    })
}

/// Opens all connections that stay open; fails only when not one could be opened.
async fn open_all<T: Transport<TcpStream> + 'static>(
    environment: &Real,
    plan: &WorkerPlan,
) -> Result<Vec<Option<Connection<Real, T>>>, WorkerError> {
    if plan.exchanges != Exchanges::UNLIMITED {
        return Ok(plan.slots.iter().map(|_| None).collect());
    }
    let counts_wire = plan.counts_wire;
    let tasks = plan.slots.iter().map(|slot| {
        let (environment, peer, slot) = (environment.clone(), plan.peer.clone(), *slot);
        spawn_local(async move {
            let stream = environment.dial(slot).await?;
            let witness = counts_wire.then(|| environment.witness(&stream)).flatten();
            Ok(Connection {
                transport: T::handshake(stream, &peer).await?,
                witness,
                left: Exchanges::UNLIMITED.0,
            })
        })
    });
    let mut timer = environment.timer()?;
    let deadline_ns = environment.now_ns() + plan.timeout_ns;
    let mut opened = Vec::with_capacity(plan.slots.len());
    for task in tasks.collect::<Vec<_>>() {
        let abort = task.abort_handle();
        opened.push(tokio::select! {
            result = task => result.expect("opening a connection does not panic"),
            _ = timer.until(deadline_ns) => {
                abort.abort();
                Err(FailureKind::ConnectTimedOut)
            }
        });
    }
    match opened.iter().find_map(|result| result.as_ref().err()) {
        Some(kind) if opened.iter().all(Result::is_err) => Err(WorkerError::Open(*kind)),
        _ => Ok(opened.into_iter().map(Result::ok).collect()),
    }
}

/// The tasks of a worker while the load is on.
struct Crew {
    alarms: Vec<Rc<Alarm>>,
    /// Slots that still work, and the news that none does.
    working: Rc<Cell<usize>>,
    finished: Rc<Notify>,
}

impl Crew {
    fn start<E, T, W>(
        wait: Wait,
        shared: &Rc<Shared<E>>,
        slots: Vec<Slot<E, T, W>>,
    ) -> std::io::Result<Self>
    where
        E: Environment,
        T: Transport<E::Stream> + 'static,
        W: Workload<T::Prepared> + 'static,
    {
        let crew = Self {
            alarms: slots.iter().map(|slot| Rc::clone(&slot.alarm)).collect(),
            working: Rc::new(Cell::new(slots.len())),
            finished: Rc::default(),
        };
        for slot in slots {
            let (working, finished) = (Rc::clone(&crew.working), Rc::clone(&crew.finished));
            spawn_local(async move {
                slot.drive().await;
                working.set(working.get() - 1);
                if working.get() == 0 {
                    finished.notify_one();
                }
            });
        }
        match wait {
            Wait::Blocking => {
                spawn_local(pace(Rc::clone(shared), shared.environment.timer()?));
            }
            Wait::Spin => {
                spawn_local(spin(Rc::clone(shared)));
            }
        }
        Ok(crew)
    }

    /// Watches the deadlines until every slot has finished; at `over_ns` ends those that have not.
    /// Returns when that was.
    async fn watch<E: Environment>(
        &self,
        shared: &Shared<E>,
        timer: &mut impl Timer,
        over_ns: u64,
    ) -> std::io::Result<u64> {
        loop {
            let now_ns = shared.environment.now_ns();
            if self.working.get() == 0 {
                return Ok(now_ns);
            }
            tokio::select! {
                biased;
                () = self.finished.notified() => {}
                result = timer.until((now_ns + TICK_NS).min(over_ns.max(now_ns + 1))) => result?,
            }
            let now_ns = shared.environment.now_ns();
            for alarm in &self.alarms {
                alarm.check(now_ns);
                if now_ns >= over_ns {
                    alarm.ring(Ring::Over);
                }
            }
            shared.tick.notify_waiters();
        }
    }
}

/// Notices due operations on time, asleep in between.
async fn pace<E: Environment>(shared: Rc<Shared<E>>, mut timer: impl Timer) {
    while let Some(at_ns) = shared.agenda.next_arrival_ns() {
        timer
            .until(at_ns)
            .await
            .expect("a timer that was made can be set");
        shared.agenda.notice(shared.environment.now_ns());
    }
}

/// Notices due operations and keeps the runtime polling: a task that is always ready never lets it
/// sleep.
async fn spin<E: Environment>(shared: Rc<Shared<E>>) {
    loop {
        shared.agenda.notice(shared.environment.now_ns());
        yield_now().await;
    }
}

impl WorkerPlan {
    const fn span(&self, start_ns: u64) -> Span {
        let window_start_ns = start_ns + self.warm_up_ns;
        Span {
            start_ns,
            window_start_ns,
            end_ns: window_start_ns + self.window_ns,
        }
    }

    fn scope(&self, span: Span) -> Scope {
        Scope {
            span,
            slice_width_ns: self.slice_width_ns,
            is_open_load: self.arrivals.is_some(),
            opens: self.exchanges != Exchanges::UNLIMITED,
            has_staleness: matches!(self.workload, WorkloadSpec::Updates { .. }),
        }
    }

    fn agenda(&self, span: Span) -> Agenda {
        let slots = u32::try_from(self.slots.len()).expect("connections are counted in u32");
        match &self.arrivals {
            None => Agenda::closed(span, self.allowed),
            Some(arrivals) => Agenda::open(span, arrivals.clone(), slots),
        }
    }
}

impl<E: Environment> Shared<E> {
    /// Closes the books: what nobody took is unfinished.
    fn outcome(&self, span: Span, end_ns: u64, usage: ProcessUsage) -> WorkerOutcome {
        let mut recorder = self.recorder.take();
        for intended_ns in self.agenda.take_waiting() {
            recorder.unfinished(intended_ns, end_ns);
        }
        WorkerOutcome {
            recorder,
            issued: self.agenda.issued(),
            span,
            end_ns,
            usage,
        }
    }
}
