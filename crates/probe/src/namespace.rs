//! A network of one's own: ports, `TIME_WAIT` table, counters and settings that no other process shares.

use std::io;

use nix::sched::{CloneFlags, unshare};

/// Moves the calling process into a fresh network namespace whose loopback interface is up. Needs `CAP_SYS_ADMIN`, or
/// a kernel that lets users make user namespaces; must be called while the process has a single thread.
pub fn enter() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
        .or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET))
        .map_err(io::Error::from)
        .and_then(|()| raise_loopback())
}

#[expect(unsafe_code, reason = "no safe wrapper sets an interface's flags")]
fn raise_loopback() -> io::Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: `socket` takes no pointers; the result is checked before it is owned.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `socket` is a descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = UP_AND_RUNNING;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives until the call returns.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "both flags lie in the low 16 bits"
)]
const UP_AND_RUNNING: libc::c_short = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    /// A namespace is a thread's, so that other tests keep theirs. Without the permission there is nothing to test.
    #[test]
    fn a_fresh_network_has_free_ports_and_a_loopback_interface_that_is_up() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let test = move || {
            if let Err(error) = super::enter() {
                // A process with several threads makes no user namespace.
                assert!(matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::InvalidInput
                ));
                return;
            }
            let own = TcpListener::bind(address).unwrap();
            #[expect(
                clippy::disallowed_methods,
                reason = "a bare connection is the subject"
            )]
            let client = TcpStream::connect(address).unwrap();
            assert_eq!(own.accept().unwrap().1, client.local_addr().unwrap());
        };
        std::thread::spawn(test).join().unwrap();
    }
}
