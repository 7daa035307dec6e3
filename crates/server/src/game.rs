//! Games: players send inputs, and at every tick each gets a snapshot that says which of its inputs it knows.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use fastwebsockets::{CloseCode, OpCode};
use hyper::body::Incoming;
use sockrates_core::publishing::{GameSpec, is_name, parameter};
use sockrates_core::snapshot::{self, Snapshot};
use sockrates_core::target::DUPLEX_GAMES;
use sockrates_probe::clock;
use sockrates_probe::timer::TimerFd;
use tokio::task::spawn_local;

use crate::audience::{Audience, Seat};
use crate::endpoints::whole;
use crate::messages::End;
use crate::push::{Outlet, frame};
use crate::reply::{self, Refusal, Reply, TEXT};
use crate::subscribe::SERVICE_RESTART;
use crate::updates::NAME_FORM;
use crate::worker::{Shared, Worker, count, count_many};

/// All games by name.
#[derive(Debug, Default)]
pub(crate) struct Games(Mutex<HashMap<String, Arc<Game>>>);

/// One game.
#[derive(Debug)]
pub(crate) struct Game {
    spec: GameSpec,
    /// The latest tick, apart from the state so that whoever has it takes no lock.
    tick: AtomicU64,
    state: Mutex<State>,
    audience: Arc<Audience>,
    is_over: AtomicBool,
}

/// The game as of its latest tick.
#[derive(Debug, Default)]
struct State {
    due_ns: u64,
    created_ns: u64,
    payload: Vec<u8>,
    players: HashMap<String, Arc<PlayerState>>,
}

/// One player's inputs.
#[derive(Debug, Default)]
struct PlayerState {
    /// The largest number so far.
    input: AtomicU64,
    /// The largest number at the latest tick.
    known: AtomicU64,
    is_connected: AtomicBool,
}

/// One player's WebSocket.
pub(crate) struct Player {
    worker: Rc<Worker>,
    game: Arc<Game>,
    state: Arc<PlayerState>,
    seat: Seat,
    sent: u64,
    line: Vec<u8>,
}

impl Games {
    fn get(&self, query: &str) -> Result<Arc<Game>, Refusal> {
        let name = parameter(query, "game").unwrap_or_default();
        let game = self.lock().get(name).cloned();
        game.ok_or(Refusal::Unknown("no such game\n"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Game>>> {
        self.0.lock().expect("nothing panics while it holds games")
    }
}

/// Makes or replaces a game, which then runs on this worker.
pub(crate) fn put(path: &str, query: &str, shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    let name = path.strip_prefix(DUPLEX_GAMES).unwrap_or_default();
    if !is_name(name) {
        return Err(Refusal::malformed(NAME_FORM));
    }
    let spec = GameSpec::parse(query).map_err(Refusal::malformed)?;
    if spec.payload_bytes as usize > shared.limits.message_bytes {
        return Err(Refusal::malformed(
            "`bytes` must not be above the limit of messages",
        ));
    }
    let mut games = shared.games.lock();
    if games.len() >= MOST_GAMES && !games.contains_key(name) {
        return Err(Refusal::Full("there are as many games as there may be\n"));
    }
    let game = Arc::new(Game {
        spec,
        tick: AtomicU64::new(0),
        state: Mutex::default(),
        audience: Arc::default(),
        is_over: AtomicBool::new(false),
    });
    let replaced = games.insert(name.to_owned(), Arc::clone(&game));
    drop(games);
    if let Some(old) = &replaced {
        old.is_over.store(true, Ordering::Release);
        old.audience.wake_all();
    }
    spawn_local(run(game, Arc::clone(shared)));
    Ok(reply::made(replaced.is_none()))
}

/// Takes an input.
pub(crate) async fn input(query: &str, body: Incoming, shared: &Shared) -> Result<Reply, Refusal> {
    let game = shared.games.get(query)?;
    let player = game.player(query)?;
    let input = whole(body, shared.limits.message_bytes).await?;
    let number = snapshot::input_number(&input)
        .ok_or_else(|| Refusal::malformed("an input begins with its number, from 1 on"))?;
    player.input.fetch_max(number, Ordering::Relaxed);
    Ok(reply::no_content())
}

/// Answers with the latest snapshot for a player.
pub(crate) fn snapshot(query: &str, shared: &Shared) -> Result<Reply, Refusal> {
    let game = shared.games.get(query)?;
    let player = game.player(query)?;
    let since = match parameter(query, "since") {
        None => 0,
        Some(value) => value
            .parse()
            .map_err(|_| Refusal::malformed("`since` must be a tick"))?,
    };
    if game.tick.load(Ordering::Acquire) <= since {
        return Ok(reply::no_content());
    }
    let mut line = Vec::new();
    game.write_snapshot(&player, &mut line);
    line.push(b'\n');
    Ok(reply::ok(TEXT, line.into()))
}

/// Ticks until the game is replaced. The n-th tick is due at n periods after the start, whatever became of the others;
/// of ticks that are overdue together the last one counts.
async fn run(game: Arc<Game>, shared: Arc<Shared>) {
    let Ok(mut timer) = TimerFd::new() else {
        return;
    };
    let GameSpec {
        ticks_per_second,
        payload_bytes,
        seed,
    } = game.spec;
    let period_ns = 1e9 / ticks_per_second;
    let start_ns = clock::monotonic_ns();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; `as` saturates above u64"
    )]
    let due_ns = |tick: u64| start_ns + (tick as f64 * period_ns) as u64;
    let mut tick = 1;
    loop {
        let payload = snapshot::payload(seed, tick, payload_bytes as usize);
        if timer.until(due_ns(tick)).await.is_err() || game.is_over.load(Ordering::Acquire) {
            return;
        }
        let now_ns = clock::monotonic_ns();
        shared
            .publisher_lag_max_ns
            .fetch_max(now_ns - due_ns(tick), Ordering::Relaxed);
        let mut state = game.lock();
        state.due_ns = due_ns(tick);
        state.created_ns = now_ns;
        state.payload = payload;
        for player in state.players.values() {
            let input = player.input.load(Ordering::Relaxed);
            player.known.store(input, Ordering::Relaxed);
        }
        game.tick.store(tick, Ordering::Release);
        drop(state);
        game.audience.wake_all();
        tick += 1;
        while due_ns(tick + 1) <= clock::monotonic_ns() {
            tick += 1;
        }
    }
}

impl Game {
    /// Finds or makes a player.
    fn player(&self, query: &str) -> Result<Arc<PlayerState>, Refusal> {
        let name = parameter(query, "player").unwrap_or_default();
        let mut state = self.lock();
        if let Some(player) = state.players.get(name) {
            return Ok(Arc::clone(player));
        }
        if !is_name(name) {
            return Err(Refusal::malformed(NAME_FORM));
        }
        if state.players.len() >= MOST_PLAYERS {
            return Err(Refusal::Full("there are as many players as there may be\n"));
        }
        let player = Arc::<PlayerState>::default();
        state.players.insert(name.to_owned(), Arc::clone(&player));
        Ok(player)
    }

