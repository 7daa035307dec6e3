//! Why a server did not start.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Config;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Something else listens there.
    #[error("address {0} is taken; choose another port, or 0 for a free one")]
    Taken(SocketAddr),
    /// Other machines could use this server as a target, and nobody said that this is meant.
    #[error(
        "{0} is no loopback address; other machines could reach the server: allow remote clients if that is meant"
    )]
    Remote(SocketAddr),
    /// The address cannot be listened on, for another reason.
    #[error(
        "cannot listen on {address}; choose an address of this machine and a port this user may take"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A worker cannot run where it should.
    #[error("cannot bind a worker to CPU {cpu}; choose CPUs this process may use")]
    Pin {
        /// The CPU asked for.
        cpu: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// A worker's thread or runtime cannot be made.
    #[error("cannot start a worker; check the limits of threads and open files")]
    Worker(#[from] io::Error),
    /// The configuration makes no sense.
    #[error("{0}")]
    Settings(&'static str),
}

impl StartError {
    /// Returns whether another environment or permission would help, rather than another configuration.
    pub const fn is_environment(&self) -> bool {
        !matches!(self, Self::Settings(_))
    }
}

/// Checks what the types leave open.
pub(crate) fn check(config: &Config) -> Result<(), StartError> {
    let Config {
        limits, publisher, ..
    } = config;
    let rules = [
        (
            config.workers > 0,
            "the number of workers must be at least 1",
        ),
        (
            (128..=256 << 10).contains(&limits.header_bytes),
            "the limit of request heads must be from 128 to 262144 bytes",
        ),
        (
            limits.message_bytes < 1 << 31,
            "the limit of messages must be below 2147483648 bytes",
        ),
        (
            (0.0..=1e6).contains(&publisher.events_per_second),
            "the rate of events must be from 0 to 1000000 a second",
        ),
        (
            publisher.events_per_second <= 0.0
                || publisher.payload_bytes as usize <= limits.message_bytes,
            "the payload of events must not be longer than the limit of messages",
        ),
        (
            ![
                limits.header_read_timeout,
                limits.exchange_timeout,
                limits.idle_timeout,
                limits.keep_alive,
            ]
            .contains(&Duration::ZERO),
            "time limits must be above 0",
        ),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, broken)) => Err(StartError::Settings(broken)),
        None => Ok(()),
    }
}
