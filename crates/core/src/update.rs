//! Updates on the wire: one line of text each, `SEQUENCE CREATED_NS PAYLOAD\n`.
//!
//! The sequence starts at 1 and has no gaps. `CREATED_NS` is the publisher's `CLOCK_MONOTONIC` when the event came into
//! being; a client on the same host reads the same clock. The payload is printable and follows from topic seed and
//! sequence, so that a client can verify it.

use crate::payload::{self, PayloadKind};

/// One update, as parsed from its line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Update<'a> {
    /// The event's number within its topic, from 1 on.
    pub sequence: u64,
    /// When it came into being, by the publisher's monotonic clock.
    pub created_ns: u64,
    /// Its content.
    pub payload: &'a [u8],
}

impl<'a> Update<'a> {
    /// Parses one line, without its line feed; `None` when it is not an update.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let number = |part: Option<&[u8]>| std::str::from_utf8(part?).ok()?.parse().ok();
        Some(Self {
            sequence: number(parts.next())?,
            created_ns: number(parts.next())?,
            payload: parts.next()?,
        })
    }

    /// Appends the update's line, with its line feed.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.sequence.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.created_ns.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.payload);
        out.push(b'\n');
    }
}

/// Generates the payload of the update with this sequence number.
pub fn payload(topic_seed: u64, sequence: u64, bytes: usize) -> Vec<u8> {
    payload::generate(PayloadKind::Text, bytes, topic_seed, sequence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_gives_back_its_update(sequence: u64, created_ns: u64, bytes in 0usize..80) {
            let payload = payload(1, sequence, bytes);
            let update = Update { sequence, created_ns, payload: &payload };
            let mut line = Vec::new();
            update.write(&mut line);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(Update::parse(&line), Some(update));
        }

        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = Update::parse(&line);
        }
    }
}
