//! Snapshots and inputs of a game on the wire, each a line of text without a line feed.
//!
//! A snapshot is `TICK DUE_NS CREATED_NS ACK PAYLOAD`: the tick's number from 1 on, when its schedule wanted it and when
//! it came, both by the publisher's `CLOCK_MONOTONIC`, the largest number of an input of this player that it knows (0
//! for none), and printable bytes that follow from the game's seed and the tick. An input is `NUMBER PAYLOAD`, numbered
//! by its player from 1 on.

use crate::payload::{self, PayloadKind};
use crate::publishing;

/// One snapshot, as parsed from its line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Snapshot<'a> {
    /// The tick's number, from 1 on.
    pub tick: u64,
    /// When the tick was due.
    pub due_ns: u64,
    /// When it came.
    pub created_ns: u64,
    /// The largest number of an input of this player that is part of it; 0 for none.
    pub ack: u64,
    /// Its content.
    pub payload: &'a [u8],
}

impl<'a> Snapshot<'a> {
    /// Parses one line; `None` when it is not a snapshot.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(5, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
        Some(Self {
            tick: number()?,
            due_ns: number()?,
            created_ns: number()?,
            ack: number()?,
            payload: parts.next()?,
        })
    }

    /// Appends the snapshot's line.
    pub fn write(&self, out: &mut Vec<u8>) {
        for number in [self.tick, self.due_ns, self.created_ns, self.ack] {
            out.extend_from_slice(number.to_string().as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(self.payload);
    }
}

/// Returns an input's number; `None` when this is no input.
pub fn input_number(input: &[u8]) -> Option<u64> {
    let number = input.split(|byte| *byte == b' ').next()?;
    let number = publishing::whole_number(std::str::from_utf8(number).ok()?)?;
    (number > 0).then_some(number)
}

/// Generates the payload of the snapshot of this tick.
pub fn payload(seed: u64, tick: u64, bytes: usize) -> Vec<u8> {
    payload::generate(PayloadKind::Text, bytes, seed, tick)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_input_begins_with_its_number() {
        assert_eq!(input_number(b"7 left"), Some(7));
        assert_eq!(input_number(b"7"), Some(7));
        for wrong in [&b""[..], b"x", b"-1 x", b"+1 x", b"0 x", b" 7"] {
            assert_eq!(input_number(wrong), None);
        }
    }

    proptest! {
        #[test]
        fn a_line_gives_back_its_snapshot(tick: u64, due_ns: u64, created_ns: u64, ack: u64, bytes in 0usize..80) {
            let payload = payload(1, tick, bytes);
            let snapshot = Snapshot { tick, due_ns, created_ns, ack, payload: &payload };
            let mut line = Vec::new();
            snapshot.write(&mut line);
            prop_assert_eq!(Snapshot::parse(&line), Some(snapshot));
        }

        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = Snapshot::parse(&line);
            let _ = input_number(&line);
        }
    }
}
