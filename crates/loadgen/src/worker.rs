//! A worker: one thread, one current-thread runtime, its share of a trial's connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use sockrates_core::failure::FailureKind;
use sockrates_core::record::{LoadCost, Silence};
use sockrates_core::scenario::{Wait, Workload as WorkloadSpec};
use sockrates_core::schedule::Arrival;
use sockrates_core::target::ProcessUsage;
use sockrates_probe::{clock, process};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

use crate::agenda::{Agenda, Issued, Span};
use crate::alarm::{Alarm, Ring};
use crate::dial::Dialer;
use crate::drive::Shared;
#[cfg(test)]
use crate::drive::Slot;
use crate::environment::{Environment, Real, Timer};
use crate::live::Live;
#[cfg(test)]
use crate::meter;
use crate::meter::{Meter, WindowMeter, cost_since};
use crate::recorder::{Course, Metrics, Recorder, Scope};
use crate::transport::Peer;
#[cfg(test)]
use crate::transport::Transport;
use crate::watch::{Tick, Watch};
use crate::workload::Exchanges;
#[cfg(test)]
use crate::workload::Workload;

/// From the workers' agreement to the schedule's zero: time to allocate what records.
const LEAD_NS: u64 = 5_000_000;

/// What one worker has to do.
#[derive(Clone, Debug)]
pub(crate) struct WorkerPlan {
    pub(crate) dialer: Dialer,
    pub(crate) peer: Peer,
    pub(crate) workload: WorkloadSpec,
    /// How many connections the trial has, over all workers.
    pub(crate) connections: u32,
    pub(crate) meter: Meter,
    pub(crate) exchanges: Exchanges,
    pub(crate) counts_wire: bool,
    pub(crate) seed: u64,
    pub(crate) wait: Wait,
    /// The numbers of this worker's slots within the trial.
    pub(crate) slots: Vec<u32>,
    /// `None` in a closed loop; slots are numbered within the worker.
    pub(crate) arrivals: Option<Vec<Arrival>>,
    /// When members of rooms ask for what is new, to the end of the drain; slots as above.
    pub(crate) polls: Vec<Arrival>,
    /// What a closed loop may issue.
    pub(crate) allowed: u64,
    pub(crate) warm_up_ns: u64,
    pub(crate) window_ns: u64,
    pub(crate) drain_ns: u64,
    pub(crate) timeout_ns: u64,
    pub(crate) slice_width_ns: u64,
    /// How long the connections of a closed loop take to join one by one.
    pub(crate) ramp_ns: u64,
    pub(crate) live: Arc<Live>,
}

/// Lets workers begin at the same instant.
#[derive(Debug)]
pub(crate) struct Start {
    barrier: Barrier,
    start_ns: AtomicU64,
    /// Connections that were opened ahead, over all workers.
    opened: AtomicU64,
}

/// What one worker did.
#[derive(Debug)]
pub(crate) struct WorkerOutcome {
    pub(crate) recorder: Recorder,
    pub(crate) issued: Issued,
    pub(crate) span: Span,
    pub(crate) end_ns: u64,
    /// This worker's thread, between its start and its end: what else the process does, such as watching the machine, is
    /// the instrument's own.
    pub(crate) usage: ProcessUsage,
    pub(crate) cost: Option<LoadCost>,
    /// The same of the window; absent where the load ended otherwise than by time.
    pub(crate) window_cost: Option<LoadCost>,
    /// The longest time in which operations were open and none ended.
    pub(crate) silence: Option<Silence>,
}

/// What the connections of a worker do.
pub(crate) trait Part {
    /// A connection that is opened ahead of the load.
    type Connection: 'static;

    /// Says what is recorded.
    fn metrics(&self, plan: &WorkerPlan) -> (Metrics, Course);

    /// Says whether connections are opened ahead of the load.
    fn opens_ahead(&self, plan: &WorkerPlan) -> bool;

    /// Opens the connection of one slot, by its place within the worker.
    fn open(
        &self,
        environment: &Real,
        plan: &WorkerPlan,
        place: usize,
    ) -> impl Future<Output = Result<Self::Connection, FailureKind>> + 'static;

    /// Sets everyone to work.
    fn begin(
        &mut self,
        plan: &WorkerPlan,
        connections: Vec<Option<Self::Connection>>,
        shared: &Rc<Shared<Real>>,
        crew: &mut Crew,
    );

