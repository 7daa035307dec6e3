//! Clients over HTTP that post what they say, and learn of what others say by a stream of events or
//! by polls: members of rooms, players of a game. Two tasks share one [`Voice`], as over a
//! WebSocket; each has a connection of its own, or opens one for each request, as the lane says.
//! Only a stream is always kept: it is one reply.

use std::cell::RefCell;
use std::fmt::Write;
use std::pin::pin;
use std::rc::Rc;

use sockrates_core::failure::FailureKind;
use sockrates_core::record::Metric;
use sockrates_core::scenario::Delivery;
use sockrates_core::target::LONG_POLL_MAX_MS;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::agenda::{Agenda, Issued, Span};
use crate::alarm::{Alarm, Ring};
use crate::ask::{Answer, Line};
use crate::converse::{Voice, settle};
use crate::drive::Shared;
use crate::environment::{Environment, Real, Timer};
use crate::recorder::{Course, Metrics, Recorder};
use crate::transport::sse::Sse;
use crate::transport::{Listen, Request};
use crate::worker::{Crew, Part, WorkerPlan};

/// Where a client over HTTP speaks and listens: paths with their queries.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) post: String,
    pub(crate) stream: String,
    pub(crate) poll: String,
    pub(crate) long_poll: String,
    /// Whether a first poll, which brings nothing, makes it one of those that are told.
    pub(crate) joins: bool,
}

/// The clients of one worker.
pub(crate) struct Posting<V> {
    voices: Vec<Rc<RefCell<V>>>,
    delivery: Delivery,
}

impl<V> Posting<V> {
    /// Makes it of the voices of a worker's slots, which learn of things in this way.
    pub(crate) fn new(voices: Vec<V>, delivery: Delivery) -> Self {
        Self {
            voices: voices.into_iter().map(RefCell::new).map(Rc::new).collect(),
            delivery,
        }
    }
}

/// What a client has open when the load begins.
pub(crate) struct Opened {
    ear: Ear,
    mouth: Line,
}

/// How a client listens.
enum Ear {
    Stream(Sse<TcpStream>),
    /// By requests for what came after a number.
    Polls(Line, u64),
}

impl<V: Voice + 'static> Part for Posting<V> {
    type Connection = Opened;

    fn metrics(&self, _plan: &WorkerPlan) -> (Metrics, Course) {
        let metrics = Metrics::default().and(V::TIMES);
        let posts = [Metric::ScheduleLag, Metric::ServiceTime];
        (metrics.and(&posts), Course::News(V::COURSE))
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
        let places = self.voices[place].borrow().places();
        let line = || Line::new(environment.clone(), plan.peer.clone(), plan.slots[place]);
        let (mut mouth, mut ear) = (line(), line());
        let is_stream = self.delivery == Delivery::Sse;
        async move {
            mouth.open_ahead().await?;
            let ear = if is_stream {
                Ear::Stream(ear.follow(&places.stream).await?)
            } else {
                let since = if places.joins {
                    ear.begin(&places.poll).await?
                } else {
                    0
                };
                Ear::Polls(ear, since)
            };
            Ok(Opened { ear, mouth })
        }
    }

    fn begin(
        &mut self,
        plan: &WorkerPlan,
        connections: Vec<Option<Opened>>,
        shared: &Rc<Shared<Real>>,
        crew: &mut Crew,
    ) {
        let pace = self.pace(plan, shared);
        for ((opened, voice), local) in connections.into_iter().zip(&self.voices).zip(0..) {
            let Some(Opened { ear, mut mouth }) = opened else {
                continue;
            };
            let (hears, speaks) = (Rc::<Alarm>::default(), Rc::<Alarm>::default());
            let one = Client {
                places: Rc::new(voice.borrow().places()),
                voice: Rc::clone(voice),
                shared: Rc::clone(shared),
            };
            let mut opened = mouth.take_opened();
            match ear {
                Ear::Stream(stream) => {
                    opened += 1;
                    let listening = one.clone().follow(Rc::clone(&hears), stream);
                    crew.spawn(&hears, listening);
                }
                Ear::Polls(mut line, since) => {
                    opened += line.take_opened();
                    let asking = Asking {
                        line,
                        since,
                        pace: pace.clone(),
                        local,
                    };
                    crew.spawn(&hears, one.clone().poll(Rc::clone(&hears), asking));
                }
            }
            // One for each client is counted already.
            shared.recorder.borrow_mut().connections_opened += opened.saturating_sub(1);
            crew.spawn(&speaks, one.speak(Rc::clone(&speaks), mouth, local));
        }
    }

    fn settle(&mut self, recorder: &mut Recorder, waiting: &[u64], end_ns: u64) -> Option<Issued> {
        settle(&self.voices, recorder, waiting, end_ns)
    }
}

