//! Clients that listen and speak at once over one WebSocket: members of rooms, players of a game.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;

use rand::Rng;
use sockrates_core::failure::FailureKind;
use sockrates_core::payload;
use sockrates_core::record::Metric;
use sockrates_core::seed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::agenda::{Due, Issued};
use crate::alarm::Alarm;
use crate::drive::Shared;
use crate::environment::{Environment, Real};
use crate::post::Places;
use crate::recorder::{Course, Metrics, Recorder};
use crate::transport::websocket::listen::{self, Ear, Mouth};
use crate::worker::{Crew, Part, WorkerPlan};

/// One client: what it makes of what it hears, and what it says, over a WebSocket or over HTTP.
pub(crate) trait Voice {
    /// The times it has, besides the schedule's lag.
    const TIMES: &'static [Metric];
    /// The time that the course of a trial shows.
    const COURSE: Metric;

    /// Returns the path of its WebSocket, with its query.
    fn target(&self) -> String;

    /// Takes what it heard. A break says that nothing after it can be trusted.
    fn hear(
        &mut self,
        message: &[u8],
        received_ns: u64,
        recorder: &mut Recorder,
    ) -> ControlFlow<()>;

    /// Writes what it says when an operation is due; returns the message's number.
    fn say(&mut self, due: Due, recorder: &mut Recorder, message: &mut Vec<u8>) -> u64;

    /// Returns where it speaks and listens over HTTP.
    fn places(&self) -> Places;

    /// Takes apart what polls and streams bring: its number, and what is heard; `None` when it is no such thing.
    fn cut(line: &[u8]) -> Option<(u64, &[u8])>;

    /// Learns that the request with what it said was not answered as it should be.
    fn refused(
        &mut self,
        number: u64,
        intended_ns: u64,
        kind: FailureKind,
        recorder: &mut Recorder,
    );

    /// Learns that listening over HTTP failed at this instant.
    fn troubled(&mut self, at_ns: u64, kind: FailureKind);

    /// Returns how many operations a message is.
    fn operations_per_message(&self) -> u64;

    /// Closes its books when the load is over, and adds what it has issued.
    fn settle(&mut self, recorder: &mut Recorder, end_ns: u64, issued: &mut Issued);
}

/// The clients of one worker.
pub(crate) struct Conversing<V> {
    voices: Vec<Rc<RefCell<V>>>,
    masks: Rc<Vec<[u8; 4]>>,
}

impl<V> Conversing<V> {
    /// Makes it of the voices of a worker's slots.
    pub(crate) fn new(voices: Vec<V>, run_seed: u64) -> Self {
        let mut random = seed::stream(run_seed, "mask", 0);
        let masks = (0..payload::RING).map(|_| random.random()).collect();
        Self {
            voices: voices.into_iter().map(RefCell::new).map(Rc::new).collect(),
            masks: Rc::new(masks),
        }
    }
}

impl<V: Voice + 'static> Part for Conversing<V> {
    type Connection = (Ear<TcpStream>, Mouth<TcpStream>);

    fn metrics(&self, _plan: &WorkerPlan) -> (Metrics, Course) {
        let metrics = Metrics::default().and(V::TIMES);
        (metrics.and(&[Metric::ScheduleLag]), Course::News(V::COURSE))
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
        let (environment, peer, slot) = (environment.clone(), plan.peer.clone(), plan.slots[place]);
        let target = self.voices[place].borrow().target();
        async move {
            let stream = environment.dial(slot).await?;
            let (ear, mouth, _) = listen::open(stream, &peer, &target).await?;
            Ok((ear, mouth))
        }
    }

    fn begin(
        &mut self,
        _plan: &WorkerPlan,
        connections: Vec<Option<Self::Connection>>,
        shared: &Rc<Shared<Real>>,
        crew: &mut Crew,
    ) {
        for ((ends, voice), local) in connections.into_iter().zip(&self.voices).zip(0..) {
            let Some((ear, mouth)) = ends else { continue };
            let (hears, speaks) = (Rc::<Alarm>::default(), Rc::<Alarm>::default());
            let one = Conversation {
                voice: Rc::clone(voice),
                shared: Rc::clone(shared),
            };
            crew.spawn(&hears, one.clone().listen(Rc::clone(&hears), ear));
            let masks = Rc::clone(&self.masks);
            crew.spawn(&speaks, one.speak(Rc::clone(&speaks), mouth, masks, local));
        }
    }

    fn settle(&mut self, recorder: &mut Recorder, waiting: &[u64], end_ns: u64) -> Option<Issued> {
        settle(&self.voices, recorder, waiting, end_ns)
    }
}

/// Closes the books of all clients when the load is over, and returns what they issued; `waiting` holds the instants of
/// what nobody said.
pub(crate) fn settle<V: Voice>(
    voices: &[Rc<RefCell<V>>],
    recorder: &mut Recorder,
    waiting: &[u64],
    end_ns: u64,
) -> Option<Issued> {
    let mut issued = Issued::default();
    for voice in voices {
        voice.borrow_mut().settle(recorder, end_ns, &mut issued);
    }
    // What nobody said is as many operations as it would have been.
    let each = voices.first()?.borrow().operations_per_message();
    for intended_ns in waiting {
        recorder.unfinished_many(each, *intended_ns, end_ns);
        recorder.issue(each, *intended_ns, &mut issued);
    }
    Some(issued)
}

/// What the two tasks of one client share.
struct Conversation<E, V> {
    voice: Rc<RefCell<V>>,
    shared: Rc<Shared<E>>,
}

impl<E, V> Clone for Conversation<E, V> {
    fn clone(&self) -> Self {
        Self {
            voice: Rc::clone(&self.voice),
            shared: Rc::clone(&self.shared),
        }
    }
}

impl<E: Environment, V: Voice> Conversation<E, V> {
    /// Listens until the alarm says that it is over, the connection ends, or nothing can be trusted any more.
    async fn listen<S>(self, alarm: Rc<Alarm>, mut ear: Ear<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        while let Ok(Ok(message)) = alarm.wait(pin!(ear.hear())).await {
            let received_ns = self.shared.environment.now_ns();
            let recorder = &mut self.shared.recorder.borrow_mut();
            let mut voice = self.voice.borrow_mut();
            if voice.hear(message, received_ns, recorder).is_break() {
                return;
            }
        }
    }

    /// Says what is due, until nothing more is or the connection ends.
    async fn speak<S>(
        self,
        alarm: Rc<Alarm>,
        mut mouth: Mouth<S>,
        masks: Rc<Vec<[u8; 4]>>,
        local: u32,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shared = &self.shared;
        let now_ns = || shared.environment.now_ns();
        let mut message = Vec::new();
        while let Ok(Some(due)) = alarm.wait(pin!(shared.agenda.next(local, now_ns))).await {
            message.clear();
            let number = {
                let mut recorder = shared.recorder.borrow_mut();
                recorder.noticed(due);
                let mut voice = self.voice.borrow_mut();
                voice.say(due, &mut recorder, &mut message)
            };
            let mask = masks[usize::try_from(number).unwrap_or(0) % masks.len()];
            let said = alarm.wait(pin!(mouth.say(&mut message, mask))).await;
            if !matches!(said, Ok(Ok(()))) {
                return;
            }
        }
    }
}
