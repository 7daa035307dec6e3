//! One HTTP connection: hyper reads requests, this routes them, and a WebSocket takes over after its handshake.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use sockrates_core::target;

use crate::activity::{Activity, Stage};
use crate::duplex::Play;
use crate::injection::Transport;
use crate::reply::{HEAD, Refusal, Reply};
use crate::room::Member;
use crate::stream::Watched;
use crate::subscription::Subscriber;
use crate::worker::{Worker, count};
use crate::{chat, duplex, endpoints, framing, handshake, room, session, subscribe, updates};

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
    Updates(Subscriber),
    Room(Member),
    Play(Play),
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
        Session::Updates(subscriber) => subscribe::serve(worker, stream, subscriber).await,
        Session::Room(member) => room::serve(worker, stream, member).await,
        Session::Play(play) => duplex::serve(worker, stream, play).await,
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
        framing::check(&request)?;
        let (path, method) = (request.uri().path(), request.method());
        let allowed = allowed(path).ok_or(Refusal::Unknown("no such path\n"))?;
        if method.as_str() != allowed {
            return Err(Refusal::Method(allowed));
        }
        let shared = &self.worker.shared;
        let query = request.uri().query().unwrap_or_default();
        let is_echo = path == target::ECHO;
        let mut reply = match path {
            target::PAYLOAD => endpoints::payload(query, shared)?,
            target::UPDATES_POLL => updates::poll(query, shared)?,
            // In a box, so that the futures of other requests stay small.
            target::UPDATES_LONG_POLL => {
                Box::pin(updates::long_poll(query, shared, &self.activity)).await?
            }
            target::UPDATES_STREAM => {
                return updates::stream(query, request.headers(), &self.worker, &self.activity);
            }
            target::WS_UPDATES => {
                let (subscriber, heads) = updates::subscribe(query, &self.worker)?;
                let mut reply = self.upgrade(request, Session::Updates(subscriber))?;
                reply.headers_mut().insert(HEAD, heads);
                return Ok(reply);
            }
            target::DUPLEX_SNAPSHOT => duplex::snapshot(query, shared)?,
            target::DUPLEX_INPUT => {
                let (head, body) = request.into_parts();
                let query = head.uri.query().unwrap_or_default();
                duplex::input(query, body, shared).await?
            }
            target::DUPLEX_LONG_POLL => {
                Box::pin(duplex::long_poll(query, shared, &self.activity)).await?
            }
            target::DUPLEX_STREAM => return duplex::stream(query, &self.worker),
            target::CHAT_POLL => chat::poll(query, shared)?,
            target::CHAT_LONG_POLL => {
                Box::pin(chat::long_poll(query, shared, &self.activity)).await?
            }
            target::CHAT_STREAM => {
                return chat::stream(query, request.headers(), &self.worker, &self.activity);
            }
            target::CHAT_SAY => {
                let (head, body) = request.into_parts();
                let query = head.uri.query().unwrap_or_default();
                Box::pin(chat::say(query, body, shared)).await?
            }
            target::WS_ECHO => return self.upgrade(request, Session::Echo),
            target::WS_DUPLEX => {
                let play = duplex::connect(query, shared)?;
                return self.upgrade(request, Session::Play(play));
            }
            target::HEALTHZ => return Ok(endpoints::health()),
            target::ECHO => {
                endpoints::echo(request.into_body(), shared.limits.message_bytes).await?
            }
            _ => {
                if let Some(game) = path.strip_prefix(target::DUPLEX_GAMES) {
                    return duplex::make(game, query, shared);
                }
                if let Some(room) = path.strip_prefix(target::CHAT_ROOMS) {
                    return chat::make(room, shared);
                }
                if path.starts_with(target::UPDATES_TOPICS) {
                    return updates::make(path, query, shared);
                }
                let room = path.strip_prefix(target::WS_ROOM).unwrap_or_default();
                let member = room::join(room, shared)?;
                return self.upgrade(request, Session::Room(member));
            }
        };
        if let Some(faults) = &self.worker.faults {
            faults.before_reply(Transport::Http1).await;
            if is_echo {
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
        Ok(reply.map(|_| Either::Left(Full::default())))
    }
}

/// Returns the method that a path takes; `None` for an unknown path.
fn allowed(path: &str) -> Option<&'static str> {
    match path {
        target::ECHO | target::DUPLEX_INPUT | target::CHAT_SAY => Some("POST"),
        target::PAYLOAD
        | target::UPDATES_POLL
        | target::UPDATES_LONG_POLL
        | target::UPDATES_STREAM
        | target::WS_UPDATES
        | target::WS_ECHO
        | target::WS_DUPLEX
        | target::DUPLEX_SNAPSHOT
        | target::DUPLEX_LONG_POLL
        | target::DUPLEX_STREAM
        | target::CHAT_POLL
        | target::CHAT_LONG_POLL
        | target::CHAT_STREAM
        | target::HEALTHZ => Some("GET"),
        _ if path.starts_with(target::DUPLEX_GAMES) => Some("PUT"),
        _ if path.starts_with(target::CHAT_ROOMS) => Some("PUT"),
        _ if path.starts_with(target::UPDATES_TOPICS) => Some("PUT"),
        _ if path.starts_with(target::WS_ROOM) => Some("GET"),
        _ => None,
    }
}
