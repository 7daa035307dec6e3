//! HTTP statuses as a user names them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The HTTP statuses that count: codes and classes, as in `2xx,304`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusSet(Vec<Statuses>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Statuses {
    Code(u16),
    /// The hundreds.
    Class(u16),
}

/// Says that a text names no statuses.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is no list of statuses: write codes from 200 to 599 and classes, separated by commas, as in 2xx,304"
)]
pub struct StatusError(String);

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![Statuses::Class(2)])
    }
}

impl StatusSet {
    /// Says whether a status counts.
    pub fn holds(&self, status: u16) -> bool {
        self.0.iter().any(|statuses| match statuses {
            Statuses::Code(code) => status == *code,
            Statuses::Class(class) => status / 100 == *class,
        })
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, statuses) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match statuses {
                Statuses::Code(code) => write!(f, "{comma}{code}")?,
                Statuses::Class(class) => write!(f, "{comma}{class}xx")?,
            }
        }
        Ok(())
    }
}

impl FromStr for StatusSet {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        let parse = |part: &str| match part.as_bytes() {
            [class @ b'2'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                Some(Statuses::Class(u16::from(class - b'0')))
            }
            [b'2'..=b'5', _, _] => part.parse().ok().map(Statuses::Code),
            _ => None,
        };
        let all: Option<Vec<_>> = text.split(',').map(|part| parse(part.trim())).collect();
        all.map(Self).ok_or_else(|| StatusError(text.to_owned()))
    }
}

/// A set is its text on disk.
impl Serialize for StatusSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for StatusSet {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusSet".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[2-5]([0-9]{2}|xx)(,[2-5]([0-9]{2}|xx))*$",
            "description": "codes and classes, separated by commas"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_codes_and_classes() {
        let set: StatusSet = "2xx, 304".parse().unwrap();
        assert_eq!(set.to_string(), "2xx,304");
        assert!(set.holds(299) && set.holds(304) && !set.holds(301));
        assert!(StatusSet::default().holds(204));
        for wrong in ["", "2", "200,", "1xx", "600", "abc", "20x", "2000"] {
            assert!(
                wrong
                    .parse::<StatusSet>()
                    .unwrap_err()
                    .to_string()
                    .contains(wrong)
            );
        }
    }
}
