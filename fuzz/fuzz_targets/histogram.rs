//! Stored histograms: as JSON, as the deflated form, as what is deflated, and as counts behind a right head.
#![no_main]

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use hdrhistogram::serialization::Deserializer;
use libfuzzer_sys::fuzz_target;
use sockrates_core::histogram::{HIGHEST_NS, Histogram};

fuzz_target!(|input: &[u8]| {
    let Some((form, bytes)) = input.split_first() else {
        return;
    };
    match form % 4 {
        0 => {
            check(bytes);
        }
        1 => {
            check(&document(bytes, 0, None));
        }
        2 => {
            check(&document(&deflated(bytes), 0, None));
        }
        _ => counts(bytes),
    }
});

/// Whatever is accepted can be computed with, and is the same when it is written and read again.
fn check(json: &[u8]) -> bool {
    let Ok(histogram) = serde_json::from_slice::<Histogram>(json) else {
        return false;
    };
    let again = serde_json::to_vec(&histogram).expect("it can be written");
    let read: Histogram = serde_json::from_slice(&again).expect("what was written can be read");
    assert_eq!(read, histogram);
    let mut sum = Histogram::new();
    sum.merge(&histogram);
    sum.merge(&histogram);
    assert_eq!(sum.count(), histogram.count() * 2);
    if let (Some(min), Some(max)) = (histogram.min_ns(), histogram.max_ns()) {
        assert!(min <= max);
        assert!(histogram.quantile_unchecked_ns(0.5) <= max);
    }
    true
}

/// What the decoder takes for a small histogram within its range is accepted, with the extremes that its buckets have,
/// and what it refuses is refused.
fn counts(bytes: &[u8]) {
    let mut whole = Vec::new();
    whole.extend(0x1c84_9313u32.to_be_bytes());
    whole.extend((bytes.len() as u32).to_be_bytes());
    whole.extend(0u32.to_be_bytes());
    whole.extend(3u32.to_be_bytes());
    whole.extend(1u64.to_be_bytes());
    whole.extend(HIGHEST_NS.to_be_bytes());
    whole.extend(1f64.to_be_bytes());
    whole.extend(bytes);
    let deflated = deflated(&whole);
    check(&document(&deflated, 0, None));
    // The decoder overflows at runs of 2^63 zeros, and passes over runs that end behind the last bucket.
    let is_long = bytes
        .windows(4)
        .any(|four| four.iter().all(|byte| byte & 0x80 != 0));
    let has_runs = bytes.iter().any(|byte| byte & 1 == 1);
    if is_long {
        return;
    }
    match Deserializer::new().deserialize::<u64, _>(&mut &whole[..]) {
        Err(_) => assert!(!check(&document(&deflated, 0, None))),
        Ok(truth) => {
            let extremes = (!truth.is_empty()).then(|| (truth.min(), truth.max()));
            let is_accepted = check(&document(&deflated, truth.len(), extremes));
            assert!(is_accepted || truth.max() > HIGHEST_NS || has_runs || bytes.len() > 1000);
        }
    }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory can be written to");
    let body = encoder.finish().expect("memory can be written to");
    let mut all = 0x1c84_9314u32.to_be_bytes().to_vec();
    all.extend((body.len() as u32).to_be_bytes());
    all.extend(body);
    all
}

fn document(deflated: &[u8], count: u64, extremes: Option<(u64, u64)>) -> Vec<u8> {
    let text = BASE64.encode(deflated);
    let value = serde_json::json!({
        "count": count,
        "min_ns": extremes.map(|(min, _)| min),
        "max_ns": extremes.map(|(_, max)| max),
        "clamped": 0,
        "hdr_v2_deflate_base64": text,
    });
    serde_json::to_vec(&value).expect("it has string keys")
}
