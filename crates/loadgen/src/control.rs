//! What a trial asks of the server around the load: topics, rooms and games before it, and afterwards what there was to know.

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
use crate::preflight::harmless;
use crate::recorder::Recorder;
use crate::transport::http1::Http1;
use crate::transport::{Peer, Reply, Request, Transport};
use crate::workload::updates::{topic_name, topic_seed};
use crate::workload::{chat, game};

/// A connection for questions that are no part of the load.
pub(crate) struct Control {
    runtime: Runtime,
    connection: Http1<TcpStream>,
    peer: Peer,
}

/// Why a question got no answer of use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unmet {
    /// There was none, or one that cannot be read.
    #[error("{0}")]
    Failed(#[from] FailureKind),
    /// It was refused.
    #[error("{asked} is answered with status {status}{says}")]
    Refused {
        /// Method and path.
        asked: String,
        /// The status.
        status: u16,
        /// What the server says about it, with a colon ahead of it; empty when it says nothing.
        says: String,
    },
}

/// What a topic's history tells of the updates after a sequence.
#[derive(Debug, Default, Eq, PartialEq)]
struct History {
    /// Up to this sequence, updates have left the history; 0 when all are there.
    gone_to: u64,
    /// Sequence and creation of those that are there.
    updates: Vec<(u64, u64)>,
}

/// A reply, collected.
#[derive(Default)]
struct Collected {
    status: u16,
    head: Option<u64>,
    oldest: Option<u64>,
    body: Vec<u8>,
}

impl Reply for Collected {
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        self.status = status;
        Ok(())
    }

    fn head(&mut self, sequence: u64) {
        self.head = Some(sequence);
    }

    fn oldest(&mut self, sequence: u64) {
        self.oldest = Some(sequence);
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.body.extend_from_slice(chunk);
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        Ok(())
    }
}

