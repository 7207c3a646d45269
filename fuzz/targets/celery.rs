//! Messages of a Celery broker: an input as a whole message, and as the body of one.
#![no_main]

use holdfast::monitor::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::celery_message(bytes);
    fuzzing::celery_body(bytes);
});
