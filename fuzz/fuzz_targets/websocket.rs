//! Frames and messages of a WebSocket that was opened.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sockrates_fuzz::script::check_websocket;

fuzz_target!(|input: &[u8]| check_websocket(input));
