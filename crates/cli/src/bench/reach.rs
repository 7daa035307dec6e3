//! Whether a server that is running already is there, and fulfils the target contract as far as one question can tell.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use sockrates_core::target::HEALTHZ;

/// How long the server may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let mut head = Vec::new();
    socket
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(cannot)?;
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if line.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    Err(format!(
        "{address} answers GET {HEALTHZ} with `{}` instead of 200: does it do what docs/TARGET.md says? (`sockrates run URL` measures any server)",
        line.escape_ascii()
    ))
}

/// The status line is at the beginning.
const HEAD_BYTES: u64 = 1024;