/// When a client polls.
#[derive(Clone)]
enum Pace {
    /// When the schedule of polls says so.
    Short(Rc<Agenda>),
    /// When the last poll was answered; the server may wait for so long.
    Long { timeout_ms: u32 },
}

impl<V> Posting<V> {
    /// Makes the pace of polls, and begins to notice those that are due. They go on to the end of
    /// the drain, for what was said last.
    fn pace(&self, plan: &WorkerPlan, shared: &Rc<Shared<Real>>) -> Pace {
        if self.delivery != Delivery::ShortPoll {
            // Well before the client gives up.
            let timeout_ms = u32::try_from(plan.timeout_ns / 1_000_000).unwrap_or(u32::MAX);
            let timeout_ms = (timeout_ms / 5 * 4).clamp(1, LONG_POLL_MAX_MS);
            return Pace::Long { timeout_ms };
        }
        let recorder = shared.recorder.borrow();
        let span = Span {
            start_ns: recorder.start_ns(),
            window_start_ns: recorder.start_ns(),
            end_ns: recorder.end_ns() + plan.drain_ns,
        };
        let slots = u32::try_from(plan.slots.len()).expect("connections are counted in u32");
        let agenda = Rc::new(Agenda::open(span, plan.polls.clone(), slots));
        let (polls, environment) = (Rc::clone(&agenda), shared.environment.clone());
        spawn_local(async move {
            let timer = environment.timer();
            let mut timer = timer.expect("as many timers as a worker has tasks that wait");
            while let Some(at_ns) = polls.next_arrival_ns() {
                let waited = timer.until(at_ns).await;
                waited.expect("a timer that was made can be set");
                polls.notice(environment.now_ns());
            }
        });
        Pace::Short(agenda)
    }
}

/// What the two tasks of one client share.
struct Client<V> {
    voice: Rc<RefCell<V>>,
    places: Rc<Places>,
    shared: Rc<Shared<Real>>,
}

impl<V> Clone for Client<V> {
    fn clone(&self) -> Self {
        Self {
            voice: Rc::clone(&self.voice),
            places: Rc::clone(&self.places),
            shared: Rc::clone(&self.shared),
        }
    }
}

/// What a client that polls has.
struct Asking {
    line: Line,
    since: u64,
    pace: Pace,
    local: u32,
}

impl<V: Voice> Client<V> {
    /// Posts what is due, until nothing more is.
    async fn speak(self, alarm: Rc<Alarm>, mut line: Line, local: u32) {
        let shared = &*self.shared;
        let now_ns = || shared.environment.now_ns();
        let (mut message, mut request) = (Vec::new(), Vec::new());
        let mut answer = Answer::new(false);
        while let Ok(Some(due)) = alarm.wait(pin!(shared.agenda.next(local, now_ns))).await {
            message.clear();
            answer.clear();
            let number = {
                let mut recorder = shared.recorder.borrow_mut();
                recorder.noticed(due);
                let mut voice = self.voice.borrow_mut();
                voice.say(due, &mut recorder, &mut message)
            };
            let post = Request::Post {
                target: &self.places.post,
                body: &message,
            };
            line.prepare(&post, &mut request);
            let posted = {
                let posting = pin!(line.exchange(&request, &mut answer));
                alarm
                    .guard(due.started_ns + shared.timeout_ns, posting)
                    .await
            };
            let failure = {
                let recorder = &mut shared.recorder.borrow_mut();
                recorder.connections_opened += line.take_opened();
                match posted {
                    Ok(Ok(answered_ns)) => {
                        let took_ns = answered_ns - due.started_ns;
                        recorder.lasted(Metric::ServiceTime, due.intended_ns, took_ns);
                        None
                    }
                    Ok(Err(kind)) => Some(kind),
                    Err(Ring::TimedOut) => Some(FailureKind::TimedOut),
                    Err(Ring::Over) => return,
                }
            };
            if let Some(kind) = failure {
                {
                    let recorder = &mut shared.recorder.borrow_mut();
                    let mut voice = self.voice.borrow_mut();
                    voice.refused(number, due.intended_ns, kind, recorder);
                }
                // A server that lets nobody in must not be hammered.
                let _ = alarm.wait(pin!(shared.tick.next())).await;
            }
        }
    }

