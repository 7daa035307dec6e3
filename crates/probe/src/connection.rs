//! What the kernel counted on one TCP connection.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What one end of a connection sent and received, in bytes of payload.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpInfo {
    /// Bytes sent, each counted once however often it was sent.
    pub bytes_sent: u64,
    /// Bytes received in order, read by the application or not.
    pub bytes_received: u64,
    /// Segments with data sent, less retransmitted ones.
    pub data_segments_sent: u64,
    /// Segments with data received, repeated ones included.
    pub data_segments_received: u64,
    /// Segments sent again, SYN and FIN included.
    pub segments_retransmitted: u64,
}

/// Asks the kernel for a TCP socket's counters. Fails with [`io::ErrorKind::Unsupported`] on kernels before 4.19, which
/// do not count sent bytes.
///
/// The kernel counts the peer's FIN as one received byte; this is taken off. On a connection that ended by a reset or a
/// time-out the socket no longer says whether a FIN came before; `bytes_received` may be wrong by one there.
pub fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let raw = ask(fd)?;
    let fin_received = match raw.state {
        CLOSE_WAIT | LAST_ACK | CLOSING | TIME_WAIT => true,
        // Closed both ways, unless an error waits to be read.
        CLOSE => !has_error(fd)?,
        _ => false,
    };
    // SYN and FIN segments can be sent again, but are not among `data_segs_out`.
    let data_segments_again = if raw.bytes_retrans == 0 {
        0
    } else {
        raw.total_retrans
    };
    Ok(TcpInfo {
        bytes_sent: raw.bytes_sent.saturating_sub(raw.bytes_retrans),
        bytes_received: raw.bytes_received.saturating_sub(u64::from(fin_received)),
        data_segments_sent: raw.data_segs_out.saturating_sub(data_segments_again).into(),
        data_segments_received: raw.data_segs_in.into(),
        segments_retransmitted: raw.total_retrans.into(),
    })
}

/// Returns whether the peer has yet to take some of what was sent.
pub fn has_unsent(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let raw = ask(fd)?;
    Ok(raw.unacked > 0 || raw.notsent_bytes > 0)
}

// Connection states, as in the kernel's include/net/tcp_states.h.
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// The kernel's `struct tcp_info` (include/uapi/linux/tcp.h) up to the last field used here; the C library's ends before.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawTcpInfo {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    /// Two window scales of 4 bits.
    window_scales: u8,
    /// Bit fields.
    flags: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
}

// The offsets that a C compiler gives these fields.
const _: () = assert!(
    offset_of!(RawTcpInfo, total_retrans) == 100
        && offset_of!(RawTcpInfo, bytes_received) == 128
        && offset_of!(RawTcpInfo, data_segs_in) == 152
        && offset_of!(RawTcpInfo, bytes_sent) == 200
        && size_of::<RawTcpInfo>() == 216
);

