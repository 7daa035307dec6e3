//! The stream under every protocol: a TCP connection that notes its activity.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use sockrates_probe::connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::activity::{Activity, Stage};

/// A TCP connection whose activity is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
    /// What the first byte after silence begins.
    first: Stage,
    /// Bytes that were read too early, by the protocol before this one.
    early: Bytes,
    is_shut: bool,
}

impl Watched {
    /// A stream of requests with heads.
    pub(crate) fn of_requests(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            activity,
            first: Stage::Head,
            early: Bytes::new(),
            is_shut: false,
        }
    }

    /// A stream of messages.
    pub(crate) fn of_messages(stream: TcpStream, activity: Arc<Activity>) -> Self {
        let mut watched = Self::of_requests(stream, activity);
        watched.first = Stage::Exchange;
        watched
    }

    /// Goes on as a stream of messages, beginning with bytes that were already read.
    pub(crate) fn into_messages(mut self, early: Bytes) -> Self {
        self.first = Stage::Exchange;
        // Even an empty part keeps the whole buffer it was cut from.
        self.early = if early.is_empty() {
            Bytes::new()
        } else {
            early
        };
        self
    }

    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Reads until the client closes; the sweeper bounds how long.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ignored = [0; IGNORED_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut ignored);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Drop for Watched {
    /// A connection that was cut because its client does not read is reset: closed in order, the kernel would keep what is
    /// unread, and the connection, for as long as the client reads a byte now and then.
    fn drop(&mut self) {
        if self.activity.is_cut() && connection::has_unsent(self.stream.as_fd()).unwrap_or(true) {
            // A socket that cannot be reset is closed in order.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..count]);
            self.early.advance(count);
            if self.early.is_empty() {
                self.early = Bytes::new();
            }
            self.activity.received(self.first);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.received(self.first);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.activity.sent();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?;
        self.activity.sent();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper comes here after the last byte of a reply has been written, and not before.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_shut = true;
            self.activity.enter(Stage::Exchange);
        }
        if self.activity.lingers() {
            return self.poll_end(cx);
        }
        Poll::Ready(Ok(()))
    }
}

/// Large enough that ignoring a body is cheap, small enough for a stack.
const IGNORED_BYTES: usize = 4096;
