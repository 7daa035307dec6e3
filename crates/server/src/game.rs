//! Games: a loop that ticks by the clock, takes inputs at any time, and has a snapshot for each player at each tick.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use sockrates_core::publishing::GameSpec;
use sockrates_core::snapshot::{self, Snapshot};
use sockrates_probe::clock;
use sockrates_probe::timer::TimerFd;
use tokio::task::{AbortHandle, spawn_local};

use crate::audience::{Audience, Seat};
use crate::worker::Shared;

/// All games by name.
#[derive(Debug, Default)]
pub(crate) struct Games(Mutex<HashMap<String, Running>>);

#[derive(Debug)]
struct Running {
    game: Arc<Game>,
    ticking: AbortHandle,
}

/// One game.
#[derive(Debug, Default)]
pub(crate) struct Game {
    state: Mutex<State>,
    audience: Arc<Audience>,
}

/// Under one lock, so that a snapshot knows just the inputs that its tick knew.
#[derive(Debug, Default)]
struct State {
    tick: Tick,
    players: Vec<Player>,
    by_name: HashMap<String, PlayerId>,
    is_over: bool,
}

/// The latest tick.
#[derive(Clone, Debug, Default)]
struct Tick {
    /// How many there were so far: fewer than its number once the loop has skipped some.
    count: u64,
    number: u64,
    due_ns: u64,
    created_ns: u64,
    payload: Bytes,
}

#[derive(Debug, Default)]
struct Player {
    /// The largest number of an input.
    largest: u64,
    /// The same as of the latest tick.
    acknowledged: u64,
    is_connected: bool,
}

/// A player of one game.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PlayerId(usize);

/// What a player is shown of a tick.
#[derive(Clone, Debug)]
pub(crate) struct View {
    tick: Tick,
    ack: u64,
}

/// What comes next for a connected player.
#[derive(Debug)]
pub(crate) enum Next {
    View(View),
    Nothing,
    /// Another game has taken the place of this one.
    Over,
}

/// A connected player's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) game: Arc<Game>,
    pub(crate) player: PlayerId,
    pub(crate) seat: Seat,
}

/// There are as many as there may be, or no descriptor is left for a timer.
#[derive(Debug)]
pub(crate) struct TooMany;

/// Why a player cannot connect.
#[derive(Debug)]
pub(crate) enum Unconnected {
    Twice,
    TooMany,
}

impl Games {
    /// Makes a game, which ticks on this thread, and ends the one that had its name; returns whether none had.
    pub(crate) fn make(
        &self,
        name: &str,
        spec: GameSpec,
        shared: &Arc<Shared>,
    ) -> Result<bool, TooMany> {
        let timer = TimerFd::new().map_err(|_| TooMany)?;
        let mut games = self.lock();
        if games.len() >= MAX_GAMES && !games.contains_key(name) {
            return Err(TooMany);
        }
        let game = Arc::new(Game::default());
        let ticking = tick(spec, timer, Arc::clone(&game), Arc::clone(shared));
        let running = Running {
            game,
            ticking: spawn_local(ticking).abort_handle(),
        };
        let replaced = games.insert(name.into(), running);
        drop(games);
        let is_new = replaced.is_none();
        if let Some(old) = replaced {
            old.ticking.abort();
            old.game.end();
        }
        Ok(is_new)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Game>> {
        self.lock()
            .get(name)
            .map(|running| Arc::clone(&running.game))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.0.lock().expect("nothing panics while it holds games")
    }
}

impl Game {
    /// Finds a player, made if need be.
    pub(crate) fn player(&self, name: &str) -> Result<PlayerId, TooMany> {
        self.lock().player(name)
    }

    /// Connects a player, made if need be. It is shown the ticks that come from now on.
    pub(crate) fn connect(self: &Arc<Self>, name: &str) -> Result<(Connected, u64), Unconnected> {
        let mut state = self.lock();
        let player = state.player(name).map_err(|_| Unconnected::TooMany)?;
        if std::mem::replace(&mut state.players[player.0].is_connected, true) {
            return Err(Unconnected::Twice);
        }
        let count = state.tick.count;
        drop(state);
        let connected = Connected {
            game: Arc::clone(self),
            player,
            seat: self.audience.join(),
        };
        Ok((connected, count))
    }

