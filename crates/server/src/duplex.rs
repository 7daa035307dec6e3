//! How players take part in a game: over one WebSocket both ways, or by posting inputs and asking for snapshots.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fastwebsockets::{CloseCode, OpCode};
use hyper::body::Incoming;
use sockrates_core::publishing::{self, GameSpec};
use sockrates_core::snapshot;

use crate::endpoints;
use crate::game::{Connected, Game, Next, PlayerId, TooMany, Unconnected};
use crate::messages::{End, RESTART};
use crate::push::{self, Outlet};
use crate::reply::{self, BAD_NAME, Refusal, Reply, TEXT};
use crate::stream::Watched;
use crate::worker::{Shared, Worker, add, count};

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
    let since = match publishing::parameter(query, "since") {
        None => 0,
        Some(value) => value
            .parse()
            .map_err(|_| Refusal::Malformed("since must be the number of a tick\n"))?,
    };
    let Some(view) = game.after_tick(player(&game, name)?, since) else {
        return Ok(reply::no_content());
    };
    let mut line = view.line();
    line.push(b'\n');
    Ok(reply::ok(TEXT, line.into()))
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

struct Playing<'a> {
    worker: &'a Worker,
    play: Play,
}

impl Outlet for Playing<'_> {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        let Play { connected, seen } = &mut self.play;
        connected.seat.register(context.waker());
        match connected.game.after_count(connected.player, *seen) {
            Next::View(view) => {
                let counts = &self.worker.counts;
                add(&counts.coalesced, view.count() - *seen - 1);
                count(&counts.deliveries);
                *seen = view.count();
                Poll::Ready(Ok(push::frame(OpCode::Text, &[&view.line()])))
            }
            Next::Nothing => Poll::Pending,
            Next::Over => Poll::Ready(Err(End::Farewell(RESTART, "game replaced".into()))),
        }
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