    /// Listens to a stream until the alarm says that it is over. A stream that ends is a failure,
    /// and not opened again: what it would have brought is missing.
    async fn follow(self, alarm: Rc<Alarm>, mut stream: Sse<TcpStream>) {
        loop {
            let Ok(heard) = alarm.wait(pin!(stream.next_update())).await else {
                return;
            };
            let received_ns = self.shared.environment.now_ns();
            let taken = heard.and_then(|line| self.take(line, received_ns));
            if let Err(kind) = taken {
                self.voice.borrow_mut().troubled(received_ns, kind);
                return;
            }
        }
    }

    /// Asks for what is new until the alarm says that it is over. A poll that failed is a failure,
    /// and the next one asks for the same; after a wrong answer nothing more can be trusted.
    async fn poll(self, alarm: Rc<Alarm>, mut asking: Asking) {
        let shared = &*self.shared;
        let (mut target, mut request) = (String::new(), Vec::new());
        let mut answer = Answer::new(true);
        while let Some(started_ns) = asking.turn(shared, &alarm).await {
            asking.write_target(&self.places, &mut target);
            let ask = Request::Get { target: &target };
            asking.line.prepare(&ask, &mut request);
            answer.clear();
            let asked = {
                let exchange = pin!(asking.line.exchange(&request, &mut answer));
                alarm.guard(started_ns + shared.timeout_ns, exchange).await
            };
            let opened = asking.line.take_opened();
            shared.recorder.borrow_mut().connections_opened += opened;
            let taken = match asked {
                Ok(asked) => asked.and_then(|at_ns| self.take_all(&answer, at_ns, asking.since)),
                Err(Ring::TimedOut) => Err(FailureKind::TimedOut),
                Err(Ring::Over) => return,
            };
            match taken {
                Ok(since) => asking.since = since,
                Err(kind) => {
                    let now_ns = shared.environment.now_ns();
                    self.voice.borrow_mut().troubled(now_ns, kind);
                    if FailureKind::ANSWERS.contains(&kind)
                        || alarm.wait(pin!(shared.tick.next())).await.is_err()
                    {
                        return;
                    }
                }
            }
        }
    }

    /// Takes all lines of an answer, and returns the number after which the next one begins.
    fn take_all(&self, answer: &Answer, at_ns: u64, since: u64) -> Result<u64, FailureKind> {
        let mut last = since;
        let lines = answer.body.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            last = self.take(line, at_ns)?.max(last);
        }
        Ok(answer.head.unwrap_or(last).max(last))
    }

    /// Takes one line, and returns its number.
    fn take(&self, line: &[u8], received_ns: u64) -> Result<u64, FailureKind> {
        let (number, message) = V::cut(line).ok_or(FailureKind::WrongPayload)?;
        let recorder = &mut self.shared.recorder.borrow_mut();
        let mut voice = self.voice.borrow_mut();
        if voice.hear(message, received_ns, recorder).is_break() {
            return Err(FailureKind::WrongPayload);
        }
        Ok(number)
    }
}

impl Asking {
    /// Waits for the instant of the next poll; `None` when there will be none.
    async fn turn(&self, shared: &Shared<Real>, alarm: &Alarm) -> Option<u64> {
        let now_ns = || shared.environment.now_ns();
        match &self.pace {
            Pace::Long { .. } => Some(now_ns()),
            Pace::Short(agenda) => {
                let next = alarm.wait(pin!(agenda.next(self.local, now_ns))).await;
                Some(next.ok()??.started_ns)
            }
        }
    }

    fn write_target(&self, places: &Places, target: &mut String) {
        target.clear();
        let since = self.since;
        let written = match self.pace {
            Pace::Short(_) => write!(target, "{}&since={since}", places.poll),
            Pace::Long { timeout_ms } => {
                let path = &places.long_poll;
                write!(target, "{path}&since={since}&timeout_ms={timeout_ms}")
            }
        };
        written.expect("writing to memory cannot fail");
    }
}
