//! Server-sent events in a chunked reply, its head included.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sockrates_fuzz::script::check_events;

fuzz_target!(|input: &[u8]| check_events(input));
