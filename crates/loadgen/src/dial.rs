//! The only place that opens connections: source address, socket options, connect, and errors by name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use sockrates_core::failure::FailureKind;
use tokio::net::{TcpSocket, TcpStream};

/// The congestion control of every socket, so that the host's default is no hidden factor.
const CONGESTION_CONTROL: &str = "cubic";

/// Opens connections to one address from a set of source addresses.
#[derive(Clone, Debug)]
pub struct Dialer {
    target: SocketAddr,
    sources: Vec<Ipv4Addr>,
}

impl Dialer {
    /// Dials `target`. With sources, slot `i` binds to source `i` modulo their number, which multiplies the ephemeral
    /// ports at hand; they are left aside for a target that is not an IPv4 loopback address.
    pub fn new(target: SocketAddr, sources: &[Ipv4Addr]) -> Self {
        let can_bind = matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        Self {
            target,
            sources: if can_bind {
                sources.to_vec()
            } else {
                Vec::new()
            },
        }
    }

    /// Returns how many source addresses are in use.
    pub fn source_count(&self) -> usize {
        self.sources.len().max(1)
    }

    /// Opens one connection.
    pub async fn dial(&self, slot: u32) -> Result<TcpStream, FailureKind> {
        let socket = self.socket(slot).map_err(|error| connect_failure(&error))?;
        let socket = TcpSocket::from_std_stream(socket.into());
        socket
            .connect(self.target)
            .await
            .map_err(|error| connect_failure(&error))
    }

    fn socket(&self, slot: u32) -> io::Result<Socket> {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(self.target), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        // Absent from a kernel's allowed list, the default stays; `facts` says which it is.
        let _ = socket.set_tcp_congestion(CONGESTION_CONTROL.as_bytes());
        if let Some(source) = self.sources.get(slot as usize % self.source_count()) {
            // The port is chosen at connect, where only the whole four-tuple must be free.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::from((*source, 0)).into())?;
        }
        Ok(socket)
    }
}

/// Reads back what stands on a socket: `TCP_NODELAY` and the congestion control's name.
pub fn facts(stream: &TcpStream) -> io::Result<(bool, String)> {
    let socket = SockRef::from(stream);
    let name = socket.tcp_congestion()?;
    let name = String::from_utf8_lossy(&name)
        .trim_end_matches('\0')
        .to_owned();
    Ok((socket.tcp_nodelay()?, name))
}

fn connect_failure(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => {
            FailureKind::ConnectAddressNotAvailable
        }
        io::ErrorKind::ConnectionRefused => FailureKind::ConnectRefused,
        io::ErrorKind::ConnectionReset => FailureKind::ConnectReset,
        io::ErrorKind::TimedOut => FailureKind::ConnectTimedOut,
        _ => match error.raw_os_error() {
            Some(EMFILE | ENFILE) => FailureKind::ConnectNoDescriptor,
            _ => FailureKind::ConnectOther,
        },
    }
}

/// No `io::ErrorKind` names these two (Linux numbers, the same on every architecture).
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_errors_have_names() {
        let name = |code| connect_failure(&io::Error::from_raw_os_error(code));
        assert_eq!(name(99), FailureKind::ConnectAddressNotAvailable);
        assert_eq!(name(24), FailureKind::ConnectNoDescriptor);
        assert_eq!(name(111), FailureKind::ConnectRefused);
        assert_eq!(name(104), FailureKind::ConnectReset);
        assert_eq!(name(110), FailureKind::ConnectTimedOut);
        assert_eq!(name(1), FailureKind::ConnectOther);
    }

    #[tokio::test]
    async fn sockets_are_bound_spread_and_optioned() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sources = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
        let dialer = Dialer::new(listener.local_addr().unwrap(), &sources);
        for (slot, source) in [(0, sources[0]), (1, sources[1]), (2, sources[0])] {
            let stream = dialer.dial(slot).await.unwrap();
            assert_eq!(stream.local_addr().unwrap().ip(), source);
            assert!(facts(&stream).unwrap().0);
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialer = Dialer::new(listener.local_addr().unwrap(), &[]);
        drop(listener);
        assert_eq!(
            dialer.dial(0).await.unwrap_err(),
            FailureKind::ConnectRefused
        );
    }
}
