//! The terminal's foreground group, and stopping as shells expect it.

use std::{fs::File, io::IsTerminal};

use nix::{
    sys::signal::{SigSet, Signal, killpg},
    unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp},
};

/// The terminal that controls this session.
pub(super) struct Terminal(File);

impl Terminal {
    /// `None` where the session has none, as under a supervisor.
    pub(super) fn open() -> Option<Self> {
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty").ok().map(Self)
    }

    /// The group that may read from it and gets its signals.
    pub(super) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.0).ok()
    }

    /// Puts a group of this session into the foreground. Works from the background too, since TTOU is blocked meanwhile.
    pub(super) fn give_to(&self, group: Pid) {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTTOU);
        let before = SigSet::thread_get_mask();
        if set.thread_block().is_err() {
            return;
        }
        // Where the group is gone or the terminal is, there is nothing to give.
        let _ = tcsetpgrp(&self.0, group);
        if before.is_ok_and(|before| !before.contains(Signal::SIGTTOU)) {
            let _ = set.thread_unblock();
        }
    }
}

/// Whether a command gets the foreground from its start: the job is in the foreground, and neither reads from nor writes to a pipe, for the
/// other programs of a pipeline use the terminal as well.
pub(super) fn takes_foreground() -> bool {
    std::io::stdin().is_terminal()
        && std::io::stdout().is_terminal()
        && Terminal::open().and_then(|terminal| terminal.foreground()) == Some(getpgrp())
}

/// Stops this process and its job as the terminal's stop key does, and returns once it is continued. Where no shell controls the job,
/// the kernel does not stop it, and this returns at once.
///
/// # Errors
/// The system refused.
pub(super) fn stop_job() -> nix::Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTSTP);
    // Pending here, where it is blocked; the rest of the job (a script, a pipeline) stops now.
    killpg(getpgrp(), Signal::SIGTSTP)?;
    set.thread_unblock()?;
    set.thread_block()
}
