//! The echo over WebSocket: every message comes back.

use std::sync::Arc;

use fastwebsockets::{CloseCode, Frame, OpCode, Payload, WebSocketError};
use tokio::io::AsyncWriteExt;

use crate::activity::{Activity, Stage};
use crate::injection::Transport;
use crate::messages::{End, Messages, Received};
use crate::stream::Watched;
use crate::worker::{Worker, count};

/// Serves one WebSocket to its end.
pub(crate) async fn serve(worker: &Worker, stream: Watched) {
    let activity = Arc::clone(stream.activity());
    let mut session = Session {
        worker,
        messages: Messages::new(stream, worker.shared.limits.message_bytes),
        activity,
    };
    let end = loop {
        if let Err(end) = session.serve_frame().await {
            break end;
        }
    };
    // The client is gone, or gets what is left; either way this was all.
    let _ = session.close(end).await;
}

struct Session<'a> {
    worker: &'a Worker,
    messages: Messages<Watched>,
    activity: Arc<Activity>,
}

impl Session<'_> {
    /// Reads one frame and does what it asks for.
    async fn serve_frame(&mut self) -> Result<(), End> {
        match self.messages.next().await? {
            Received::Message(opcode, payload) => {
                if let Some(faults) = &self.worker.faults {
                    faults.before_reply(Transport::WebSocket).await;
                }
                self.write(opcode, payload).await?;
                count(&self.worker.counts.operations);
            }
            Received::Ping(payload) => self.write(OpCode::Pong, payload).await?,
            Received::Nothing => self.rest(),
        }
        Ok(())
    }

    /// Writes a frame of its own: the one that was read still says that it is masked, and would be sent so.
    async fn write(&mut self, opcode: OpCode, payload: Payload<'static>) -> Result<(), End> {
        let frame = Frame::new(true, opcode, None, payload);
        self.messages
            .socket
            .write_frame(frame)
            .await
            .map_err(|_| End::Gone)?;
        self.rest();
        Ok(())
    }

    /// Ends the exchange, unless a message is still under way: control frames must not stretch its time.
    fn rest(&self) {
        if self.messages.is_between_messages() {
            self.activity.enter(Stage::Idle);
        }
    }

    /// Says goodbye, and closes the TCP connection first, as the standard wants of servers.
    async fn close(mut self, end: End) -> Result<(), WebSocketError> {
        let farewell = match end {
            End::Closed(payload) => Frame::close_raw(payload),
            End::Violation(code) => {
                if code == CloseCode::Size {
                    count(&self.worker.counts.cut);
                }
                // The client may be in the middle of what was wrong.
                self.activity.set_lingers(true);
                Frame::close(code.into(), b"")
            }
            End::Farewell(code, reason) => Frame::close(code, reason.as_bytes()),
            End::Gone => return Ok(()),
        };
        self.messages.socket.write_frame(farewell).await?;
        self.messages.socket.into_inner().shutdown().await?;
        Ok(())
    }
}
