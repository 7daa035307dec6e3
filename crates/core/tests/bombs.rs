//! What is stored can be small and claim to be large: decoding it takes no memory worth a word. A binary of its own,
//! because its allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use sockrates_core::histogram::{HIGHEST_NS, Histogram};

struct Counting;

thread_local! {
    /// Bytes in use, and the most there ever were; per thread, since tests run beside each other.
    static NOW: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged; the counters need no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.set(NOW.get().wrapping_add(layout.size()));
        MOST.set(MOST.get().max(NOW.get()));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get().wrapping_sub(layout.size()));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LIMIT_BYTES: usize = 2 << 20;

/// The head of `HdrHistogram` V2 with these values in place of those that sockrates writes.
#[derive(Clone, Copy)]
struct Head {
    cookie: u32,
    length: Option<u32>,
    offset: u32,
    digits: u32,
    lowest: u64,
    highest: u64,
    ratio: f64,
}

const OURS: Head = Head {
    cookie: 0x1c84_9313,
    length: None,
    offset: 0,
    digits: 3,
    lowest: 1,
    highest: HIGHEST_NS,
    ratio: 1.0,
};

impl Head {
    fn before(self, counts: &[u8]) -> Vec<u8> {
        let length = u32::try_from(counts.len()).unwrap();
        let mut whole = self.cookie.to_be_bytes().to_vec();
        whole.extend(self.length.unwrap_or(length).to_be_bytes());
        whole.extend(self.offset.to_be_bytes());
        whole.extend(self.digits.to_be_bytes());
        whole.extend(self.lowest.to_be_bytes());
        whole.extend(self.highest.to_be_bytes());
        whole.extend(self.ratio.to_be_bytes());
        whole.extend(counts);
        whole
    }
}

fn deflated(whole: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(whole).unwrap();
    let body = encoder.finish().unwrap();
    let length = u32::try_from(body.len()).unwrap();
    [
        &0x1c84_9314u32.to_be_bytes()[..],
        &length.to_be_bytes(),
        &body,
    ]
    .concat()
}

fn document(stored: &[u8], count: u64, extremes: &str) -> String {
    let text = BASE64.encode(stored);
    format!(r#"{{"count":{count},{extremes},"clamped":0,"hdr_v2_deflate_base64":"{text}"}}"#)
}

/// Returns what is said of it, and the most memory that took.
fn refused(json: &str) -> (String, usize) {
    MOST.set(NOW.get());
    let before = NOW.get();
    let message = serde_json::from_str::<Histogram>(json)
        .unwrap_err()
        .to_string();
    (message, MOST.get() - before)
}

const NONE: &str = r#""min_ns":null,"max_ns":null"#;
/// Nine bytes that are -2^63, and nine that are 2^62 - 1.
const MANY_ZEROS: [u8; 9] = [0xff; 9];
const MANY_TIMES: [u8; 9] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];

