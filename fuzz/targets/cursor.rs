//! Cursors of lists. What is taken comes back as it went.
#![no_main]

use holdfast::{http::fuzzing, store::PageCursor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    fuzzing::job_cursor(text);
    if let Some(cursor) = PageCursor::decode(text) {
        assert_eq!(PageCursor::decode(&cursor.encode()), Some(cursor));
    }
});
