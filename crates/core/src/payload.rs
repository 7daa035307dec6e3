//! Message payloads: what clients send, and the check that the reply is exactly what was asked for.

use rand::RngCore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::FailureKind;
use crate::seed;

/// How many different payloads a client sends in turn, so that a stale or swapped reply is noticed.
pub const RING: usize = 16;

/// What the bytes of a payload are. Text costs a WebSocket a UTF-8 check on both ends; HTTP treats both alike.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// Random bytes.
    Binary,
    /// Random letters, digits and punctuation (ASCII).
    Text,
}

/// Generates the payload of one ring entry of one connection: the same arguments always give the same bytes.
pub fn generate(kind: PayloadKind, bytes: usize, seed: u64, index: u64) -> Vec<u8> {
    let mut payload = vec![0; bytes];
    fill(kind, &mut payload, seed, index);
    payload
}

/// Fills a buffer with what [`generate`] returns for its length.
pub fn fill(kind: PayloadKind, payload: &mut [u8], seed: u64, index: u64) {
    seed::stream(seed, "payload", index).fill_bytes(payload);
    if kind == PayloadKind::Text {
        // 64 printable characters from `0` to `o`: no control character, no space, no quote.
        for byte in payload {
            *byte = b'0' + (*byte & 63);
        }
    }
}

/// Compares a reply with the expected bytes as it arrives, chunk by chunk.
#[derive(Debug)]
pub struct Verifier<'a> {
    expected: &'a [u8],
    seen: usize,
    differs: bool,
}

impl<'a> Verifier<'a> {
    /// Expects exactly these bytes.
    pub const fn new(expected: &'a [u8]) -> Self {
        Self {
            expected,
            seen: 0,
            differs: false,
        }
    }

    /// Takes the next bytes of the reply.
    pub fn feed(&mut self, chunk: &[u8]) {
        let end = self.seen.saturating_add(chunk.len());
        self.differs |= self.expected.get(self.seen..end) != Some(chunk);
        self.seen = end;
    }

    /// Judges the whole reply; to be called once it has ended.
    pub const fn finish(&self) -> Result<(), FailureKind> {
        if self.differs || self.seen != self.expected.len() {
            Err(FailureKind::WrongPayload)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_printable_and_payloads_differ_by_index() {
        let text = generate(PayloadKind::Text, 500, 1, 0);
        assert!(text.iter().all(u8::is_ascii_graphic));
        assert_ne!(text, generate(PayloadKind::Text, 500, 1, 1));
        assert_eq!(text, generate(PayloadKind::Text, 500, 1, 0));
    }

    #[test]
    fn too_short_and_too_long_replies_are_wrong() {
        for reply in [&b"ab"[..], b"abcd", b"", b"abd"] {
            let mut verifier = Verifier::new(b"abc");
            verifier.feed(reply);
            assert_eq!(verifier.finish(), Err(FailureKind::WrongPayload));
        }
        assert_eq!(Verifier::new(b"").finish(), Ok(()));
    }

    proptest! {
        #[test]
        fn chunking_never_matters(expected: Vec<u8>, cut in 0usize..64, flip: Option<u16>) {
            let mut reply = expected.clone();
            let flipped = match flip {
                Some(at) if !reply.is_empty() => {
                    let at = usize::from(at) % reply.len();
                    reply[at] ^= 1;
                    true
                }
                _ => false,
            };
            let mut verifier = Verifier::new(&expected);
            for chunk in reply.chunks(cut.max(1)) {
                verifier.feed(chunk);
            }
            prop_assert_eq!(verifier.finish().is_err(), flipped);
        }
    }
}
