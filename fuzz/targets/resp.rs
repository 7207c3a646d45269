//! Replies: of a broker, whose size is bounded as it arrives, and of our own Redis.
#![no_main]

use holdfast::{monitor, redis};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    monitor::fuzzing::replies(bytes);
    redis::fuzzing::reply(bytes);
});
