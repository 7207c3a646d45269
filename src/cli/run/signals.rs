//! Signals as events: blocked for every thread, and read from a descriptor.

use std::{io, os::fd::AsFd};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::{io::AsyncReadExt, net::unix::pipe};

/// What the client passes on to the command. TSTP is among them: it stops the command first, and then the client.
const PASSED_ON: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];

/// Blocks the signals that are read as events, and children's; those that the caller of this program had ignored (`nohup`) stay ignored, for
/// the command too. Children inherit what is blocked; the launcher unblocks it for the command.
///
/// # Errors
/// The system refused.
pub(super) fn block() -> nix::Result<SigSet> {
    let ignored = ignored();
    let mut set = SigSet::empty();
    for signal in PASSED_ON.iter().filter(|signal| ignored & (1 << (**signal as u64 - 1)) == 0) {
        set.add(*signal);
    }
    set.add(Signal::SIGCHLD);
    set.thread_block()?;
    Ok(set)
}

/// The signals that this process ignores, as a mask of the kernel's: bit 0 is signal 1.
fn ignored() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .unwrap_or(0)
}

/// Bytes of one `signalfd_siginfo`, whose first four are the signal's number.
const RECORD_BYTES: usize = 128;

/// The blocked signals, as they come.
pub(super) struct Signals {
    // The runtime's type for a descriptor that is only read; this one is a signalfd, which it need not know.
    descriptor: pipe::Receiver,
}

impl Signals {
    /// Reads these signals, which [`block`] has blocked.
    ///
    /// # Errors
    /// The system refused.
    pub(super) fn new(set: &SigSet) -> io::Result<Self> {
        let descriptor = SignalFd::with_flags(set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let descriptor = descriptor.as_fd().try_clone_to_owned()?;
        Ok(Self { descriptor: pipe::Receiver::from_owned_fd_unchecked(descriptor)? })
    }

    /// The next signal.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    ///
    /// # Cancellation
    /// Dropping the future loses no signal: a record is read whole or not at all.
    pub(super) async fn next(&mut self) -> io::Result<Signal> {
        loop {
            let mut record = [0; RECORD_BYTES];
            if self.descriptor.read(&mut record).await? < RECORD_BYTES {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let [a, b, c, d, ..] = record;
            if let Ok(signal) = Signal::try_from(i32::from_ne_bytes([a, b, c, d])) {
                return Ok(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_kernel() {
        // The runtime of Rust programs ignores SIGPIPE.
        assert_ne!(ignored() & (1 << (Signal::SIGPIPE as u64 - 1)), 0);
        assert_eq!(ignored() & (1 << (Signal::SIGTERM as u64 - 1)), 0);
    }
}
