//! Starting and stopping: the workers' threads, and what they did.

use std::io;
use std::iter::zip;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use sockrates_core::document::Document;
use sockrates_core::target::{ReadyLine, ServerUsage};
use sockrates_probe::{cpu, process};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;

use crate::worker::{self, Counts, Doors, Shared};
use crate::{Config, StartError, error, listen};

/// A running server. Dropping it stops it, too, but does not wait for its end.
#[derive(Debug)]
pub struct Server {
    http: SocketAddr,
    tcp: SocketAddr,
    shared: Arc<Shared>,
    workers: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<Counts>,
    /// Dropped to stop the worker.
    stop: oneshot::Sender<()>,
}

/// What a worker's thread is given.
struct Start {
    index: usize,
    cpu: Option<u32>,
    shared: Arc<Shared>,
    http: StdListener,
    tcp: StdListener,
}

impl Server {
    /// Starts the workers; when this returns, connections are accepted.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        error::check(config)?;
        let doors = |address| listen::bind(address, config.workers, config.allow_remote);
        let (http, tcp) = (doors(config.listen)?, doors(config.tcp_listen)?);
        let local = |door: &StdListener| door.local_addr().map_err(StartError::Worker);
        let (http_address, tcp_address) = (local(&http[0])?, local(&tcp[0])?);
        let shared = Arc::new(Shared::new(config));
        let (report, reports) = mpsc::channel();
        let mut workers = Vec::new();
        for (index, (http, tcp)) in zip(http, tcp).enumerate() {
            let start = Start {
                index,
                cpu: config.cpus.iter().cycle().nth(index).copied(),
                shared: Arc::clone(&shared),
                http,
                tcp,
            };
            workers.push(start.spawn(report.clone())?);
        }
        // Without its last sender, the loop ends when all workers have reported.
        drop(report);
        reports.iter().collect::<Result<(), _>>()?;
        Ok(Self {
            http: http_address,
            tcp: tcp_address,
            shared,
            workers,
        })
    }

    /// Returns what clients need to know.
    pub fn ready(&self) -> ReadyLine {
        ReadyLine {
            ready: true,
            http: self.http,
            tcp: Some(self.tcp),
            pid: std::process::id(),
        }
    }

    /// Stops accepting, drops idle connections, gives replies under way a second, drops the rest, and returns what was
    /// done. Clients of a dropped WebSocket see the TCP connection end without a Close frame.
    pub fn stop(self) -> ServerUsage {
        let (threads, stops): (Vec<_>, Vec<_>) = self
            .workers
            .into_iter()
            .map(|worker| (worker.thread, worker.stop))
            .unzip();
        drop(stops);
        let mut usage = ServerUsage {
            schema_version: ServerUsage::VERSION,
            ..ServerUsage::default()
        };
        for thread in threads {
            let counts = thread.join().expect("a worker does not panic");
            usage.connections_accepted += counts.accepted.get();
            usage.connections_refused += counts.refused.get();
            usage.operations += counts.operations.get();
            usage.connections_cut += counts.cut.get();
            usage.updates_published += counts.published.get();
            usage.publisher_lag_last_ns = usage
                .publisher_lag_last_ns
                .max(counts.publisher_lag_ns.get());
            usage.subscriptions += counts.subscriptions.get();
            usage.deliveries += counts.deliveries.get();
            usage.subscribers_dropped += counts.dropped.get();
            usage.snapshots_coalesced += counts.coalesced.get();
        }
        usage.publisher_lag_max_ns = self.shared.publisher_lag_max_ns.load(Relaxed);
        usage.process = process::usage();
        usage
    }
}

impl Start {
    fn spawn(self, report: mpsc::Sender<Result<(), StartError>>) -> Result<Running, StartError> {
        let (stop, stopped) = oneshot::channel();
        let name = format!("server-{}", self.index);
        let serve = move || {
            let index = self.index;
            let shared = Arc::clone(&self.shared);
            let (prepared, outcome) = match self.prepare() {
                Ok(prepared) => (Some(prepared), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Nobody listens any more when another worker has failed before.
            let _ = report.send(outcome);
            drop(report);
            prepared.map_or_else(Counts::default, |(runtime, doors)| {
                worker::run(runtime, shared, index, doors, stopped)
            })
        };
        let thread = thread::Builder::new().name(name).spawn(serve)?;
        Ok(Running { thread, stop })
    }

    /// Does what can fail.
    fn prepare(self) -> Result<(LocalRuntime, Doors), StartError> {
        if let Some(cpu) = self.cpu {
            cpu::pin_thread(&[cpu]).map_err(|source| StartError::Pin { cpu, source })?;
        }
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default())?;
        // Registering a socket needs a running runtime.
        let doors = runtime.block_on(async {
            io::Result::Ok(Doors {
                http: TcpListener::from_std(self.http)?,
                tcp: TcpListener::from_std(self.tcp)?,
            })
        })?;
        Ok((runtime, doors))
    }
}