    /// Takes an input of this number.
    pub(crate) fn input(&self, player: PlayerId, number: u64) {
        let largest = &mut self.lock().players[player.0].largest;
        *largest = number.max(*largest);
    }

    /// Returns what comes after so many ticks.
    pub(crate) fn after_count(&self, player: PlayerId, count: u64) -> Next {
        let state = self.lock();
        if state.is_over {
            Next::Over
        } else if state.tick.count <= count {
            Next::Nothing
        } else {
            Next::View(state.view(player))
        }
    }

    /// Returns the latest tick, if its number is above this one.
    pub(crate) fn after_tick(&self, player: PlayerId, number: u64) -> Option<View> {
        let state = self.lock();
        (state.tick.number > number).then(|| state.view(player))
    }

    /// Returns what answers a player that waits for a later tick.
    pub(crate) fn answer_after(&self, player: PlayerId, number: u64) -> Next {
        let state = self.lock();
        if state.tick.number > number {
            Next::View(state.view(player))
        } else if state.is_over {
            Next::Over
        } else {
            Next::Nothing
        }
    }

    /// Takes a seat from which ticks are noticed.
    pub(crate) fn sit(&self) -> Seat {
        self.audience.join()
    }

    /// Ticks; this is the instant at which the snapshots come into being. Returns how late that is.
    fn tick(&self, number: u64, due_ns: u64, payload: Vec<u8>) -> u64 {
        let mut state = self.lock();
        let created_ns = clock::monotonic_ns();
        for player in &mut state.players {
            player.acknowledged = player.largest;
        }
        state.tick = Tick {
            count: state.tick.count + 1,
            number,
            due_ns,
            created_ns,
            payload: payload.into(),
        };
        drop(state);
        self.audience.wake_all();
        created_ns - due_ns
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.audience.wake_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the state")
    }
}

impl State {
    fn player(&mut self, name: &str) -> Result<PlayerId, TooMany> {
        if let Some(known) = self.by_name.get(name) {
            return Ok(*known);
        }
        if self.players.len() >= MAX_PLAYERS {
            return Err(TooMany);
        }
        let player = PlayerId(self.players.len());
        self.players.push(Player::default());
        self.by_name.insert(name.into(), player);
        Ok(player)
    }

    fn view(&self, player: PlayerId) -> View {
        View {
            tick: self.tick.clone(),
            ack: self.players[player.0].acknowledged,
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.game.lock().players[self.player.0].is_connected = false;
    }
}

impl View {
    /// Returns how many ticks there were up to this one.
    pub(crate) fn count(&self) -> u64 {
        self.tick.count
    }

    /// Returns the snapshot's line.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.tick.payload.len() + LINE_EXTRA_BYTES);
        let snapshot = Snapshot {
            tick: self.tick.number,
            due_ns: self.tick.due_ns,
            created_ns: self.tick.created_ns,
            ack: self.ack,
            payload: &self.tick.payload,
        };
        snapshot.write(&mut line);
        line
    }
}

/// Ticks for ever. A tick that comes late does not delay the next; one that is due only when the next is due, too, is
/// skipped.
async fn tick(spec: GameSpec, mut timer: TimerFd, game: Arc<Game>, shared: Arc<Shared>) {
    let payload = |number| snapshot::payload(spec.seed, number, spec.payload_bytes as usize);
    let schedule = Schedule {
        start_ns: clock::monotonic_ns(),
        per_second: spec.ticks_per_second,
    };
    let mut number = 1;
    loop {
        // Before the wait: making it must not delay the tick.
        let mut content = payload(number);
        timer
            .until(schedule.due_ns(number))
            .await
            .expect("a timer that was made takes any instant");
        let latest = schedule.latest(clock::monotonic_ns());
        if latest > number {
            number = latest;
            content = payload(number);
            // Too late already: let others have a turn.
            tokio::task::yield_now().await;
        }
        let late_ns = game.tick(number, schedule.due_ns(number), content);
        shared.publisher_lag_max_ns.fetch_max(late_ns, Relaxed);
        number += 1;
    }
}

/// When ticks are due: each from the start and not from the one before, so that errors do not add up.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start_ns: u64,
    per_second: f64,
}

