//! Whether a server that is running already is there, and fulfils the target contract as far as one question can tell.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use sockrates_core::target::HEALTHZ;
use sockrates_probe::clock;

/// How long the server may take to answer one question.
const PATIENCE: Duration = Duration::from_nanos(PATIENCE_NS);
const PATIENCE_NS: u64 = 5_000_000_000;

/// Asks a server how it is; says in words what is wrong.
pub(super) fn check(address: SocketAddr) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot reach {address}: {error}");
    let mut socket =
        Socket::new(Domain::for_address(address), Type::STREAM, None).map_err(cannot)?;
    socket
        .connect_timeout(&address.into(), PATIENCE)
        .map_err(cannot)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
    let request = format!("GET {HEALTHZ} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).map_err(cannot)?;
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    // The status line will do: a server may keep the connection all the same.
    let deadline_ns = clock::monotonic_ns() + PATIENCE_NS;
    while !head[..filled].contains(&b'\n')
        && filled < HEAD_BYTES
        && clock::monotonic_ns() < deadline_ns
    {
        match socket.read(&mut head[filled..]).map_err(cannot)? {
            0 => break,
            read => filled += read,
        }
    }
    let line = head[..filled]
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    if line.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    Err(format!(
        "{address} answers GET {HEALTHZ} with `{}` instead of 200: does it do what docs/TARGET.md says? (`sockrates run URL` measures any server)",
        line.escape_ascii()
    ))
}

/// The status line is at the beginning.
const HEAD_BYTES: usize = 1024;
