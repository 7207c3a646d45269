//! The benchmarks' own tests: figures, goals, and that the library that they measure is the one that the service loads.

use std::{path::Path, process::Command};

use holdfast::store::function_library;

use crate::support::world::long;

/// What a module of the benchmarks says on both outputs, and whether it succeeded.
fn python(arguments: &[&str]) -> (bool, String, String) {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    let done = Command::new("python3").arg("-B").arg("-m").args(arguments).current_dir(bench).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

#[test]
fn the_report_says_what_was_measured() {
    let (succeeded, _, said) = python(&["unittest", "speed.test_report"]);
    assert!(succeeded && said.contains("Ran "), "{said}");
}

#[test]
fn the_ledger_of_waiting_finds_faults() {
    let (succeeded, _, said) = python(&["unittest", "waiting.test_ledger"]);
    assert!(succeeded && said.contains("Ran "), "{said}");
}

#[test]
fn turns_that_hand_over_to_nobody_are_no_hand_overs() {
    let (succeeded, _, said) = python(&["unittest", "waiting.test_contest"]);
    assert!(succeeded && said.contains("Ran "), "{said}");
}

#[test]
fn the_core_is_measured_by_calls_that_succeed() {
    let (succeeded, _, said) = python(&["unittest", "core.test_core"]);
    assert!(succeeded && said.contains("Ran "), "{said}");
}

#[test]
fn what_tickets_take_of_redis_is_bounded() {
    let (succeeded, _, said) = python(&["unittest", "core.test_bounds"]);
    assert!(succeeded && said.contains("Ran "), "{said}");
}

#[test]
fn the_straight_way_ends_as_the_common_way() {
    let (succeeded, _, said) = python(&["unittest", "core.test_straight"]);
    assert!(succeeded && said.contains("Ran "), "{said}");
}

#[test]
fn items_done_in_one_loop_end_as_items_done_one_by_one() {
    let (succeeded, _, said) = python(&["unittest", "core.test_runs"]);
    assert!(succeeded && said.contains("Ran "), "{said}");
}

#[test]
fn the_core_that_is_measured_is_the_one_that_is_loaded() {
    let (succeeded, library, said) = python(&["core.library"]);
    assert!(succeeded, "{said}");
    assert!(library == function_library().text, "the texts differ");
}

#[test]
fn the_dearest_calls_that_limits_allow_are_bounded() {
    // Of every function in the long form; else of those that come closest to the bound.
    let close = [
        "the same with names and requesters of 1,000 bytes",
        "events of a platform, and the pages of their history",
        "registering and moving",
        "jobs, plain, as they go through their states",
        "calls that share one",
    ];
    let cases = if long() { &[][..] } else { &close };
    let (succeeded, counted, said) = python(&[&["core.bounded"], cases].concat());
    assert!(succeeded && counted.lines().count() >= close.len(), "{counted}{said}");
}
