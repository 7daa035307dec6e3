//! The floor: a 4-byte big-endian head and the payload, straight over TCP. What other transports
//! cost beyond this is theirs.

use sockrates_core::failure::FailureKind;
use sockrates_core::lane::Lifecycle;
use sockrates_core::target::TCP_LAST;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Peer, READ_BUFFER_BYTES, Reply, Request, Transport};

/// One floor connection.
#[derive(Debug)]
pub struct Tcp<S> {
    stream: S,
    buffer: Box<[u8]>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> for Tcp<S> {
    const NAME: &'static str = "tcp";

    /// Head and payload.
    type Prepared = Vec<u8>;

    fn prepare(request: &Request<'_>, peer: &Peer, prepared: &mut Vec<u8>) -> Option<()> {
        let Request::Echo { payload, .. } = request else {
            return None;
        };
        let last = if peer.lifecycle == Lifecycle::PerRequest {
            TCP_LAST
        } else {
            0
        };
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|length| length & TCP_LAST == 0)?;
        prepared.clear();
        prepared.extend_from_slice(&(length | last).to_be_bytes());
        prepared.extend_from_slice(payload);
        Some(())
    }

    async fn handshake(stream: S, _peer: &Peer) -> Result<Self, FailureKind> {
        Ok(Self {
            stream,
            buffer: vec![0; READ_BUFFER_BYTES].into(),
        })
    }

    async fn exchange<R: Reply>(
        &mut self,
        request: &Vec<u8>,
        reply: &mut R,
    ) -> Result<(), FailureKind> {
        self.stream
            .write_all(request)
            .await
            .map_err(|error| FailureKind::of_io(&error))?;
        let mut filled = self.read(0).await?;
        while filled < HEAD_BYTES {
            filled += self.read(filled).await?;
        }
        let (head, start) = self
            .buffer
            .split_first_chunk()
            .expect("the buffer holds a head");
        let mut missing = u32::from_be_bytes(*head) as usize;
        let mut chunk = &start[..filled - HEAD_BYTES];
        loop {
            reply.feed(chunk);
            // More than was announced: bytes that nobody asked for.
            missing = missing
                .checked_sub(chunk.len())
                .ok_or(FailureKind::Protocol)?;
            if missing == 0 {
                return reply.finish();
            }
            let read = self.read(0).await?;
            chunk = &self.buffer[..read];
        }
    }

    async fn close(mut self) -> Result<(), FailureKind> {
        expect_end(&mut self.stream, &mut self.buffer).await
    }
}

impl<S: AsyncRead + Unpin> Tcp<S> {
    async fn read(&mut self, from: usize) -> Result<usize, FailureKind> {
        read_some(&mut self.stream, &mut self.buffer[from..]).await
    }
}

/// Reads at least one byte; the end of the stream is a failure here.
pub(crate) async fn read_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut [u8],
) -> Result<usize, FailureKind> {
    match stream.read(buffer).await {
        Ok(0) => Err(FailureKind::PeerClosed),
        Ok(read) => Ok(read),
        Err(error) => Err(FailureKind::of_io(&error)),
    }
}

/// Waits for the peer to close; any byte before that is one nobody asked for.
pub(crate) async fn expect_end<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut [u8],
) -> Result<(), FailureKind> {
    match stream.read(buffer).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(FailureKind::Protocol),
        Err(error) => Err(FailureKind::of_io(&error)),
    }
}

const HEAD_BYTES: usize = 4;