#[expect(unsafe_code, reason = "no safe wrapper knows the later fields")]
fn ask(fd: BorrowedFd<'_>) -> io::Result<RawTcpInfo> {
    let mut info = RawTcpInfo::default();
    let whole = libc::socklen_t::try_from(size_of::<RawTcpInfo>()).expect("the struct is small");
    let mut length = whole;
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`, whose fields are integers that may hold any
    // bits; both pointers live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else if length < whole {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel's TCP_INFO does not count sent bytes (before Linux 4.19)",
        ))
    } else {
        Ok(info)
    }
}

/// Unlike `SO_ERROR`, polling leaves the error where it is.
fn has_error(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default()))?;
    Ok(polled[0].revents().contains(PollFlags::ERR))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_nobody_reads_is_unsent() {
        let (near, far) = pair();
        assert!(!has_unsent(near.as_fd()).unwrap());
        near.set_nonblocking(true).unwrap();
        let full = (0..4000).any(|_| (&near).write(&[0; 1 << 14]).is_err());
        assert!(full && has_unsent(near.as_fd()).unwrap());
        drop(far);
    }

    const REQUESTS: [usize; 3] = [1, 700, 3000];
    const REPLIES: [usize; 3] = [5, 1, 10_000];

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "a bare connection is the subject"
        )]
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
        }
        (client, server)
    }

    fn exchange(mut client: &TcpStream, mut server: &TcpStream) {
        let mut buffer = [0; 10_000];
        for (request, reply) in REQUESTS.into_iter().zip(REPLIES) {
            client.write_all(&vec![1; request]).unwrap();
            server.read_exact(&mut buffer[..request]).unwrap();
            server.write_all(&vec![2; reply]).unwrap();
            client.read_exact(&mut buffer[..reply]).unwrap();
        }
    }

    /// Each message fits one segment of the loopback interface.
    fn client_after_exchange() -> TcpInfo {
        TcpInfo {
            bytes_sent: 3701,
            bytes_received: 10_006,
            data_segments_sent: 3,
            data_segments_received: 3,
            segments_retransmitted: 0,
        }
    }

    fn server_after_exchange() -> TcpInfo {
        TcpInfo {
            bytes_sent: 10_006,
            bytes_received: 3701,
            ..client_after_exchange()
        }
    }

    /// A retransmission on a stalled machine changes nothing but its own count and the receiver's segments.
    #[track_caller]
    fn assert_counts(end: &TcpStream, expected: TcpInfo) {
        let mut counted = tcp_info(end.as_fd()).unwrap();
        counted.segments_retransmitted = 0;
        if counted.data_segments_received > expected.data_segments_received {
            counted.data_segments_received = expected.data_segments_received;
        }
        assert_eq!(counted, expected);
    }

    fn wait_for_end(mut end: &TcpStream) {
        assert_eq!(end.read(&mut [0; 8]).unwrap(), 0);
    }

    fn wait_for_state(end: &TcpStream, state: u8) {
        while ask(end.as_fd()).unwrap().state != state {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_new_connection_has_carried_nothing() {
        let (client, server) = pair();
        assert_counts(&client, TcpInfo::default());
        assert_counts(&server, TcpInfo::default());
    }

    #[test]
    fn payload_bytes_and_segments_are_exact_before_and_after_the_peer_closes() {
        let (client, server) = pair();
        exchange(&client, &server);
        assert_counts(&client, client_after_exchange());
        assert_counts(&server, server_after_exchange());

        client.shutdown(Shutdown::Write).unwrap();
        wait_for_end(&server);
        wait_for_state(&server, CLOSE_WAIT);
        assert_eq!(ask(server.as_fd()).unwrap().bytes_received, 3701 + 1);
        assert_counts(&client, client_after_exchange());
        assert_counts(&server, server_after_exchange());

        server.shutdown(Shutdown::Write).unwrap();
        wait_for_end(&client);
        wait_for_state(&client, CLOSE);
        wait_for_state(&server, CLOSE);
        assert_counts(&client, client_after_exchange());
        assert_counts(&server, server_after_exchange());
    }

    #[test]
    fn an_unread_fin_is_not_payload_either() {
        let (client, mut server) = pair();
        exchange(&client, &server);
        server.write_all(b"more").unwrap();
        drop(server);
        let mut expected = client_after_exchange();
        expected.bytes_received += 4;
        expected.data_segments_received += 1;
        wait_for_state(&client, CLOSE_WAIT);
        assert_counts(&client, expected);
    }

    #[test]
    fn a_reset_is_no_byte() {
        let (mut client, server) = pair();
        exchange(&client, &server);
        // Unread data turns the close into a reset.
        client.write_all(b"unread").unwrap();
        while tcp_info(server.as_fd()).unwrap().bytes_received < 3707 {
            std::thread::yield_now();
        }
        drop(server);
        wait_for_state(&client, CLOSE);
        let mut expected = client_after_exchange();
        expected.bytes_sent += 6;
        expected.data_segments_sent += 1;
        assert_counts(&client, expected);
        assert_eq!(
            client.read(&mut [0; 8]).unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    #[test]
    fn what_is_no_tcp_socket_is_an_error() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(tcp_info(udp.as_fd()).is_err());
    }
}