    /// Closes the books when the load is over; `waiting` holds the instants of operations that nobody took. Returns what
    /// was issued, where the agenda does not know it.
    fn settle(&mut self, recorder: &mut Recorder, waiting: &[u64], end_ns: u64) -> Option<Issued>;
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
            opened: AtomicU64::new(0),
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

/// Runs a worker to its end on the calling thread. A function of its own, because `scripts/work` counts within it.
#[inline(never)]
pub(crate) fn run<P: Part>(
    plan: &WorkerPlan,
    start: &Start,
    part: P,
) -> Result<WorkerOutcome, WorkerError> {
    // Without the runtime's timers, which are too coarse here (see `probe::timer`).
    let runtime = Builder::new_current_thread()
        .enable_io()
        .build_local(LocalOptions::default())?;
    runtime.block_on(work(plan, start, part))
}

async fn work<P: Part>(
    plan: &WorkerPlan,
    start: &Start,
    mut part: P,
) -> Result<WorkerOutcome, WorkerError> {
    let environment = Real(Rc::new(plan.dialer.clone()));
    let opened = open_all(&environment, plan, &part).await;
    let count = |opened: &Vec<Result<_, _>>| opened.iter().filter(|one| one.is_ok()).count();
    let count = opened.as_ref().map_or(0, count) as u64;
    start.opened.fetch_add(count, Ordering::Relaxed);
    // All workers go to the starting line, the unlucky ones too: the others wait for them.
    let start_ns = start.agree();
    let opened = opened?;
    if let Some(Err(kind)) = opened.first()
        && start.opened.load(Ordering::Relaxed) == 0
    {
        return Err(WorkerError::Open(*kind));
    }
    let connections: Vec<_> = opened.into_iter().map(Result::ok).collect();
    // None of those that are opened under load.
    let connections = if connections.is_empty() {
        plan.slots.iter().map(|_| None).collect()
    } else {
        connections
    };
    let span = plan.span(start_ns);
    let (metrics, course) = part.metrics(plan);
    let mut recorder = Recorder::new(plan.scope(span, metrics, course));
    recorder.connections_opened = connections.iter().flatten().count() as u64;
    let shared = Rc::new(Shared {
        environment,
        agenda: plan.agenda(span),
        recorder: RefCell::new(recorder),
        peer: plan.peer.clone(),
        exchanges: plan.exchanges,
        counts_wire: plan.counts_wire,
        timeout_ns: plan.timeout_ns,
        is_foreign: plan.is_foreign(),
        tick: Tick::default(),
    });
    let mut timer = shared.environment.timer()?;
    timer.until(start_ns).await?;
    let before = process::thread_usage();
    let read = || plan.meter.read(clock::monotonic_ns());
    let cost_before = read();
    let mut crew = Crew::new();
    part.begin(plan, connections, &shared, &mut crew);
    begin_pacing(plan.wait, &shared)?;
    let window_meter = plan.window_meter(&shared.environment, span)?;
    plan.live.begin(start_ns);
    let mut watch = Watch::new(Some(&plan.live), span, plan.drain_ns, plan.brings_news());
    let end_ns = crew.watch(&shared, &mut timer, &mut watch).await?;
    let is_whole = watch.span.end_ns == span.end_ns;
    let span = watch.span;
    let cost = cost_since(&cost_before, &read());
    let usage = process::since(&before, &process::thread_usage());
    let window_cost = match window_meter {
        Some(meter) => meter.finish(is_whole).await,
        None => None,
    };
    let waiting = shared.agenda.take_waiting();
    let issued = part.settle(&mut shared.recorder.borrow_mut(), &waiting, end_ns);
    let outcome = shared.outcome(span, end_ns, usage);
    Ok(WorkerOutcome {
        cost: Some(cost),
        window_cost,
        issued: issued.unwrap_or(outcome.issued),
        silence: watch.silence,
        ..outcome
    })
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
        let mut crew = Crew::new();
        let alarm = Rc::clone(&slot.alarm);
        crew.spawn(&alarm, slot.drive());
        begin_pacing(Wait::Blocking, shared).unwrap();
        let read = meter::of_requests(shared);
        let meter = WindowMeter::begin(span, shared.environment.timer().unwrap(), read);
        let mut watch = Watch::new(None, span, over_ns - span.end_ns, false);
        let end_ns = crew.watch(shared, &mut timer, &mut watch).await.unwrap();
        let window_cost = meter.finish(true).await;
        let waiting = shared.agenda.take_waiting();
        shared
            .recorder
            .borrow_mut()
            .unfinished_all(&waiting, end_ns);
        WorkerOutcome {
            window_cost,
            ..shared.outcome(span, end_ns, ProcessUsage::default())
        }
    })
}

/// Opens all connections that stay open, some at a time; none where they are opened under load. When a whole lot of them
/// fails, or the load is stopped, the rest is not tried.
async fn open_all<P: Part>(
    environment: &Real,
    plan: &WorkerPlan,
    part: &P,
) -> Result<Vec<Result<P::Connection, FailureKind>>, WorkerError> {
    let places: Vec<usize> = (0..plan.slots.len()).collect();
    if !part.opens_ahead(plan) {
        return Ok(Vec::new());
    }
    let mut timer = environment.timer()?;
    let mut opened = Vec::with_capacity(places.len());
    for some in places.chunks(OPENED_AT_ONCE) {
        let before = opened.len();
        let deadline_ns = environment.now_ns() + plan.timeout_ns;
        let open = |place: &usize| spawn_local(part.open(environment, plan, *place));
        for task in some.iter().map(open).collect::<Vec<_>>() {
            let abort = task.abort_handle();
            opened.push(tokio::select! {
                result = task => result.expect("opening a connection does not panic"),
                _ = timer.until(deadline_ns) => {
                    abort.abort();
                    Err(FailureKind::ConnectTimedOut)
                }
            });
        }
        let failed = opened[before..]
            .iter()
            .find_map(|one| one.as_ref().err())
            .copied();
        let is_hopeless = opened[before..].iter().all(Result::is_err);
        if let Some(kind) = failed.filter(|_| is_hopeless || plan.live.is_stopped()) {
            opened.resize_with(places.len(), || Err(kind));
            break;
        }
    }
    Ok(opened)
}

