//! A relay between client and server that mistreats what the server says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What is done to each connection's bytes from the server.
#[derive(Clone, Copy)]
pub(crate) enum Mischief {
    /// Nothing; only counts.
    None,
    /// One byte at a time.
    Trickle,
    /// Cuts the connection before this byte.
    CutAt(u64),
    /// Turns one bit of this byte.
    FlipAt(u64),
    /// Puts bytes that nobody asked for behind this byte.
    GarbageBehind(u64),
}

/// Starts a relay to `server`. Returns its address and the count of relayed bytes from the server.
/// Its threads end with the test.
pub(crate) fn start(server: SocketAddr, mischief: Mischief) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let relayed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&relayed);
    thread::spawn(move || {
        for client in listener.incoming() {
            relay(client.unwrap(), server, mischief, &count);
        }
    });
    (address, relayed)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the relay stands for a network, not for a client"
)]
fn relay(client: TcpStream, server: SocketAddr, mischief: Mischief, count: &Arc<AtomicU64>) {
    let server = TcpStream::connect(server).unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut up_from, mut up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut up_from, &mut up_to);
        let _ = up_to.shutdown(Shutdown::Write);
    });
    let count = Arc::clone(count);
    thread::spawn(move || {
        // Whoever goes away first ends the relay; that is what it is for.
        let _ = down(server, &client, mischief, &count);
        let _ = client.shutdown(Shutdown::Both);
    });
}

fn down(
    mut server: TcpStream,
    mut client: &TcpStream,
    mischief: Mischief,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut position = 0;
    loop {
        let read = server.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let chunk = &mut buffer[..read];
        let span = position..position + read as u64;
        position = span.end;
        count.fetch_add(read as u64, Ordering::SeqCst);
        let here = |at: u64| {
            span.contains(&at)
                .then(|| usize::try_from(at - span.start).unwrap())
        };
        match mischief {
            Mischief::None => client.write_all(chunk)?,
            Mischief::Trickle => chunk
                .iter()
                .try_for_each(|byte| client.write_all(&[*byte]))?,
            Mischief::CutAt(at) => match here(at) {
                Some(index) => return client.write_all(&chunk[..index]),
                None => client.write_all(chunk)?,
            },
            Mischief::FlipAt(at) => {
                if let Some(index) = here(at) {
                    chunk[index] ^= 1;
                }
                client.write_all(chunk)?;
            }
            Mischief::GarbageBehind(at) => match here(at) {
                Some(index) => {
                    let (before, after) = chunk.split_at(index + 1);
                    client.write_all(&[before, b"GARBAGE!", after].concat())?;
                }
                None => client.write_all(chunk)?,
            },
        }
    }
}