    /// Writes the latest snapshot for a player; returns its tick.
    fn write_snapshot(&self, player: &PlayerState, line: &mut Vec<u8>) -> u64 {
        let state = self.lock();
        let tick = self.tick.load(Ordering::Acquire);
        let snapshot = Snapshot {
            tick,
            due_ns: state.due_ns,
            created_ns: state.created_ns,
            ack: player.known.load(Ordering::Relaxed),
            payload: &state.payload,
        };
        snapshot.write(line);
        tick
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock();
        state.expect("nothing panics while it holds the state")
    }
}

impl Player {
    /// Joins a game over a WebSocket; snapshots begin with the next tick.
    pub(crate) fn join(worker: Rc<Worker>, query: &str) -> Result<Self, Refusal> {
        let game = worker.shared.games.get(query)?;
        let state = game.player(query)?;
        if state.is_connected.swap(true, Ordering::Relaxed) {
            return Err(Refusal::Conflict("this player is connected already\n"));
        }
        count(&worker.counts.subscriptions);
        Ok(Self {
            seat: game.audience.join(),
            sent: game.tick.load(Ordering::Acquire),
            worker,
            game,
            state,
            line: Vec::new(),
        })
    }
}

impl Outlet for Player {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        self.seat.register(context.waker());
        if self.game.is_over.load(Ordering::Acquire) {
            let reason = "game replaced".to_owned();
            return Poll::Ready(Err(End::Farewell(SERVICE_RESTART, reason)));
        }
        if self.game.tick.load(Ordering::Acquire) <= self.sent {
            return Poll::Pending;
        }
        self.line.clear();
        let tick = self.game.write_snapshot(&self.state, &mut self.line);
        count_many(&self.worker.counts.coalesced, tick - self.sent - 1);
        count(&self.worker.counts.deliveries);
        self.sent = tick;
        Poll::Ready(Ok(frame(OpCode::Text, &[&self.line])))
    }

    fn message(&mut self, _opcode: OpCode, payload: &[u8]) -> Result<(), End> {
        let number = snapshot::input_number(payload).ok_or(End::Violation(CloseCode::Invalid))?;
        self.state.input.fetch_max(number, Ordering::Relaxed);
        count(&self.worker.counts.operations);
        Ok(())
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.state.is_connected.store(false, Ordering::Relaxed);
    }
}

const MOST_GAMES: usize = 1024;
const MOST_PLAYERS: usize = 16_384;
