//! Documents on disk: each kind has one integer `schema_version`; older versions are upgraded in memory, newer refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::files::MAX_DOCUMENT_BYTES;
use crate::harmless;

/// The most values a document may hold: far more than any has, and few enough that holding them all takes no memory worth
/// a word.
const MAX_VALUES: usize = 1_000_000;

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

    /// Says what is wrong with numbers that no sockrates can have written, and that would hurt whoever computes with them.
    fn check(&self) -> Result<(), String> {
        Ok(())
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
    /// It is larger than any that sockrates writes.
    #[error(
        "the {0} is larger than any that sockrates writes ({mib} MiB, {MAX_VALUES} values)",
        mib = MAX_DOCUMENT_BYTES >> 20
    )]
    TooLarge(&'static str),
    /// It says what cannot be.
    #[error("the {kind} cannot be: {problem}")]
    Impossible {
        /// The kind that was expected.
        kind: &'static str,
        /// What cannot be.
        problem: String,
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

/// Parses a document of kind `D` in any version up to today's. Who wrote it is not known: it is limited in size, depth (by
/// the parser) and number of values, and checked.
pub fn parse<D: Document>(json: &[u8]) -> Result<D, DocumentError> {
    if json.len() as u64 > MAX_DOCUMENT_BYTES || has_too_many_values(json) {
        return Err(DocumentError::TooLarge(D::KIND));
    }
    let document: D = parse_any_version(json)?;
    let impossible = |problem| DocumentError::Impossible {
        kind: D::KIND,
        problem,
    };
    document.check().map_err(impossible)?;
    Ok(document)
}

/// A value is preceded by a comma, a colon or an opening bracket; those in texts count, too.
fn has_too_many_values(json: &[u8]) -> bool {
    let precedes = |byte: &&u8| matches!(**byte, b',' | b':' | b'[' | b'{');
    json.len() > MAX_VALUES && json.iter().filter(precedes).count() > MAX_VALUES
}

fn parse_any_version<D: Document>(json: &[u8]) -> Result<D, DocumentError> {
    let malformed = |source| DocumentError::Malformed {
        kind: D::KIND,
        source,
    };
    // The usual case first: a document of today's version is parsed once, without the detour over `Value`.
    let head: VersionOnly = serde_json::from_slice(json).map_err(malformed)?;
    // To the parser, an array of the right length is an object, too.
    let is_object = json.trim_ascii_start().starts_with(b"{");
    let found = head
        .schema_version
        .filter(|_| is_object)
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
    let json = serde_json::to_string_pretty(document)
        .expect("documents have string keys and no failing serializer");
    (harmless::json(json) + "\n").into_bytes()
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
        assert!(message(b"[1]").contains("no `schema_version`"));
        assert!(message(b"{\"schema_version\": 2").contains("not a readable note"));
    }

    #[test]
    fn documents_have_limits() {
        let message = |json: &str| parse::<Note>(json.as_bytes()).unwrap_err().to_string();
        let with = |more: &str| format!(r#"{{"schema_version": 1, "rate": 5, "more": {more}}}"#);
        assert!(parse::<Note>(with("[[[0]]]").as_bytes()).is_ok());
        let deep = ["[", "]"].map(|bracket| bracket.repeat(200)).concat();
        assert!(message(&with(&deep)).contains("recursion limit"));
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert!(message(&with(&many)).contains("larger than any"));
        let long = " ".repeat(65 << 20);
        assert!(message(&with(&long)).contains("larger than any"));
    }
}