#[test]
fn bombs_are_refused_and_take_no_memory() {
    let head = |head: Head| deflated(&head.before(&[2]));
    let ours = deflated(&OURS.before(&[2]));
    let stored: Vec<(&str, Vec<u8>)> = vec![
        (
            "length",
            head(Head {
                length: Some(0x7fff_fff0),
                ..OURS
            }),
        ),
        (
            "shorter",
            head(Head {
                length: Some(0),
                ..OURS
            }),
        ),
        (
            "range",
            head(Head {
                highest: u64::MAX / 2,
                digits: 5,
                ..OURS
            }),
        ),
        (
            "digits",
            head(Head {
                digits: 255,
                ..OURS
            }),
        ),
        ("lowest", head(Head { lowest: 0, ..OURS })),
        ("offset", head(Head { offset: 1, ..OURS })),
        (
            "ratio",
            head(Head {
                ratio: f64::NAN,
                ..OURS
            }),
        ),
        (
            "cookie",
            head(Head {
                cookie: 0x1c84_9314,
                ..OURS
            }),
        ),
        ("zeros", deflated(&vec![0; 500 << 20])),
        (
            "zeros behind a head",
            deflated(&OURS.before(&vec![0; 64 << 20])),
        ),
        ("a run of zeros", deflated(&OURS.before(&MANY_ZEROS))),
        ("a sum", deflated(&OURS.before(&MANY_TIMES.repeat(5)))),
        ("half a count", deflated(&OURS.before(&[0x80]))),
        ("not deflated", OURS.before(&[2])),
        ("cut", ours[..ours.len() - 1].to_vec()),
        ("more behind", [&ours[..], b"x"].concat()),
        ("head only", ours[..8].to_vec()),
        ("nothing", Vec::new()),
    ];
    for (name, stored) in stored {
        let (message, most) = refused(&document(&stored, 1, r#""min_ns":0,"max_ns":0"#));
        assert!(most < LIMIT_BYTES, "{name}: {most} bytes");
        assert!(message.starts_with("histogram "), "{name}: {message}");
    }
    let long = format!(
        r#"{{"count":0,{NONE},"clamped":0,"hdr_v2_deflate_base64":"{}"}}"#,
        "A".repeat(40 << 20)
    );
    let before = long.len();
    let (message, most) = refused(&long);
    assert!(message.contains("larger than any"), "{message}");
    // Its text is there already, and the parser's copy of it.
    assert!(most < before * 2 + LIMIT_BYTES, "{most}");
}

#[test]
fn what_is_said_of_times_must_follow_from_the_buckets() {
    let stored = |counts: &[u8]| deflated(&OURS.before(counts));
    // One time of 1 ns and one of 3 ns: zigzag doubles counts; -1 is a run of one.
    let two = stored(&[0, 2, 0, 2]);
    let whole: Histogram =
        serde_json::from_str(&document(&two, 2, r#""min_ns":1,"max_ns":3"#)).unwrap();
    assert_eq!(
        (whole.count(), whole.min_ns(), whole.max_ns()),
        (2, Some(1), Some(3))
    );
    for (count, extremes) in [
        (3, r#""min_ns":1,"max_ns":3"#),
        (2, r#""min_ns":2,"max_ns":3"#),
        (2, r#""min_ns":1,"max_ns":4"#),
        (2, r#""min_ns":3,"max_ns":1"#),
        (2, r#""min_ns":1,"max_ns":null"#),
        (2, r#""min_ns":1,"max_ns":90000000000"#),
        (2, NONE),
    ] {
        let (message, _) = refused(&document(&two, count, extremes));
        assert!(message.starts_with("histogram "), "{extremes}: {message}");
    }
    let nothing = stored(&[]);
    serde_json::from_str::<Histogram>(&document(&nothing, 0, NONE)).unwrap();
    let (message, _) = refused(&document(&nothing, 0, r#""min_ns":1,"max_ns":1"#));
    assert!(message.contains("extremes"), "{message}");
    let clamped =
        document(&two, 2, r#""min_ns":1,"max_ns":3"#).replace("\"clamped\":0", "\"clamped\":1");
    assert!(refused(&clamped).0.contains("too long"));
}

/// The seeds of the fuzz target: whatever of them is accepted is the same when it is written and read again.
#[test]
fn the_seeds_of_the_fuzz_target_are_bounded() {
    let corpus =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/histogram");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let json = match bytes[0] {
            0 => String::from_utf8(bytes[1..].to_vec()).unwrap(),
            1 => document(&bytes[1..], 0, NONE),
            2 => document(&deflated(&bytes[1..]), 0, NONE),
            _ => document(&deflated(&OURS.before(&bytes[1..])), 0, NONE),
        };
        MOST.set(NOW.get());
        let before = NOW.get();
        if let Ok(histogram) = serde_json::from_str::<Histogram>(&json) {
            let again = serde_json::to_string(&histogram).unwrap();
            assert_eq!(
                serde_json::from_str::<Histogram>(&again).unwrap(),
                histogram
            );
        }
        assert!(MOST.get() - before < 2 * LIMIT_BYTES);
    }
}
