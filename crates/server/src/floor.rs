//! The floor: messages with a 4-byte head straight over TCP. What a protocol costs beyond this is its own.

use sockrates_core::target::TCP_LAST;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::activity::Stage;
use crate::injection::Transport;
use crate::stream::Watched;
use crate::worker::{Worker, count};

/// Serves one connection to its end.
pub(crate) async fn serve(worker: &Worker, stream: Watched) {
    let mut floor = Floor {
        stream,
        buffer: vec![0; FIRST_BYTES],
        filled: 0,
    };
    // Nothing is left to say to a client that is gone.
    let _ = floor.run(worker).await;
}

struct Floor {
    stream: Watched,
    /// Grows to the largest message of the connection.
    buffer: Vec<u8>,
    filled: usize,
}

impl Floor {
    async fn run(&mut self, worker: &Worker) -> std::io::Result<()> {
        while self.fill(HEAD_BYTES).await? {
            let head = *self.buffer.first_chunk().expect("the buffer holds a head");
            let head = u32::from_be_bytes(head);
            let (length, is_last) = (head & !TCP_LAST, head & TCP_LAST != 0);
            let end = HEAD_BYTES + length as usize;
            if end - HEAD_BYTES > worker.shared.limits.message_bytes {
                count(&worker.counts.cut);
                return Ok(());
            }
            if !self.fill(end).await? {
                return Ok(());
            }
            if let Some(faults) = &worker.faults {
                faults.before_reply(Transport::Tcp).await;
            }
            // The reply is the message as it lies there, its top bit cleared: one write, no copy.
            self.buffer[..HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
            self.stream.write_all(&self.buffer[..end]).await?;
            count(&worker.counts.operations);
            if is_last {
                return self.stream.shutdown().await;
            }
            self.stream.activity().enter(Stage::Idle);
            self.buffer.copy_within(end..self.filled, 0);
            self.filled -= end;
        }
        Ok(())
    }

    /// Reads until so many bytes are there; false when the client closes before.
    async fn fill(&mut self, bytes: usize) -> std::io::Result<bool> {
        // With room for one byte more: a read that leaves room shows that the socket is empty, which saves asking it.
        if self.buffer.len() <= bytes {
            self.buffer.resize(bytes + 1, 0);
        }
        while self.filled < bytes {
            match self.stream.read(&mut self.buffer[self.filled..]).await? {
                0 => return Ok(false),
                read => self.filled += read,
            }
        }
        Ok(true)
    }
}

const HEAD_BYTES: usize = 4;
/// As much as hyper and fastwebsockets begin with.
const FIRST_BYTES: usize = 8192;
