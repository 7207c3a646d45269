//! The launcher: the process that becomes the command.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd::{Pid, getpgrp, getppid},
};

use crate::cli::{output, run::job_control::Terminal};

/// The argument that makes a process of this program a launcher.
pub(super) const ARGUMENT: &str = "__launch";

/// A shell's codes for a command that is not there, and for one that cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// The launcher's command line.
///
/// `takes_foreground`: whether the command's group gets the terminal.
pub(super) fn command(takes_foreground: bool, command: &[OsString]) -> Command {
    let mut launcher = Command::new("/proc/self/exe");
    launcher.arg0("holdfast").arg(ARGUMENT).arg(Pid::this().to_string()).arg(if takes_foreground { "1" } else { "0" });
    launcher.args(command).process_group(0);
    launcher
}

/// Becomes the command. Returns only where that fails.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let [parent, foreground, program, rest @ ..] = arguments else { return ExitCode::from(NOT_EXECUTABLE) };
    // Kept through the execution: where guard and client are killed together, the command does not outlive them.
    let bound = prctl::set_pdeathsig(Signal::SIGKILL);
    if bound.is_err() || parent.to_str() != Some(&getppid().to_string()) {
        return ExitCode::from(NOT_EXECUTABLE);
    }
    if foreground == "1"
        && let Some(terminal) = Terminal::open()
    {
        terminal.give_to(getpgrp());
    }
    // Client and guard have theirs blocked, and what is blocked is inherited.
    if SigSet::empty().thread_set_mask().is_err() {
        return ExitCode::from(NOT_EXECUTABLE);
    }
    let error = Command::new(program).args(rest).exec();
    output::note(&format!("{} cannot be executed: {error}", program.display()));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}
