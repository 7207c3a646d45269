//! `holdfast run`: holds names while a command runs.
//!
//! Three processes of this program take part, since one alone can be killed or stopped:
//!
//! - The *client* (this module, [`session`], [`lease`]) is what the shell starts. It waits, reserves, renews and gives back, passes signals
//!   on, and takes part in job control.
//! - The *guard* ([`guard`]) is its child, without a connection of its own. It starts the command, and ends it when the deadline that the
//!   client last handed it comes near, also where the client hangs, is stopped or killed. Where the client is gone it gives the names back.
//! - The *launcher* ([`launcher`]) becomes the command: it prepares what only the process itself can (the terminal's foreground, the
//!   signal at its parent's death), then executes it.
//!
//! The command has a process group of its own. What it leaves behind in that group is ended with it; where the reservation is lost, all
//! its descendants are.

mod control;
mod granted;
mod guard;
mod job_control;
mod launcher;
mod lease;
mod processes;
mod session;
mod signals;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::Args;

use crate::cli::{
    duration::{parse_duration, short},
    exit::{Exit, Failure},
    profile::ConnectionArgs,
    wish::WishArgs,
};

const DEFAULT_TTL: Duration = Duration::from_secs(30);
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// The command is killed this share of the time to live before the deadline, for clocks do not run equally fast.
const CLOCK_RATE_SHARE: u32 = 100;
/// And at least this long before it, which covers the time that the kernel takes to end processes.
const KILL_MARGIN: Duration = Duration::from_millis(100);

/// Hold names while a command runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Waits until the names are free (--wait 0s: not at all), runs the command, and gives the names back at its end. The command finds
HOLDFAST_RESOURCE, HOLDFAST_FENCE, HOLDFAST_REQUESTER, HOLDFAST_EXPIRES_AT and, of a pool, HOLDFAST_SLOT in its environment; of several
names, and of several slots (--quantity), there is one line each. Where the reservation is lost, the command and all that it started get
TERM, and KILL after --grace.

Ends with the code of the command, 128 + N where signal N ended it; 79 where the reservation was lost, 75 where it was refused or waited for
in vain, 69 where the service is not reached, 77 where the credential is refused, 64 for a wrong command line, 126 or 127 where the
command cannot be executed or found.

Examples:
  holdfast run deploy -- ./deploy.sh
  holdfast run nightly-report --wait 0s -- ./report.sh
  holdfast run db --ttl 60s --wait 5m -- psql -f migrate.sql
  holdfast run gpu --quantity 2 -- sh -c 'train --devices $HOLDFAST_SLOT'
  holdfast run gpu --note \"training run 7\" -- sh -c 'train --device \"${HOLDFAST_SLOT#gpu_}\"'")]
pub struct RunArgs {
    #[command(flatten)]
    wish: WishArgs,
    /// Time between TERM and KILL where the reservation is lost; half of the time to live at most [default: 10s, or a third of --ttl]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// What happens, as one JSON object per line on standard error
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The times of a lease, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    ttl: Duration,
    grace: Duration,
}

impl Times {
    fn of(ttl: Option<Duration>, grace: Option<Duration>) -> Result<Self, Failure> {
        let ttl = ttl.unwrap_or(DEFAULT_TTL);
        let grace = grace.unwrap_or(DEFAULT_GRACE.min(ttl / 3));
        if grace > ttl / 2 {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "--grace {} is more than half of the time to live, {}: TERM would come before a renewal could be tried twice; \
                     give a shorter --grace or a longer --ttl",
                    short(grace),
                    short(ttl)
                ),
            ));
        }
        Ok(Self { ttl, grace })
    }

    /// The interval of renewals: a third of the time to live.
    fn renewal_interval(self) -> Duration {
        self.ttl / 3
    }

    /// Timeout of one attempt to renew: several fit between the first one and TERM.
    fn renewal_timeout(self) -> Duration {
        (self.ttl / 10).clamp(Duration::from_millis(200), Duration::from_secs(3))
    }

    /// How long after a renewal was sent the command is killed at the latest.
    fn kill_after(self) -> Duration {
        self.ttl - (self.ttl / CLOCK_RATE_SHARE).max(KILL_MARGIN)
    }

    /// How long after a renewal was sent the command gets TERM where no other renewal succeeds.
    fn term_after(self) -> Duration {
        self.kill_after().saturating_sub(self.grace)
    }
}

/// Runs a command while its names are held; the exit code.
///
/// Call it on the main thread, before any other thread is started: signals are blocked here, and threads take that over.
#[must_use]
pub(super) fn run(args: RunArgs) -> ExitCode {
    match session::run(args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => crate::cli::report(&failure),
    }
}

/// What this process is to do where it was started by another one of `run`: the guard's or the launcher's work. `None` where it was not.
#[must_use]
pub fn internal(arguments: &[OsString]) -> Option<ExitCode> {
    match arguments.get(1)?.to_str()? {
        control::GUARD_ARGUMENT => Some(guard::main(arguments.get(2..)?)),
        launcher::ARGUMENT => Some(launcher::main(arguments.get(2..)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn term_leaves_time_to_renew_twice_and_kill_comes_before_the_deadline() {
        for seconds in [1, 2, 3, 10, 30, 600, 86_400] {
            for grace in [None, Some(Duration::ZERO), Some(Duration::from_secs(seconds) / 2)] {
                let times = Times::of(Some(Duration::from_secs(seconds)), grace).unwrap();
                assert!(times.kill_after() + KILL_MARGIN <= times.ttl, "{times:?}");
                assert_eq!(times.term_after() + times.grace, times.kill_after(), "{times:?}");
                assert!(times.term_after() > times.renewal_interval(), "{times:?}");
            }
        }
    }

    #[test]
    fn a_grace_that_leaves_no_time_is_refused() {
        let failure = Times::of(Some(Duration::from_secs(10)), Some(Duration::from_secs(6))).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(Times::of(None, None).unwrap().grace, DEFAULT_GRACE);
    }
}
