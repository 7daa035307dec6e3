//! Listening sockets: one for each worker on the same address, among which the kernel deals out connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::StartError;

/// Binds so many listeners to one address; port 0 takes a free one for all.
pub(crate) fn bind(
    address: SocketAddr,
    count: usize,
    allow_remote: bool,
) -> Result<Vec<TcpListener>, StartError> {
    if !allow_remote && !address.ip().to_canonical().is_loopback() {
        return Err(StartError::Remote(address));
    }
    bind_all(address, count).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::Taken(address),
        _ => StartError::Listen { address, source },
    })
}

/// `SO_REUSEPORT` would let a second server of the same user share a taken port in silence. So the first socket is
/// bound without it, which fails when any other socket listens there, and shares its port only from then on.
fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let first = socket(address)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    first.listen(BACKLOG)?;
    let first = TcpListener::from(first);
    let shared = first.local_addr()?;
    let others = (1..count).map(|_| {
        let other = socket(address)?;
        other.set_reuse_port(true)?;
        other.bind(&shared.into())?;
        other.listen(BACKLOG)?;
        Ok(TcpListener::from(other))
    });
    let others: Vec<_> = others.collect::<io::Result<_>>()?;
    Ok(std::iter::once(first).chain(others).collect())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it. A kernel without it keeps its default, which the client sees and records.
    let _ = socket.set_tcp_congestion(b"cubic");
    Ok(socket)
}

/// Room for all clients of a trial to connect at once; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn listeners_share_a_port_that_nobody_else_gets() {
        let shared = bind(ANY, 3, false).unwrap();
        let address = shared[0].local_addr().unwrap();
        assert!(
            shared
                .iter()
                .all(|listener| listener.local_addr().unwrap() == address)
        );
        assert!(
            matches!(bind(address, 3, false), Err(StartError::Taken(taken)) if taken == address)
        );
        drop(shared);
        assert!(bind(address, 2, false).is_ok());
    }

    #[test]
    fn all_listeners_get_connections() {
        let shared = bind(ANY, 3, false).unwrap();
        let address = shared[0].local_addr().unwrap().into();
        let clients: Vec<_> = (0..200).map(|_| socket(ANY).unwrap()).collect();
        for client in &clients {
            client.set_nonblocking(false).unwrap();
            client.connect(&address).unwrap();
        }
        let accepted: Vec<_> = shared
            .iter()
            .map(|listener| std::iter::from_fn(|| listener.accept().ok()).count())
            .collect();
        assert_eq!(accepted.iter().sum::<usize>(), 200);
        // A fair deal leaves one of them out once in 10^35 times.
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
    }

    #[test]
    fn only_loopback_needs_no_permission() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            let address = address.parse().unwrap();
            assert!(
                matches!(bind(address, 1, false), Err(StartError::Remote(_))),
                "{address}"
            );
        }
        // Documentation addresses belong to no machine: asking for one fails only later.
        let elsewhere = "192.0.2.1:0".parse().unwrap();
        assert!(matches!(
            bind(elsewhere, 1, true),
            Err(StartError::Listen { .. })
        ));
    }
}
