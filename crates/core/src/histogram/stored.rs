//! Stored histograms are checked before they are decoded: a head of 40 bytes can ask a decoder for gigabytes, and counts
//! that overflow would be taken for others.

use std::fmt;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use hdrhistogram::serialization::Deserializer;

use super::{HIGHEST_NS, Histogram, MAX_COUNT, SIGNIFICANT_DIGITS};

/// A full histogram deflates to far less.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// The first four bytes of `HdrHistogram` V2 with counts of up to nine bytes, as it is and deflated.
const COOKIE: u32 = 0x1c84_9313;
const DEFLATED_COOKIE: u32 = 0x1c84_9314;
/// The head of the deflated form: cookie and length.
const DEFLATED_HEAD_BYTES: usize = 8;
/// The head of the form within: cookie, length, offset, digits, lowest, highest, ratio.
const HEAD_BYTES: usize = 40;
/// The most that a count takes.
const MAX_VARINT_BYTES: usize = 9;

/// Says why a stored histogram is refused.
#[derive(Debug)]
pub(super) struct Refused(pub(super) &'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "histogram {}", self.0)
    }
}

/// Decodes what the serializer here has written, and nothing else.
pub(super) fn decode(text: &str) -> Result<hdrhistogram::Histogram<u64>, Refused> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Refused("is larger than any that sockrates writes"));
    }
    let deflated = BASE64.decode(text).map_err(|_| Refused("is not base64"))?;
    let empty = Histogram::new().counts;
    let whole = inflate(
        &deflated,
        HEAD_BYTES + empty.distinct_values() * MAX_VARINT_BYTES,
    )?;
    let counts = check_head(&whole)?;
    check_counts(counts, empty.distinct_values())?;
    Deserializer::new()
        .deserialize(&mut &whole[..])
        .map_err(|_| Refused(NOT_OURS))
}

const NOT_OURS: &str = "is not deflated HdrHistogram V2";

/// Inflates up to so many bytes; more is none of ours.
fn inflate(deflated: &[u8], most: usize) -> Result<Vec<u8>, Refused> {
    let (head, body) = deflated
        .split_at_checked(DEFLATED_HEAD_BYTES)
        .ok_or(Refused(NOT_OURS))?;
    if number(head, 0) != DEFLATED_COOKIE || number(head, 4) as usize != body.len() {
        return Err(Refused(NOT_OURS));
    }
    let mut whole = Vec::new();
    ZlibDecoder::new(body)
        .take(most as u64 + 1)
        .read_to_end(&mut whole)
        .map_err(|_| Refused(NOT_OURS))?;
    if whole.len() > most {
        return Err(Refused("inflates to more than any that sockrates writes"));
    }
    Ok(whole)
}

/// Returns the counts behind a head that says what the serializer here says.
fn check_head(whole: &[u8]) -> Result<&[u8], Refused> {
    let (head, counts) = whole
        .split_at_checked(HEAD_BYTES)
        .ok_or(Refused(NOT_OURS))?;
    if number(head, 0) != COOKIE || number(head, 4) as usize != counts.len() {
        return Err(Refused(NOT_OURS));
    }
    let (offset, digits) = (number(head, 8), number(head, 12));
    let (lowest, highest) = (long(head, 16), long(head, 24));
    let is_ours = offset == 0
        && digits == u32::from(SIGNIFICANT_DIGITS)
        && (lowest, highest) == (1, HIGHEST_NS)
        && long(head, 32) == 1f64.to_bits();
    if is_ours {
        Ok(counts)
    } else {
        Err(Refused("has other bounds or digits than sockrates writes"))
    }
}

/// Every count or run of zeros stays within the buckets there are, and the sum within what a trial can count.
fn check_counts(mut bytes: &[u8], buckets: usize) -> Result<(), Refused> {
    let (mut used, mut sum) = (0u64, 0u64);
    while !bytes.is_empty() {
        let number = varint(&mut bytes).ok_or(Refused("ends in the middle of a count"))?;
        // Zigzag: even numbers are counts, odd ones runs of zeros.
        let half = number / 2;
        if number % 2 == 0 {
            used += 1;
            sum = sum.saturating_add(half);
        } else {
            used = used.saturating_add(half).saturating_add(1);
        }
        if used > buckets as u64 {
            return Err(Refused("has more buckets than sockrates writes"));
        }
        if sum > MAX_COUNT {
            return Err(Refused("holds more times than a trial can count"));
        }
    }
    Ok(())
}

/// Takes a number of up to nine bytes: seven bits each, all eight of the last.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..MAX_VARINT_BYTES {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let is_last = place == MAX_VARINT_BYTES - 1 || byte & 0x80 == 0;
        let bits = if place == MAX_VARINT_BYTES - 1 {
            *byte
        } else {
            byte & 0x7f
        };
        number |= u64::from(bits) << (7 * place);
        if is_last {
            break;
        }
    }
    Some(number)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("the head was measured"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("the head was measured"))
}
