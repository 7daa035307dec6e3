//! What a trial asks of the server around the load: topics and games before it, and afterwards what there was to know.

use sockrates_core::failure::FailureKind;
use sockrates_core::lane::Lifecycle;
use sockrates_core::plan::TrialSpec;
use sockrates_core::publishing::{GameSpec, TopicSpec};
use sockrates_core::scenario::Workload;
use sockrates_core::target;
use sockrates_core::update::Update;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::agenda::Span;
use crate::dial::Dialer;
use crate::recorder::Recorder;
use crate::transport::http1::Http1;
use crate::transport::{Peer, Reply, Request, Transport};
use crate::workload::game;
use crate::workload::updates::{topic_name, topic_seed};

/// A connection for questions that are no part of the load.
pub(crate) struct Control {
    runtime: Runtime,
    connection: Http1<TcpStream>,
    peer: Peer,
}

/// A reply, collected.
#[derive(Default)]
struct Collected {
    status: u16,
    body: Vec<u8>,
}

impl Reply for Collected {
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        self.status = status;
        Ok(())
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.body.extend_from_slice(chunk);
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        Ok(())
    }
}

impl Control {
    /// Connects.
    pub(crate) fn new(dialer: &Dialer, host: String) -> Result<Self, FailureKind> {
        let runtime = Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(|error| FailureKind::of_io(&error))?;
        let peer = Peer {
            host,
            lifecycle: Lifecycle::Persistent,
            door: None,
        };
        let connection = runtime.block_on(async {
            let stream = dialer.dial(0).await?;
            Http1::handshake(stream, &peer).await
        })?;
        Ok(Self {
            runtime,
            connection,
            peer,
        })
    }

    /// Has the server publish what the workload needs.
    pub(crate) fn prepare(&mut self, spec: &TrialSpec) -> Result<(), FailureKind> {
        match spec.cell.workload {
            Workload::Echo { .. } | Workload::Fanout { .. } | Workload::Custom(_) => Ok(()),
            Workload::Updates {
                events_per_second,
                arrivals,
                payload_bytes,
                topics,
                ..
            } => (0..topics).try_for_each(|topic| {
                let publisher = TopicSpec {
                    events_per_second,
                    arrivals,
                    payload_bytes,
                    seed: topic_seed(spec.seed, topic),
                };
                let (path, name) = (target::UPDATES_TOPICS, topic_name(topic, topics));
                self.put(&format!("{path}{name}?{publisher}"))
            }),
            Workload::Duplex {
                ticks_per_second,
                snapshot_bytes,
                ..
            } => {
                let game = GameSpec {
                    ticks_per_second,
                    payload_bytes: snapshot_bytes,
                    seed: game::game_seed(spec.seed),
                };
                let (path, name) = (target::DUPLEX_GAMES, game::GAME);
                self.put(&format!("{path}{name}?{game}"))
            }
        }
    }

    /// Counts the updates of the load that listeners have not got: asks for what came after the last they saw.
    pub(crate) fn count_lost(
        &mut self,
        topics: u32,
        span: Span,
        end_ns: u64,
        recorder: &mut Recorder,
    ) -> Result<(), FailureKind> {
        let followed = recorder.followed.clone();
        let slots = (0u32..).zip(followed);
        let mut of_topics: Vec<Vec<u64>> = vec![Vec::new(); topics as usize];
        for (slot, last) in slots {
            of_topics[(slot % topics) as usize].push(last);
        }
        for (topic, lasts) in (0..topics).zip(of_topics) {
            let Some(since) = lasts.iter().copied().min() else {
                continue;
            };
            for (sequence, created_ns) in self.updates(&topic_name(topic, topics), since)? {
                if !(span.start_ns..span.end_ns).contains(&created_ns) {
                    continue;
                }
                let lost = lasts.iter().filter(|last| **last < sequence).count() as u64;
                recorder.unfinished_many(lost, created_ns, end_ns);
                if recorder.is_in_open_window(created_ns) {
                    recorder.updates.lost += lost;
                }
            }
        }
        Ok(())
    }

    /// Returns sequence and creation of the updates after this one.
    fn updates(&mut self, topic: &str, since: u64) -> Result<Vec<(u64, u64)>, FailureKind> {
        let reply = self.ask(&Request::Poll {
            topic,
            since: Some(since),
            timeout_ms: None,
        })?;
        let lines = match reply.status {
            204 => return Ok(Vec::new()),
            200 => reply.body.split(|byte| *byte == b'\n'),
            _ => return Err(FailureKind::BadStatus),
        };
        let update = |line| Update::parse(line).map(|update| (update.sequence, update.created_ns));
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| update(line).ok_or(FailureKind::WrongPayload))
            .collect()
    }

    fn put(&mut self, target: &str) -> Result<(), FailureKind> {
        match self.ask(&Request::Put { target })?.status {
            200 | 201 => Ok(()),
            _ => Err(FailureKind::BadStatus),
        }
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Collected, FailureKind> {
        let mut prepared = Vec::new();
        Http1::<TcpStream>::prepare(request, &self.peer, &mut prepared)
            .expect("HTTP carries every request");
        let mut reply = Collected::default();
        let asking = self.connection.exchange(&prepared, &mut reply);
        self.runtime.block_on(asking)?;
        Ok(reply)
    }
}
