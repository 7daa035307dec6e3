//! Echoes whatever a server says, over the two WebSocket clients that measure: the lanes' and that of `run`. It is what
//! conformance suites ask of a client; nothing is measured here.

use sockrates_core::failure::FailureKind;
use sockrates_core::lane::Lifecycle;
use tokio::io::{AsyncRead, AsyncWrite};

use super::frames::{self, Event, Frames};
use super::handshake::{self, Opening};
use super::{CONTROL_KEY, close_answer, listen};
use crate::transport::Peer;
use crate::transport::prefixed::Prefixed;

/// Which client.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    /// The lanes', on fastwebsockets.
    Lanes,
    /// That of `run`, on the decoder that can be asked without waiting.
    Run,
}

/// Opens a WebSocket on a connected stream and echoes every message until either side ends it. Returns the last message, and
/// how it ended: a Close of the server that was answered is [`FailureKind::PeerClosed`].
pub async fn echo<S: AsyncRead + AsyncWrite + Unpin>(
    client: Client,
    stream: S,
    host: &str,
    target: &str,
) -> (Vec<u8>, FailureKind) {
    let mut last = Vec::new();
    let ended = match client {
        Client::Lanes => echo_lanes(stream, host, target, &mut last).await,
        Client::Run => echo_run(stream, host, target, &mut last).await,
    };
    let Err(ended) = ended;
    (last, ended)
}

async fn echo_lanes<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    target: &str,
    last: &mut Vec<u8>,
) -> Result<std::convert::Infallible, FailureKind> {
    let peer = Peer {
        host: host.to_owned(),
        lifecycle: Lifecycle::Persistent,
        door: None,
    };
    let (mut ear, mut mouth, _) = listen::open(stream, &peer, target).await?;
    loop {
        match ear.attend().await? {
            Some(kind) => {
                last.clear();
                last.extend_from_slice(ear.message());
                let mut message = last.clone();
                mouth.send(kind, &mut message, CONTROL_KEY).await?;
            }
            None => {
                if let Err(kind) = mouth.answer().await {
                    ear.until_the_end().await;
                    return Err(kind);
                }
            }
        }
    }
}

async fn echo_run<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    host: &str,
    target: &str,
    last: &mut Vec<u8>,
) -> Result<std::convert::Infallible, FailureKind> {
    let opening = Opening::plain(host, target);
    let upgraded = handshake::upgrade(&mut stream, &opening).await?;
    let mut frames = Frames::new(Prefixed::new(upgraded.early, stream));
    let mut frame = Vec::new();
    loop {
        match frames.next().await? {
            Event::Message(kind) => {
                last.clear();
                last.extend_from_slice(frames.message());
                frame.clear();
                frames::write_message(kind, CONTROL_KEY, last, &mut frame);
                frames.write(&frame).await?;
            }
            Event::Ping(payload) => frames.write(&frames::pong(CONTROL_KEY, &payload)).await?,
            Event::Close(code) => {
                let answer = frames::close(CONTROL_KEY, close_answer(code));
                frames.write(&answer).await?;
                frames.end().await?;
                return Err(FailureKind::PeerClosed);
            }
        }
    }
}
