//! One worker: a thread that accepts and serves connections of its own.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use sockrates_core::payload::{self, PayloadKind};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

use crate::activity::Allowed;
use crate::connections::{Connections, Places};
use crate::faults::Faults;
use crate::game::Games;
use crate::injection::{Injection, Stalling};
use crate::pause::pause;
use crate::room::Rooms;
use crate::stream::Watched;
use crate::topics::Topics;
use crate::{Config, Limits, clockwork, floor, http};

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) topics: Topics,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) games: Games,
    pub(crate) places: Places,
    /// How late the latest update or tick came into being, of all so far.
    pub(crate) publisher_lag_max_ns: AtomicU64,
    faults: Faults,
    stall: Option<Arc<Stalling>>,
    payload: OnceLock<Bytes>,
}

impl Shared {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = config.limits.clone();
        let places = Places {
            taken: Arc::default(),
            limit: limits.connections,
        };
        Self {
            limits,
            topics: Topics::new(config.workers, &config.publisher),
            rooms: Arc::default(),
            games: Games::default(),
            places,
            publisher_lag_max_ns: AtomicU64::new(0),
            faults: config.faults.clone(),
            stall: config
                .faults
                .stall
                .map(|stall| Arc::new(Stalling::new(stall))),
            payload: OnceLock::new(),
        }
    }

    /// Returns the bytes that `/payload` serves the beginning of, made at its first use.
    pub(crate) fn payload(&self) -> &Bytes {
        self.payload.get_or_init(|| {
            payload::generate(PayloadKind::Binary, self.limits.message_bytes, 0, 0).into()
        })
    }
}

/// What one worker needs to serve.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) http: http1::Builder,
    pub(crate) counts: Counts,
    /// Faults to make happen; `None` for a good server.
    pub(crate) faults: Option<Injection>,
    connections: Rc<Connections>,
}

/// What one worker has done; only its thread writes, and hands them over at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: Cell<u64>,
    pub(crate) refused: Cell<u64>,
    /// Operations answered. Over HTTP, a reply counts once it is handed to hyper to be written.
    pub(crate) operations: Cell<u64>,
    /// Connections ended because of a time or size limit.
    pub(crate) cut: Cell<u64>,
    /// Updates published.
    pub(crate) published: Cell<u64>,
    /// How late the last of them was.
    pub(crate) publisher_lag_ns: Cell<u64>,
    /// Subscriptions opened.
    pub(crate) subscriptions: Cell<u64>,
    /// Copies handed to subscribers.
    pub(crate) deliveries: Cell<u64>,
    /// Subscribers disconnected because they read too slowly.
    pub(crate) dropped: Cell<u64>,
    /// Snapshots skipped because a later one was there already.
    pub(crate) coalesced: Cell<u64>,
}

/// Adds one.
#[inline]
pub(crate) fn count(counter: &Cell<u64>) {
    add(counter, 1);
}

/// Adds so many.
#[inline]
pub(crate) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// Where a worker's connections come from.
pub(crate) struct Doors {
    pub(crate) http: TcpListener,
    pub(crate) tcp: TcpListener,
}

#[derive(Clone, Copy)]
enum Protocol {
    Http,
    Floor,
}

/// Serves until `stop` is sent or dropped, and returns what was done.
pub(crate) fn run(
    runtime: LocalRuntime,
    shared: Arc<Shared>,
    index: usize,
    doors: Doors,
    stop: oneshot::Receiver<()>,
) -> Counts {
    let mut http = http1::Builder::new();
    http.max_header_size(shared.limits.header_bytes);
    let worker = Rc::new(Worker {
        connections: Rc::new(Connections::new(shared.places.clone())),
        counts: Counts::default(),
        faults: Injection::new(&shared.faults, shared.stall.clone(), index),
        http,
        shared,
    });
    let serving = Rc::clone(&worker);
    runtime.block_on(async move {
        let doors = [(doors.http, Protocol::Http), (doors.tcp, Protocol::Floor)].map(
            |(listener, protocol)| spawn_local(Rc::clone(&serving).accept(listener, protocol)),
        );
        spawn_local(Rc::clone(&serving).sweep());
        spawn_local(clockwork::run(Rc::clone(&serving), index));
        if let Some(stall) = serving.shared.stall.clone() {
            spawn_local(async move { stall.take_part().await });
        }
        // Sent or dropped: both mean the end.
        let _ = stop.await;
        doors.iter().for_each(JoinHandle::abort);
        serving.connections.drain().await;
    });
    // Ends what is left.
    drop(runtime);
    worker.counts.clone()
}

impl Worker {
    async fn accept(self: Rc<Self>, listener: TcpListener, protocol: Protocol) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream, protocol),
                Err(error) if is_of_one_connection(&error) => {}
                // Out of descriptors or memory: the connection stays in the queue, and asking again at once would spin.
                Err(_) => pause(ACCEPT_AGAIN).await,
            }
        }
    }

    fn admit(self: &Rc<Self>, stream: TcpStream, protocol: Protocol) {
        let Some(place) = self.connections.enter() else {
            count(&self.counts.refused);
            return;
        };
        count(&self.counts.accepted);
        // Fails only when the client is gone already, which its first read will show.
        let _ = stream.set_nodelay(true);
        let worker = Rc::clone(self);
        let activity = Arc::clone(place.activity());
        match protocol {
            Protocol::Http => {
                place.spawn(http::serve(worker, Watched::of_requests(stream, activity)));
            }
            Protocol::Floor => place.spawn(async move {
                floor::serve(&worker, Watched::of_messages(stream, activity)).await;
            }),
        }
    }

    async fn sweep(self: Rc<Self>) {
        let allowed = Allowed::new(&self.shared.limits);
        self.connections.sweep(allowed, &self.counts).await;
    }
}

/// Returns whether the error came with a connection that ended while it waited.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Long enough to cost nothing, short enough for a client that waits.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);
