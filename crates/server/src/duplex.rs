//! How players take part in a game: over one WebSocket both ways, or by posting inputs and asking for
//! snapshots, or following them.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fastwebsockets::{CloseCode, OpCode};
use hyper::body::Incoming;
use sockrates_core::publishing::{self, GameSpec};
use sockrates_core::snapshot;

use crate::activity::Activity;
use crate::endpoints;
use crate::events::{Source, Tell};
use crate::game::{Connected, Game, Next, PlayerId, TooMany, Unconnected, View};
use crate::messages::{End, RESTART};
use crate::push::{self, Outlet};
use crate::reply::{self, BAD_NAME, Refusal, Reply, TEXT};
use crate::stream::Watched;
use crate::wait;
use crate::worker::{Counts, Shared, Worker, add, count};

/// Makes a game, or replaces it.
pub(crate) fn make(name: &str, query: &str, shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    if !publishing::is_name(name) {
        return Err(BAD_NAME);
    }
    let spec = GameSpec::parse(query).map_err(Refusal::Query)?;
    reply::check_payload(spec.payload_bytes, shared)?;
    let is_new = shared
        .games
        .make(name, spec, shared)
        .map_err(|TooMany| Refusal::Full("too many games\n"))?;
    Ok(reply::made(is_new))
}

/// Takes one input.
pub(crate) async fn input(query: &str, body: Incoming, shared: &Shared) -> Result<Reply, Refusal> {
    let (game, name) = find(query, shared)?;
    let input = endpoints::whole(body, shared.limits.message_bytes).await?;
    let number = snapshot::input_number(&input)
        .ok_or(Refusal::Malformed("an input begins with its number\n"))?;
    game.input(player(&game, name)?, number);
    Ok(reply::no_content())
}

/// Answers with the latest snapshot.
pub(crate) fn snapshot(query: &str, shared: &Shared) -> Result<Reply, Refusal> {
    let (game, name) = find(query, shared)?;
    let since = since(query)?;
    let player = player(&game, name)?;
    Ok(shown(game.after_tick(player, since)))
}

/// Returns the last tick that a player has seen.
fn since(query: &str) -> Result<u64, Refusal> {
    publishing::parameter(query, "since").map_or(Ok(0), |value| {
        let number = publishing::whole_number(value);
        number.ok_or(Refusal::Malformed("since must be the number of a tick\n"))
    })
}

/// Makes the reply that shows a tick, if there is one to be shown.
fn shown(view: Option<View>) -> Reply {
    view.map_or_else(reply::no_content, |view| {
        let mut line = view.line();
        line.push(b'\n');
        reply::ok(TEXT, line.into())
    })
}

/// Answers with the latest snapshot as soon as it is new.
pub(crate) async fn long_poll(
    query: &str,
    shared: &Shared,
    activity: &Activity,
) -> Result<Reply, Refusal> {
    let (game, name) = find(query, shared)?;
    let since = since(query)?;
    let timeout = wait::timeout(query).ok_or(Refusal::Malformed(wait::SENSELESS))?;
    let player = player(&game, name)?;
    let seat = game.sit();
    let look = || match game.answer_after(player, since) {
        Next::Nothing => None,
        next => Some(next),
    };
    let found = wait::for_news(&seat, timeout, activity, look).await;
    Ok(shown(match found {
        Some(Next::View(view)) => Some(view),
        _ => None,
    }))
}

/// Answers with a stream of events, one for each tick.
pub(crate) fn stream(query: &str, worker: &Rc<Worker>) -> Result<Reply, Refusal> {
    let play = connect(query, &worker.shared)?;
    count(&worker.counts.subscriptions);
    let watching = Watching {
        worker: Rc::clone(worker),
        play,
    };
    Ok(reply::events(Source::Game(watching)))
}

/// Connects a player.
pub(crate) fn connect(query: &str, shared: &Shared) -> Result<Play, Refusal> {
    let (game, name) = find(query, shared)?;
    match game.connect(name) {
        Ok((connected, seen)) => Ok(Play { connected, seen }),
        Err(Unconnected::Twice) => Err(Refusal::Conflict("this player is connected already\n")),
        Err(Unconnected::TooMany) => Err(TOO_MANY_PLAYERS),
    }
}

/// Returns the game asked for, and the player's name.
fn find<'a>(query: &'a str, shared: &Shared) -> Result<(Arc<Game>, &'a str), Refusal> {
    let name = |parameter| {
        publishing::parameter(query, parameter)
            .filter(|name| publishing::is_name(name))
            .ok_or(BAD_NAME)
    };
    let (game, player) = (name("game")?, name("player")?);
    let game = shared.games.get(game);
    Ok((game.ok_or(Refusal::Unknown("no such game\n"))?, player))
}

fn player(game: &Game, name: &str) -> Result<PlayerId, Refusal> {
    game.player(name).map_err(|TooMany| TOO_MANY_PLAYERS)
}

/// A connected player, and how many ticks of its game it has seen or missed.
pub(crate) struct Play {
    connected: Connected,
    seen: u64,
}

/// Serves one player to its end.
pub(crate) async fn serve(worker: &Worker, stream: Watched, play: Play) {
    count(&worker.counts.subscriptions);
    push::serve(worker, stream, Playing { worker, play }).await;
}

impl Play {
    /// Returns the next tick to be shown; `None` when the game is over. A tick once returned counts as delivered.
    fn poll(&mut self, context: &Context<'_>, counts: &Counts) -> Poll<Option<View>> {
        let Self { connected, seen } = self;
        connected.seat.register(context.waker());
        match connected.game.after_count(connected.player, *seen) {
            Next::View(view) => {
                add(&counts.coalesced, view.count() - *seen - 1);
                count(&counts.deliveries);
                *seen = view.count();
                Poll::Ready(Some(view))
            }
            Next::Nothing => Poll::Pending,
            Next::Over => Poll::Ready(None),
        }
    }
}

/// A player that is shown ticks by a stream of events.
pub(crate) struct Watching {
    worker: Rc<Worker>,
    play: Play,
}

impl Watching {
    /// Returns what comes next.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Tell> {
        let next = self.play.poll(context, &self.worker.counts);
        next.map(|view| view.map_or(Tell::Over, |view| Tell::Events(event(&view.line()))))
    }
}

/// Makes a snapshot's event: its tick is the id.
fn event(line: &[u8]) -> Bytes {
    let mut parts = line.splitn(2, |byte| *byte == b' ');
    let mut next = || parts.next().unwrap_or_default();
    [b"id: ", next(), b"\ndata: ", next(), b"\n\n"]
        .concat()
        .into()
}

struct Playing<'a> {
    worker: &'a Worker,
    play: Play,
}

impl Outlet for Playing<'_> {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        let next = self.play.poll(context, &self.worker.counts);
        next.map(|view| match view {
            Some(view) => Ok(push::frame(OpCode::Text, &[&view.line()])),
            None => Err(End::Farewell(RESTART, "game replaced".into())),
        })
    }

    fn message(&mut self, _: OpCode, payload: &[u8]) -> Result<(), End> {
        let number = snapshot::input_number(payload).ok_or(End::Violation(CloseCode::Invalid))?;
        let Connected { game, player, .. } = &self.play.connected;
        game.input(*player, number);
        count(&self.worker.counts.operations);
        Ok(())
    }
}

const TOO_MANY_PLAYERS: Refusal = Refusal::Full("too many players\n");
