//! Documents on disk: each kind has one integer `schema_version`; older versions are upgraded in memory, newer refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind of JSON document that sockrates writes and reads back.
pub trait Document: DeserializeOwned + Serialize {
    /// The kind's name in messages and in its schema file's name, e.g. `trial-record`.
    const KIND: &'static str;
    /// The version this program writes.
    const VERSION: u32;

    /// Turns the JSON of version `from` (always below [`Self::VERSION`]) into that of version `from + 1`; `None` when
    /// that version was never released.
    fn upgrade(from: u32, json: Value) -> Option<Value> {
        let _ = (from, json);
        None
    }
}

/// Says why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON, or not JSON of this shape.
    #[error("not a readable {kind}: {source}")]
    Malformed {
        /// The kind that was expected.
        kind: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// It lacks the version number every document has.
    #[error("not a {0}: it has no `schema_version`")]
    NoVersion(&'static str),
    /// It was written by a newer program.
    #[error(
        "{kind} has schema version {found}, this sockrates reads up to {supported}: use a newer sockrates"
    )]
    TooNew {
        /// The kind that was expected.
        kind: &'static str,
        /// The version it claims.
        found: u64,
        /// The newest version known here.
        supported: u32,
    },
    /// Its version was never released.
    #[error("{kind} has schema version {found}, which was never released")]
    Unknown {
        /// The kind that was expected.
        kind: &'static str,
        /// The version it claims.
        found: u64,
    },
}

/// Parses a document of kind `D` in any version up to today's.
pub fn parse<D: Document>(json: &[u8]) -> Result<D, DocumentError> {
    let malformed = |source| DocumentError::Malformed {
        kind: D::KIND,
        source,
    };
    // The usual case first: a document of today's version is parsed once, without the detour over `Value`.
    let head: VersionOnly = serde_json::from_slice(json).map_err(malformed)?;
    let found = head
        .schema_version
        .ok_or(DocumentError::NoVersion(D::KIND))?;
    if found == u64::from(D::VERSION) {
        return serde_json::from_slice(json).map_err(malformed);
    }
    let unknown = || DocumentError::Unknown {
        kind: D::KIND,
        found,
    };
    let from = u32::try_from(found)
        .ok()
        .filter(|version| *version <= D::VERSION)
        .ok_or(DocumentError::TooNew {
            kind: D::KIND,
            found,
            supported: D::VERSION,
        })?;
    let mut value: Value = serde_json::from_slice(json).map_err(malformed)?;
    for version in from..D::VERSION {
        value = D::upgrade(version, value).ok_or_else(unknown)?;
    }
    serde_json::from_value(value).map_err(malformed)
}

/// Writes a document as indented JSON with a final line feed.
pub fn to_json<D: Document>(document: &D) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(document)
        .expect("documents have string keys and no failing serializer");
    json.push(b'\n');
    json
}

/// Upgrades from `from` to `to` when nothing but fields that may be absent was added in between.
pub(crate) fn with_additions(from: u32, to: u32, mut json: Value) -> Option<Value> {
    (from + 1 == to).then(|| {
        json["schema_version"] = to.into();
        json
    })
}

#[derive(serde::Deserialize)]
struct VersionOnly {
    schema_version: Option<u64>,
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Version 1 called the field `rate`.
    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Note {
        schema_version: u32,
        rate_per_second: u32,
    }

    impl Document for Note {
        const KIND: &'static str = "note";
        const VERSION: u32 = 2;

        fn upgrade(from: u32, mut json: Value) -> Option<Value> {
            (from == 1).then(|| {
                json["rate_per_second"] = json["rate"].take();
                json["schema_version"] = 2.into();
                json
            })
        }
    }

    #[test]
    fn older_documents_are_upgraded_and_newer_ones_refused() {
        let today = Note {
            schema_version: 2,
            rate_per_second: 5,
        };
        assert_eq!(parse::<Note>(&to_json(&today)).unwrap(), today);
        assert_eq!(
            parse::<Note>(br#"{"schema_version": 1, "rate": 5}"#).unwrap(),
            today
        );
        let message = |json: &[u8]| parse::<Note>(json).unwrap_err().to_string();
        assert!(message(br#"{"schema_version": 3}"#).contains("use a newer sockrates"));
        assert!(message(br#"{"schema_version": 0}"#).contains("never released"));
        assert!(message(b"{}").contains("no `schema_version`"));
        assert!(message(b"{\"schema_version\": 2").contains("not a readable note"));
    }
}