/// Fewer than a server's queue of connections to be accepted holds.
const OPENED_AT_ONCE: usize = 256;

/// The tasks of a worker while the load is on.
pub(crate) struct Crew {
    alarms: Vec<Rc<Alarm>>,
    /// Tasks that still work, and the news that none does.
    working: Rc<Cell<usize>>,
    finished: Rc<Notify>,
}

impl Crew {
    fn new() -> Self {
        Self {
            alarms: Vec::new(),
            working: Rc::default(),
            finished: Rc::default(),
        }
    }

    /// Sets one task to work, which its alarm ends.
    pub(crate) fn spawn(&mut self, alarm: &Rc<Alarm>, work: impl Future<Output = ()> + 'static) {
        self.alarms.push(Rc::clone(alarm));
        self.working.set(self.working.get() + 1);
        let (working, finished) = (Rc::clone(&self.working), Rc::clone(&self.finished));
        spawn_local(async move {
            work.await;
            working.set(working.get() - 1);
            if working.get() == 0 {
                finished.notify_one();
            }
        });
    }

    /// Watches the deadlines until every slot has finished; when the drain is over ends those that have not.
    /// Returns when that was.
    async fn watch<E: Environment>(
        &self,
        shared: &Shared<E>,
        timer: &mut impl Timer,
        watch: &mut Watch<'_>,
    ) -> std::io::Result<u64> {
        loop {
            if self.working.get() == 0 {
                return Ok(shared.environment.now_ns());
            }
            let deadlines = self.alarms.iter().filter_map(|alarm| alarm.deadline_ns());
            let now_ns = shared.environment.now_ns();
            let next_ns = watch.next_ns(shared, now_ns, deadlines);
            tokio::select! {
                biased;
                () = self.finished.notified() => {}
                // Someone waits for a tick, which comes earlier than the next look.
                () = shared.tick.asked() => continue,
                // Never for an instant that has come already: that wait would not let the others have a turn.
                result = timer.until(next_ns) => result?,
            }
            let now_ns = shared.environment.now_ns();
            watch.look(shared, now_ns);
            let over_ns = watch.over_ns();
            for alarm in &self.alarms {
                alarm.check(now_ns);
                if now_ns >= over_ns {
                    alarm.ring(Ring::Over);
                }
            }
            shared.tick.strike();
        }
    }
}

/// Begins to notice due operations.
fn begin_pacing<E: Environment>(wait: Wait, shared: &Rc<Shared<E>>) -> std::io::Result<()> {
    match wait {
        Wait::Blocking => {
            spawn_local(pace(Rc::clone(shared), shared.environment.timer()?));
        }
        Wait::Spin => {
            spawn_local(spin(Rc::clone(shared)));
        }
    }
    Ok(())
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

    const fn scope(&self, span: Span, records: Metrics, course: Course) -> Scope {
        Scope {
            span,
            slice_width_ns: self.slice_width_ns,
            is_open_load: self.arrivals.is_some(),
            records,
            course,
            connections: self.connections,
        }
    }

    /// Says whether the workload is a user's own, for a server of which nothing is known.
    pub(crate) const fn is_foreign(&self) -> bool {
        matches!(self.workload, WorkloadSpec::Custom(_))
    }

    /// Returns when a slot of a closed loop joins: one after the other over the ramp.
    pub(crate) fn joins_ns(&self, slot: u32, start_ns: u64) -> u64 {
        let ramp_ns = if self.arrivals.is_none() {
            self.ramp_ns
        } else {
            0
        };
        start_ns + ramp_ns * u64::from(slot) / u64::from(self.connections.max(1))
    }

    /// Begins to meter the window, where what clients cost in it is of interest and time ends the load.
    fn window_meter(&self, environment: &Real, span: Span) -> std::io::Result<Option<WindowMeter>> {
        if !self.brings_news() || self.allowed != u64::MAX {
            return Ok(None);
        }
        let meter = self.meter;
        let read = move || meter.read(clock::monotonic_ns());
        Ok(Some(WindowMeter::begin(span, environment.timer()?, read)))
    }

    /// Says whether clients mostly wait for what others say.
    const fn brings_news(&self) -> bool {
        matches!(
            self.workload,
            WorkloadSpec::Updates { .. }
                | WorkloadSpec::Fanout { .. }
                | WorkloadSpec::Duplex { .. }
        )
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
    fn outcome(&self, span: Span, end_ns: u64, usage: ProcessUsage) -> WorkerOutcome {
        WorkerOutcome {
            recorder: self.recorder.take(),
            issued: self.agenda.issued(),
            span,
            end_ns,
            usage,
            cost: None,
            window_cost: None,
            silence: None,
        }
    }
}
