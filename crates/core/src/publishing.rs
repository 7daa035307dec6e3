//! What a server is asked to publish: topics and games, as queries of the requests that make them.

use std::fmt::{self, Display};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A topic's publisher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicSpec {
    /// The mean rate of updates; 0 publishes nothing.
    pub events_per_second: f64,
    /// How updates are spread over time.
    pub arrivals: Arrivals,
    /// The length of an update's payload.
    pub payload_bytes: u32,
    /// Determines the instants and the payloads.
    pub seed: u64,
}

/// A game's loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GameSpec {
    /// How often a second it ticks, and with it sends each player a snapshot.
    pub ticks_per_second: f64,
    /// The length of a snapshot's payload.
    pub payload_bytes: u32,
    /// Determines the payloads.
    pub seed: u64,
}

/// How events are spread over time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// At random instants (a Poisson process), as most events of the world come.
    #[default]
    Poisson,
    /// At equal distances, from a random phase on.
    Periodic,
}

/// The largest rate of updates or ticks.
pub const MAX_PER_SECOND: f64 = 1e6;

/// A query that does not say what to publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{name}` must be {form}")]
pub struct QueryError {
    /// The parameter.
    pub name: &'static str,
    /// What it must be.
    pub form: &'static str,
}

impl Arrivals {
    /// Returns the name used in queries and scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Periodic => "periodic",
        }
    }
}

impl TopicSpec {
    /// Parses a query such as `rate=2.5&arrivals=poisson&bytes=64&seed=1`; what is left out is as there, but for the
    /// rate, which must be given.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let arrivals = match parameter(query, "arrivals") {
            None | Some("poisson") => Arrivals::Poisson,
            Some("periodic") => Arrivals::Periodic,
            Some(_) => {
                return Err(QueryError {
                    name: "arrivals",
                    form: "poisson or periodic",
                });
            }
        };
        Ok(Self {
            events_per_second: rate(query, "rate", 0.0)?,
            arrivals,
            payload_bytes: number(query, "bytes", 64)?,
            seed: number(query, "seed", 1)?,
        })
    }
}

impl GameSpec {
    /// Parses a query such as `hz=20&bytes=64&seed=1`; what is left out is as there, but for the ticks, which must be
    /// given.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        Ok(Self {
            ticks_per_second: rate(query, "hz", f64::MIN_POSITIVE)?,
            payload_bytes: number(query, "bytes", 64)?,
            seed: number(query, "seed", 1)?,
        })
    }
}

/// As a query.
impl Display for TopicSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events_per_second,
            arrivals,
            payload_bytes,
            seed,
        } = self;
        let arrivals = arrivals.name();
        write!(
            f,
            "rate={events_per_second}&arrivals={arrivals}&bytes={payload_bytes}&seed={seed}"
        )
    }
}

/// As a query.
impl Display for GameSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ticks_per_second,
            payload_bytes,
            seed,
        } = self;
        write!(f, "hz={ticks_per_second}&bytes={payload_bytes}&seed={seed}")
    }
}

/// Returns the first value of a query's parameter.
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    parameters(query, name).next()
}

/// Returns all values of a query's parameter, in order.
pub fn parameters<'a>(query: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    query
        .split('&')
        .filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Says whether this can name a topic, a room, a game or a player: 1 to 64 letters, digits, `-`, `_` and `.`.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn rate(query: &str, name: &'static str, least: f64) -> Result<f64, QueryError> {
    parameter(query, name)
        .filter(|value| !value.starts_with(['+', '-']) && !value.contains('+'))
        .and_then(|value| value.parse().ok())
        .filter(|rate| (least..=MAX_PER_SECOND).contains(rate))
        .ok_or(QueryError {
            name,
            form: "a number a second, up to 1000000",
        })
}

fn number<T: std::str::FromStr>(
    query: &str,
    name: &'static str,
    default: T,
) -> Result<T, QueryError> {
    match parameter(query, name) {
        None => Ok(default),
        Some(value) => whole_number(value).ok_or(QueryError {
            name,
            form: "a whole number",
        }),
    }
}

/// Reads a whole number of decimal digits alone; `None` for anything else, a sign included, which Rust's own parser takes.
pub fn whole_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_out_is_the_usual() {
        let topic = TopicSpec::parse("rate=2").unwrap();
        let usual = (Arrivals::Poisson, 64, 1);
        assert_eq!((topic.arrivals, topic.payload_bytes, topic.seed), usual);
        let game = GameSpec::parse("hz=20").unwrap();
        assert_eq!((game.payload_bytes, game.seed), (64, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, name) in [
            ("", "rate"),
            ("rate=-1", "rate"),
            ("rate=nan", "rate"),
            ("rate=1000001", "rate"),
            ("rate=+1", "rate"),
            ("rate=1e+3", "rate"),
            ("rate=infinity", "rate"),
            ("rate=1&arrivals=often", "arrivals"),
            ("rate=1&bytes=-1", "bytes"),
            ("rate=1&bytes=+1", "bytes"),
            ("rate=1&seed=x", "seed"),
            ("rate=1&seed=+1", "seed"),
            ("rate=1&seed=", "seed"),
        ] {
            assert_eq!(TopicSpec::parse(query).unwrap_err().name, name, "{query}");
        }
        for query in ["", "hz=0", "hz=inf", "hz=+20"] {
            assert_eq!(GameSpec::parse(query).unwrap_err().name, "hz", "{query}");
        }
    }

    #[test]
    fn names_are_safe_in_a_path_and_a_line() {
        for good in ["default", "t0", "a-b_c.9", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a b", "a/b", "a%20", "é", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_query_gives_back_its_topic(rate in 0.0..=MAX_PER_SECOND, bytes: u32, seed: u64, periodic: bool) {
            let arrivals = if periodic { Arrivals::Periodic } else { Arrivals::Poisson };
            let spec = TopicSpec { events_per_second: rate, arrivals, payload_bytes: bytes, seed };
            prop_assert_eq!(TopicSpec::parse(&spec.to_string()), Ok(spec));
        }

        #[test]
        fn a_query_gives_back_its_game(hz in 0.1..=MAX_PER_SECOND, bytes: u32, seed: u64) {
            let spec = GameSpec { ticks_per_second: hz, payload_bytes: bytes, seed };
            prop_assert_eq!(GameSpec::parse(&spec.to_string()), Ok(spec));
        }
    }
}
