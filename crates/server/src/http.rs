//! One HTTP connection: hyper reads requests, this routes them, and a WebSocket takes over after its handshake.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use sockrates_core::target;

use crate::activity::{Activity, Stage};
use crate::injection::Transport;
use crate::reply::{Refusal, Reply};
use crate::stream::Watched;
use crate::worker::{Worker, count};
use crate::{endpoints, handshake, session};

/// What all requests of one connection have in common.
struct Exchange {
    worker: Rc<Worker>,
    activity: Arc<Activity>,
    /// The stream's future after a handshake, and what is served then. The same task serves it, so that one task is one
    /// connection.
    upgrade: Cell<Option<(OnUpgrade, Session)>>,
}

/// What a WebSocket is for.
enum Session {
    Echo,
}

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Watched) {
    let exchange = Rc::new(Exchange {
        activity: Arc::clone(stream.activity()),
        upgrade: Cell::new(None),
        worker,
    });
    let service = service_fn(|request| {
        let exchange = Rc::clone(&exchange);
        async move { Ok::<_, Infallible>(exchange.answer(request).await) }
    });
    let connection = exchange
        .worker
        .http
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if connection
        .await
        .is_err_and(|error| error.is_parse_too_large())
    {
        count(&exchange.worker.counts.cut);
    }
    if let Some((upgrade, session)) = exchange.upgrade.take() {
        serve_upgraded(&exchange.worker, upgrade, session).await;
    }
}

/// Takes the stream back out of hyper, which saves each byte a detour.
async fn serve_upgraded(worker: &Worker, upgrade: OnUpgrade, session: Session) {
    // An error means that the client left before it had the reply.
    let Ok(upgraded) = upgrade.await else { return };
    let Parts { io, read_buf, .. } = upgraded
        .downcast::<TokioIo<Watched>>()
        .expect("the stream that hyper was given");
    let stream = io.into_inner().into_messages(read_buf);
    match session {
        Session::Echo => session::serve(worker, stream).await,
    }
}

impl Exchange {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        self.activity.enter(Stage::Exchange);
        self.activity.set_lingers(false);
        let has_body = !request.body().is_end_stream();
        let reply = self.route(request).await.unwrap_or_else(|refusal| {
            // The body may still be on its way.
            self.activity.set_lingers(has_body);
            if refusal == Refusal::TooLong {
                count(&self.worker.counts.cut);
            }
            refusal.reply()
        });
        self.activity.reply();
        reply
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Reply, Refusal> {
        let (path, method) = (request.uri().path(), request.method());
        let allowed = match path {
            target::ECHO => Method::POST,
            target::PAYLOAD | target::UPDATES_POLL | target::WS_ECHO | target::HEALTHZ => {
                Method::GET
            }
            _ => return Err(Refusal::Unknown("no such path\n")),
        };
        if *method != allowed {
            return Err(Refusal::Method(if allowed == Method::POST {
                "POST"
            } else {
                "GET"
            }));
        }
        let shared = &*self.worker.shared;
        let query = request.uri().query().unwrap_or_default();
        let mut reply = match path {
            target::PAYLOAD => endpoints::payload(query, shared)?,
            target::UPDATES_POLL => endpoints::poll(query, &shared.topic)?,
            target::WS_ECHO => return self.upgrade(request, Session::Echo),
            target::HEALTHZ => return Ok(endpoints::health()),
            _ => endpoints::echo(request.into_body(), shared.limits.message_bytes).await?,
        };
        if let Some(faults) = &self.worker.faults {
            faults.before_reply(Transport::Http1).await;
            // The echo alone is posted.
            if allowed == Method::POST {
                faults.pad(&mut reply);
            }
        }
        count(&self.worker.counts.operations);
        Ok(reply)
    }

    fn upgrade(&self, mut request: Request<Incoming>, session: Session) -> Result<Reply, Refusal> {
        handshake::check(&request)?;
        // Taken first, so that what follows makes the reply only, and not a stream with a buffer of its own.
        let upgrade = hyper::upgrade::on(&mut request);
        let (reply, _) = fastwebsockets::upgrade::upgrade(&mut request)
            .map_err(|_| Refusal::Malformed("bad handshake\n"))?;
        self.upgrade.set(Some((upgrade, session)));
        Ok(reply.map(|_| Full::<Bytes>::default()))
    }
}