impl Schedule {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "never negative; `as` saturates above u64, and is exact for the first hundred days of nanoseconds"
    )]
    fn due_ns(&self, number: u64) -> u64 {
        let after_ns = (number as f64 * 1e9 / self.per_second) as u64;
        self.start_ns.saturating_add(after_ns)
    }

    /// Returns the latest tick that is due by then.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "as above"
    )]
    fn latest(&self, now_ns: u64) -> u64 {
        let about = ((now_ns - self.start_ns) as f64 * self.per_second / 1e9) as u64 + 1;
        // Rounding may be off by one either way.
        (about.saturating_sub(2)..=about)
            .rev()
            .find(|number| self.due_ns(*number) <= now_ns)
            .unwrap_or(0)
    }
}

const MAX_GAMES: usize = 1024;
/// As many as there may be connections by default.
const MAX_PLAYERS: usize = 16_384;
/// What a line holds besides the payload: four numbers of up to 20 digits, four spaces and a line feed.
const LINE_EXTRA_BYTES: usize = 85;

#[cfg(test)]
mod tests {
    use super::*;

    fn view(next: Next) -> Option<View> {
        match next {
            Next::View(view) => Some(view),
            Next::Nothing | Next::Over => None,
        }
    }

    #[test]
    fn the_latest_tick_is_the_last_that_is_due() {
        for per_second in [0.3, 1.0, 20.0, 59.94, 128.0, 1e6] {
            let schedule = Schedule {
                start_ns: 12_345,
                per_second,
            };
            for number in (0..1000).chain(1_000_000..1_000_100) {
                let due_ns = schedule.due_ns(number);
                assert_eq!(schedule.latest(due_ns), number, "{per_second}");
                let before_next = schedule.due_ns(number + 1) - 1;
                assert_eq!(schedule.latest(before_next), number, "{per_second}");
            }
        }
    }

    #[test]
    fn the_slowest_game_is_never_due() {
        let schedule = Schedule {
            start_ns: 1,
            per_second: f64::MIN_POSITIVE,
        };
        assert_eq!(schedule.due_ns(1), u64::MAX);
        assert_eq!(schedule.latest(1 << 60), 0);
    }

    #[test]
    fn a_tick_knows_the_inputs_before_it_and_no_later_ones() {
        let game = Arc::new(Game::default());
        let (connected, count) = game.connect("a").unwrap();
        let player = connected.player;
        assert!(view(game.after_count(player, count)).is_none());
        game.input(player, 7);
        game.input(player, 3);
        game.tick(1, 0, b"x".to_vec());
        game.input(player, 9);
        let first = view(game.after_count(player, count)).unwrap();
        let other = game.player("b").unwrap();
        assert_eq!((first.ack, first.count()), (7, 1));
        assert_eq!(game.after_tick(other, 0).unwrap().ack, 0);
        assert!(game.after_tick(other, 1).is_none());
        // The loop skipped a few.
        game.tick(5, 0, b"x".to_vec());
        let second = view(game.after_count(player, first.count())).unwrap();
        let line = second.line();
        let snapshot = Snapshot::parse(&line).unwrap();
        assert_eq!((snapshot.ack, snapshot.tick, second.count()), (9, 5, 2));
    }

    #[test]
    fn a_player_is_connected_once_and_may_come_back() {
        let game = Arc::new(Game::default());
        let first = game.connect("a").unwrap();
        assert!(matches!(game.connect("a"), Err(Unconnected::Twice)));
        assert!(game.connect("b").is_ok());
        drop(first);
        assert!(game.connect("a").is_ok());
        assert_eq!(game.lock().players.len(), 2);
    }

    #[test]
    fn players_are_bounded_in_number() {
        let game = Game::default();
        for k in 0..MAX_PLAYERS {
            game.player(&k.to_string()).unwrap();
        }
        assert!(game.player("one more").is_err());
        assert!(game.player("0").is_ok());
    }
}