impl Collected {
    fn refusal(&self, asked: String) -> Unmet {
        let said = harmless(self.body.trim_ascii());
        Unmet::Refused {
            asked,
            status: self.status,
            says: if said.is_empty() {
                said
            } else {
                format!(": {said}")
            },
        }
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
    pub(crate) fn prepare(&mut self, spec: &TrialSpec) -> Result<(), Unmet> {
        match spec.cell.workload {
            Workload::Echo { .. } | Workload::Custom(_) => Ok(()),
            // Who opens a WebSocket makes a room.
            Workload::Fanout { .. } if !spec.cell.workload.speaks_apart(&spec.cell.lane) => Ok(()),
            Workload::Fanout { .. } => {
                let connections = spec.cell.connections;
                let members = spec.cell.workload.room_members(connections);
                (0..connections / members.unwrap_or(connections)).try_for_each(|room| {
                    let (path, name) = (target::CHAT_ROOMS, chat::room_name(room));
                    self.put(&format!("{path}{name}"))
                })
            }
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

    /// Counts the updates of the load that listeners have not got: asks for what came after the last they saw. Those that
    /// have left the history are lost, too; when they were created is not known, so that they count as late in the load as
    /// they can have been.
    pub(crate) fn count_lost(
        &mut self,
        topics: u32,
        span: Span,
        end_ns: u64,
        recorder: &mut Recorder,
    ) -> Result<(), Unmet> {
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
            let History { gone_to, updates } = self.history(&topic_name(topic, topics), since)?;
            let mut book = |count: u64, created_ns: u64| {
                recorder.unfinished_many(count, created_ns, end_ns);
                if recorder.is_in_open_window(created_ns) {
                    recorder.updates.lost += count;
                }
            };
            let gone = lasts.iter().map(|last| gone_to.saturating_sub(*last));
            let next_ns = updates.first().map_or(u64::MAX, |(_, ns)| *ns);
            book(gone.sum(), next_ns.min(span.end_ns.saturating_sub(1)));
            for (sequence, created_ns) in updates {
                if (span.start_ns..span.end_ns).contains(&created_ns) {
                    let lost = lasts.iter().filter(|last| **last < sequence).count();
                    book(lost as u64, created_ns);
                }
            }
        }
        Ok(())
    }

    /// Returns what a topic's history tells of the updates after this one. A publisher may be faster than the questions:
    /// then all is gone that there was at the last of them.
    fn history(&mut self, topic: &str, since: u64) -> Result<History, Unmet> {
        let (mut since, mut gone_to) = (since, 0);
        for left in (0..HISTORY_TRIES).rev() {
            let reply = self.ask(&Request::Poll {
                topic,
                since: Some(since),
                timeout_ms: None,
            })?;
            match (reply.status, reply.oldest.zip(reply.head)) {
                (204, _) => {
                    let updates = Vec::new();
                    return Ok(History { gone_to, updates });
                }
                (200, _) => {
                    let updates = created(&reply.body)?;
                    return Ok(History { gone_to, updates });
                }
                (GONE, Some((oldest, head))) => {
                    let last = if left > 0 {
                        oldest.saturating_sub(1)
                    } else {
                        head
                    };
                    gone_to = last.max(since);
                    since = gone_to;
                }
                _ => return Err(reply.refusal(format!("GET {}", target::UPDATES_POLL))),
            }
        }
        Ok(History {
            gone_to,
            updates: Vec::new(),
        })
    }

    fn put(&mut self, target: &str) -> Result<(), Unmet> {
        let reply = self.ask(&Request::Put { target })?;
        match reply.status {
            200 | 201 => Ok(()),
            _ => Err(reply.refusal(format!("PUT {target}"))),
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

/// Returns sequence and creation of the updates in a reply.
fn created(lines: &[u8]) -> Result<Vec<(u64, u64)>, FailureKind> {
    let lines = lines.split(|byte| *byte == b'\n');
    let update = |line| Update::parse(line).map(|update| (update.sequence, update.created_ns));
    lines
        .filter(|line| !line.is_empty())
        .map(|line| update(line).ok_or(FailureKind::WrongPayload))
        .collect()
}

/// The status of a request for updates that have left the history.
const GONE: u16 = 410;
/// How often the history is asked for before it counts as gone altogether.
const HISTORY_TRIES: u32 = 4;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers the requests of one connection with these replies, one by one; returns what was asked.
    fn scripted(replies: &'static [&'static str]) -> (Control, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            for reply in replies {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap();
                asked.push(request.lines().next().unwrap().to_owned());
                stream.write_all(reply.as_bytes()).unwrap();
            }
            asked
        });
        let control = Control::new(&Dialer::new(address, &[]), "test".to_owned()).unwrap();
        (control, server)
    }

    const GONE_TO_9: &str = "HTTP/1.1 410 Gone\r\nx-sockrates-oldest: 10\r\n\
        x-sockrates-head: 12\r\ncontent-length: 4\r\n\r\nold\n";
    const REST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n10 5 x\n11 6 yz\n\n";

    #[test]
    fn what_has_left_the_history_is_told_from_what_is_there() {
        let (mut control, server) = scripted(&[GONE_TO_9, REST]);
        let history = control.history("t0", 3).unwrap();
        assert_eq!(
            (history.gone_to, history.updates),
            (9, vec![(10, 5), (11, 6)])
        );
        let asked = server.join().unwrap();
        assert!(
            asked[0].contains("since=3") && asked[1].contains("since=9"),
            "{asked:?}"
        );
    }

    #[test]
    fn a_publisher_that_outruns_every_question_has_published_up_to_the_last_head() {
        let (mut control, server) = scripted(&[GONE_TO_9; HISTORY_TRIES as usize]);
        let history = control.history("t0", 3).unwrap();
        assert_eq!((history.gone_to, history.updates), (12, Vec::new()));
        server.join().unwrap();
    }

    #[test]
    fn a_refusal_is_told_with_its_status() {
        let full =
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 16\r\n\r\ntoo many topics\n";
        let (mut control, server) =
            scripted(&[REST, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]);
        control.put("/updates/topics/t0?rate=1").unwrap();
        assert_eq!(
            control.history("t0", 3).unwrap_err().to_string(),
            "GET /updates/poll is answered with status 404"
        );
        server.join().unwrap();
        let (mut control, server) = scripted(Box::leak(Box::new([full])));
        assert_eq!(
            control
                .put("/updates/topics/t0?rate=1")
                .unwrap_err()
                .to_string(),
            "PUT /updates/topics/t0?rate=1 is answered with status 503: too many topics"
        );
        server.join().unwrap();
    }
}
