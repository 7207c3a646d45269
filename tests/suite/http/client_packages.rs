//! The client packages of `clients/`, by their own tests against this binary. `make test` installs what they need.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use crate::support::{
    source::root,
    world::{bound_to_test, without_settings},
};

/// Runs a package's own tests in its folder; its output where they fail.
fn passes(folder: &str, program: &str, arguments: &[&str]) {
    let folder = root().join("clients").join(folder);
    let mut command: Command = bound_to_test(program);
    without_settings(&mut command);
    let (mut output, both) = std::io::pipe().expect("a pipe");
    command.args(arguments).current_dir(&folder).env("HOLDFAST_BIN", env!("CARGO_BIN_EXE_holdfast"));
    command.stdin(Stdio::null()).stdout(both.try_clone().expect("a descriptor")).stderr(both);
    let mut child = command.spawn().expect("setpriv is there");
    // The command keeps its ends of the pipe open until it is dropped.
    drop(command);
    let mut text = String::new();
    output.read_to_string(&mut text).expect("its output is text");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{program} {arguments:?}: {status}; `make test` installs what it needs\n{text}");
}

#[test]
fn the_python_clients_own_tests_pass() {
    let python = root().join("clients/python/.venv/bin/python");
    passes("python", python.to_str().expect("a path in UTF-8"), &["-m", "pytest"]);
}

#[test]
fn the_typescript_clients_own_tests_pass() {
    passes("typescript", "npm", &["test"]);
}
