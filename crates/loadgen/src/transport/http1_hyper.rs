//! The control lane `http1-persistent@hyper`: the same requests through hyper's client, to show what
//! a full client library adds to what the lean one costs. What hyper allocates is hyper's.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use sockrates_core::failure::FailureKind;
use sockrates_core::lane::Lifecycle;
use sockrates_core::target;
use tokio::io::{AsyncRead, AsyncWrite};

use super::http1::write_target;
use super::{Peer, Reply, Request, Transport};

type Driver<S> = Pin<Box<Connection<TokioIo<S>, Full<Bytes>>>>;

/// One HTTP/1.1 connection of hyper's client, driven by the task that uses it.
pub struct HyperHttp1<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    sender: SendRequest<Full<Bytes>>,
    connection: Driver<S>,
}

/// The parts of a request; hyper takes a request by value, so that it is put together anew.
#[derive(Debug, Default)]
pub struct Parts {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    closes: bool,
    body: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Transport<S> for HyperHttp1<S> {
    const NAME: &'static str = "http1@hyper";

    type Prepared = Parts;

    fn prepare(request: &Request<'_>, peer: &Peer, prepared: &mut Parts) -> Option<()> {
        prepared.host = Some(HeaderValue::from_str(&peer.host).ok()?);
        prepared.closes = peer.lifecycle == Lifecycle::PerRequest;
        match request {
            Request::Echo { payload, .. } => {
                prepared.method = Method::POST;
                prepared.uri = Uri::from_static(target::ECHO);
                prepared.body = Bytes::copy_from_slice(payload);
            }
            Request::Poll { .. } => {
                let mut target = Vec::new();
                write_target(request, &mut target).ok()?;
                prepared.method = Method::GET;
                prepared.uri = Uri::try_from(target).ok()?;
                prepared.body = Bytes::new();
            }
            // A control is for what it controls.
            Request::Input { .. }
            | Request::Snapshot { .. }
            | Request::Get { .. }
            | Request::Post { .. }
            | Request::Put { .. }
            | Request::Custom { .. } => return None,
        }
        Some(())
    }

    async fn handshake(stream: S, _peer: &Peer) -> Result<Self, FailureKind> {
        let made = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| failure(&error))?;
        Ok(Self {
            sender,
            connection: Box::pin(connection),
        })
    }

    async fn exchange<R: Reply>(
        &mut self,
        request: &Parts,
        reply: &mut R,
    ) -> Result<(), FailureKind> {
        let Self { sender, connection } = self;
        drive(connection, async {
            sender.ready().await?;
            let response = sender.send_request(request.assemble()).await?;
            let status = reply.status(response.status().as_u16());
            let head = response.headers().get(target::HEAD_HEADER);
            if let Some(sequence) = head.and_then(|head| head.to_str().ok()?.parse().ok()) {
                reply.head(sequence);
            }
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                if let Some(data) = frame?.data_ref() {
                    reply.feed(data);
                }
            }
            Ok(status)
        })
        .await??;
        reply.finish()
    }

    async fn close(self) -> Result<(), FailureKind> {
        let Self { sender, connection } = self;
        drop(sender);
        connection.await.map_err(|error| failure(&error))
    }
}

impl Parts {
    fn assemble(&self) -> hyper::Request<Full<Bytes>> {
        let mut request = hyper::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.extend(self.host.clone().map(|host| (HOST, host)));
        headers.extend(
            self.closes
                .then(|| (CONNECTION, HeaderValue::from_static("close"))),
        );
        request
    }
}

/// Runs `work` together with its connection in this task: spawning the connection would add two
/// task switches to each exchange.
async fn drive<S, T>(
    connection: &mut Driver<S>,
    work: impl Future<Output = Result<T, hyper::Error>>,
) -> Result<T, FailureKind>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done.map_err(|error| failure(&error)));
        }
        let ended = connection.as_mut().poll(context);
        // What the connection has just read may be all that the work waits for.
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done.map_err(|error| failure(&error)));
        }
        match ended {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Err(FailureKind::PeerClosed)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(failure(&error))),
        }
    })
    .await
}

fn failure(error: &hyper::Error) -> FailureKind {
    use std::error::Error;
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    match io {
        Some(error) => FailureKind::of_io(error),
        None if error.is_parse() => FailureKind::Protocol,
        None => FailureKind::PeerClosed,
    }
}
