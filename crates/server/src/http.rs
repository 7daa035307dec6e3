//! One HTTP connection: hyper reads requests, this routes them, and a WebSocket takes over after its handshake.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use sockrates_core::publishing::is_name;
use sockrates_core::target;

use crate::activity::{Activity, Stage};
use crate::game::Player;
use crate::injection::Transport;
use crate::reply::{HEAD, Refusal, Reply};
use crate::room::Member;
use crate::stream::Watched;
use crate::subscribe::{Places, Subscriptions};
use crate::updates::NAME_FORM;
use crate::worker::{Worker, count};
use crate::{endpoints, game, handshake, push, reply, session, updates};

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
    Updates(Subscriptions),
    Room(Member),
    Game(Player),
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
        Session::Updates(subscriptions) => push::serve(worker, stream, subscriptions).await,
        Session::Room(member) => push::serve(worker, stream, member).await,
        Session::Game(player) => push::serve(worker, stream, player).await,
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
        let path = request.uri().path();
        let allowed = match path {
            target::ECHO | target::DUPLEX_INPUT => Method::POST,
            target::PAYLOAD
            | target::UPDATES_POLL
            | target::UPDATES_LONG_POLL
            | target::UPDATES_STREAM
            | target::DUPLEX_SNAPSHOT
            | target::WS_ECHO
            | target::WS_UPDATES
            | target::WS_DUPLEX
            | target::HEALTHZ => Method::GET,
            _ if path.starts_with(target::WS_ROOM) => Method::GET,
            _ if [target::UPDATES_TOPICS, target::DUPLEX_GAMES]
                .iter()
                .any(|made| path.starts_with(made)) =>
            {
                Method::PUT
            }
            _ => return Err(Refusal::Unknown("no such path\n")),
        };
        if *request.method() != allowed {
            return Err(Refusal::Method(match allowed {
                Method::POST => "POST",
                Method::PUT => "PUT",
                _ => "GET",
            }));
        }
        if path.starts_with("/ws/") {
            return self.upgrade(request);
        }
        let shared = &self.worker.shared;
        let query = request.uri().query().unwrap_or_default();
        let reply = match path {
            target::HEALTHZ => return Ok(endpoints::health()),
            target::UPDATES_STREAM => {
                return updates::stream(&self.worker, &self.activity, query, request.headers());
            }
            target::PAYLOAD => endpoints::payload(query, shared)?,
            target::UPDATES_POLL => updates::poll(query, shared)?,
            target::UPDATES_LONG_POLL => updates::long_poll(query, shared, &self.activity).await?,
            target::DUPLEX_SNAPSHOT => game::snapshot(query, shared)?,
            target::DUPLEX_INPUT => {
                let query = query.to_owned();
                game::input(&query, request.into_body(), shared).await?
            }
            target::ECHO => {
                let mut reply =
                    endpoints::echo(request.into_body(), shared.limits.message_bytes).await?;
                if let Some(faults) = &self.worker.faults {
                    faults.pad(&mut reply);
                }
                reply
            }
            _ if path.starts_with(target::DUPLEX_GAMES) => {
                return game::put(path, query, shared);
            }
            _ => return updates::put(path, query, shared),
        };
        if let Some(faults) = &self.worker.faults {
            faults.before_reply(Transport::Http1).await;
        }
        count(&self.worker.counts.operations);
        Ok(reply)
    }

    fn upgrade(&self, mut request: Request<Incoming>) -> Result<Reply, Refusal> {
        handshake::check(&request)?;
        let (session, heads) = self.session(&request)?;
        // Taken first, so that what follows makes the reply only, and not a stream with a buffer of its own.
        let upgrade = hyper::upgrade::on(&mut request);
        let (reply, _) = fastwebsockets::upgrade::upgrade(&mut request)
            .map_err(|_| Refusal::malformed("bad handshake"))?;
        self.upgrade.set(Some((upgrade, session)));
        let mut reply = reply::switching(&reply);
        if let Some(heads) = heads {
            reply.headers_mut().insert(HEAD, heads);
        }
        Ok(reply)
    }

    /// Makes what a WebSocket is for, and says where its topics stand.
    fn session(
        &self,
        request: &Request<Incoming>,
    ) -> Result<(Session, Option<HeaderValue>), Refusal> {
        let worker = Rc::clone(&self.worker);
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let session = match path {
            target::WS_ECHO => Session::Echo,
            target::WS_DUPLEX => Session::Game(Player::join(worker, query)?),
            target::WS_UPDATES => {
                let cursors = updates::cursors(query, &worker.shared)?;
                let heads: Vec<_> = cursors
                    .iter()
                    .map(|cursor| cursor.sent().to_string())
                    .collect();
                let heads = HeaderValue::from_str(&heads.join(",")).ok();
                let subscriptions = Subscriptions::new(worker, &cursors);
                self.activity.set_backlog(Arc::new(Places(cursors)));
                return Ok((Session::Updates(subscriptions), heads));
            }
            _ => {
                let name = path.strip_prefix(target::WS_ROOM).unwrap_or_default();
                if !is_name(name) {
                    return Err(Refusal::malformed(NAME_FORM));
                }
                let member = Member::join(worker, name)
                    .ok_or(Refusal::Full("there are as many rooms as there may be\n"))?;
                self.activity.set_backlog(member.backlog());
                Session::Room(member)
            }
        };
        Ok((session, None))
    }
}
