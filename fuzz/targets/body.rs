//! Bodies of requests. The first byte of an input says of which route.
#![no_main]

use holdfast::http::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::body(bytes));
