//! The unit tests of the benchmarks' report: figures, goals.

use std::{path::Path, process::Command};

#[test]
fn the_report_says_what_was_measured() {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    let done = Command::new("python3")
        .args(["-B", "-m", "unittest", "speed.test_report"])
        .current_dir(bench)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("Ran "), "{said}");
}
