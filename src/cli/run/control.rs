//! What client and guard say to each other: the guard's arguments, then lines of text over two pipes.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::signal::Signal,
    unistd::{Pid, close, pipe2},
};
use serde::{Deserialize, Serialize};

use crate::client::{BootInstant, ReleaseItem};

/// The argument that makes a process of this program a guard.
pub(super) const GUARD_ARGUMENT: &str = "__guard";

/// What a guard is started with.
pub(super) struct GuardArguments {
    /// Numbers of the inherited pipes.
    pub(super) orders: i32,
    pub(super) reports: i32,
    pub(super) grace: Duration,
    /// The client's process group, which has the terminal where the command has not.
    pub(super) job: Pid,
    pub(super) takes_foreground: bool,
}

impl GuardArguments {
    pub(super) fn to_arguments(&self) -> [String; 6] {
        [
            GUARD_ARGUMENT.into(),
            self.orders.to_string(),
            self.reports.to_string(),
            self.grace.as_millis().to_string(),
            self.job.to_string(),
            i32::from(self.takes_foreground).to_string(),
        ]
    }

    pub(super) fn parse(arguments: &[OsString]) -> Option<Self> {
        let number = |at: usize| arguments.get(at)?.to_str()?.parse::<i64>().ok();
        Some(Self {
            orders: number(0)?.try_into().ok()?,
            reports: number(1)?.try_into().ok()?,
            grace: Duration::from_millis(number(2)?.try_into().ok()?),
            job: Pid::from_raw(number(3)?.try_into().ok()?),
            takes_foreground: number(4)? == 1,
        })
    }
}

/// What the client says to the guard. The end of the pipe says that the client is gone.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// When the command gets TERM and when KILL unless a later lease comes first, in nanoseconds since boot.
    Lease { term_ns: u64, kill_ns: u64 },
    /// How the names are given back where the client cannot. Over the pipe, since arguments can be seen by others.
    Release { url: String, key: Option<String>, items: Vec<ReleaseItem> },
    /// Pass a signal on to the command's process group.
    Signal(i32),
    /// Continue a stopped command.
    Continue,
    /// The reservation is lost: end the command.
    Lost,
}

/// What the guard says to the client. The end of the pipe without [`Report::Ended`] says that the guard was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The command was stopped by a signal.
    Stopped,
    /// The deadline came near without a renewal: the command got TERM.
    Lapsed,
    /// The command has ended, and everything of it that has to.
    Ended(Ending),
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ending {
    Exited(i32),
    Killed(i32),
}

impl Ending {
    /// The exit code as shells count it: 128 + signal where a signal ended it.
    pub(super) fn code(self) -> u8 {
        let code = match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl Order {
    pub(super) fn lease(sent: BootInstant, times: super::Times) -> Self {
        Self::Lease {
            term_ns: (sent + times.term_after()).nanoseconds(),
            kill_ns: (sent + times.kill_after()).nanoseconds(),
        }
    }
}

/// One message as a line.
pub(super) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// The number of a signal that this system has.
pub(super) fn signal(number: i32) -> Option<Signal> {
    Signal::try_from(number).ok()
}

/// A pipe of which the child that is started next inherits one end.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(OFlag::O_CLOEXEC)?)
}

/// Lets the next child inherit an end of a pipe; the number that it has there.
pub(super) fn inherit(end: &OwnedFd) -> io::Result<i32> {
    fcntl(end.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(end.as_raw_fd())
}

/// Takes over an inherited end of a pipe by its number, so that no child of this process inherits it again.
///
/// It is opened anew through `/proc` and the number closed: a number cannot be made an owned descriptor without unsafe code.
pub(super) fn take_inherited(number: i32, read: bool) -> io::Result<File> {
    let path = format!("/proc/self/fd/{number}");
    let mut options = OpenOptions::new();
    options.custom_flags(OFlag::O_NONBLOCK.bits());
    let file = if read { options.read(true).open(path) } else { options.write(true).open(path) }?;
    close(number)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lines() {
        let order = Order::Release {
            url: "http://x".into(),
            key: None,
            items: vec![ReleaseItem { requester: "a\nb".into(), resource: "r".into(), release_token: None }],
        };
        let line = line(&order).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(serde_json::from_slice::<Order>(&line).unwrap(), order);
    }

    #[test]
    fn an_ending_has_a_shells_code() {
        assert_eq!(Ending::Exited(3).code(), 3);
        assert_eq!(Ending::Killed(9).code(), 137);
    }
}
