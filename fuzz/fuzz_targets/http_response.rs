//! Heads, bodies by length, chunks and trailers of HTTP/1.1 responses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sockrates_fuzz::script::check_http1;

fuzz_target!(|input: &[u8]| check_http1(input));
