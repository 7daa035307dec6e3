//! The lane: transport x lifecycle (+ client), the thing that is compared.
//!
//! A lane is spelled `TRANSPORT-LIFECYCLE[@CLIENT]`, e.g. `http1-persistent` or the control lane
//! `http1-persistent@hyper`. Which lanes exist is the load generator's registry's business; this is only the grammar.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Says how long a connection lives.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// Open, one exchange, close.
    PerRequest,
    /// Open once, many exchanges.
    Persistent,
}

impl Lifecycle {
    /// Both lifecycles, in the order in which they are drawn.
    pub const ALL: [Self; 2] = [Self::PerRequest, Self::Persistent];

    /// Returns the word used in lane names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerRequest => "per-request",
            Self::Persistent => "persistent",
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names one lane.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lane {
    /// What carries the messages: `tcp`, `http1`, `websocket`.
    pub transport: String,
    /// How long a connection lives.
    pub lifecycle: Lifecycle,
    /// The client library of a control lane; `None` is sockrates' own lean client.
    pub client: Option<String>,
}

impl Lane {
    /// The client's name of a null lane: the same client as the lane it copies.
    pub const NULL: &str = "null";

    /// Returns the lane's second copy, which should come out the same.
    #[must_use]
    pub fn null(&self) -> Self {
        Self {
            client: Some(Self::NULL.to_owned()),
            ..self.clone()
        }
    }

    /// Says whether the lane is a second copy of another.
    pub fn is_null(&self) -> bool {
        self.client.as_deref() == Some(Self::NULL)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.transport, self.lifecycle)?;
        match &self.client {
            Some(client) => write!(f, "@{client}"),
            None => Ok(()),
        }
    }
}

/// More than any transport's or client's name has.
const MAX_WORD_BYTES: usize = 32;

/// Says that a lane's name does not follow the grammar.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is not a lane: write TRANSPORT-per-request or TRANSPORT-persistent, e.g. http1-persistent"
)]
pub struct LaneError(String);

impl FromStr for Lane {
    type Err = LaneError;

    fn from_str(name: &str) -> Result<Self, LaneError> {
        let (lane, client) = match name.split_once('@') {
            Some((lane, client)) => (lane, Some(client)),
            None => (name, None),
        };
        let is_word = |word: &str| {
            (1..=MAX_WORD_BYTES).contains(&word.len())
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        Lifecycle::ALL
            .into_iter()
            .find_map(|lifecycle| {
                Some((
                    lane.strip_suffix(lifecycle.name())?.strip_suffix('-')?,
                    lifecycle,
                ))
            })
            .filter(|(transport, _)| is_word(transport) && client.is_none_or(is_word))
            .map(|(transport, lifecycle)| Self {
                transport: transport.to_owned(),
                lifecycle,
                client: client.map(str::to_owned),
            })
            .ok_or_else(|| LaneError(name.to_owned()))
    }
}

/// A lane is its name on disk.
impl Serialize for Lane {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lane {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Lane {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Lane".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9]+-(per-request|persistent)(@[a-z0-9]+)?$",
            "description": "transport-lifecycle[@client]"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_its_name() {
        for name in [
            "tcp-per-request",
            "http1-persistent",
            "websocket-persistent",
            "http1-persistent@hyper",
        ] {
            assert_eq!(name.parse::<Lane>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn what_is_not_a_lane_is_refused_by_name() {
        for name in [
            "",
            "http1",
            "persistent",
            "-persistent",
            "HTTP-persistent",
            "http1-persistent@",
            "a b-persistent",
        ] {
            let error = name.parse::<Lane>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }
}
