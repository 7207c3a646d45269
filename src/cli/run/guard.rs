//! The guard: ends the command before anybody else can hold its names, whatever becomes of the client.
//!
//! It has no connection, no runtime and no thread: it waits for three descriptors at once, so nothing but the kernel can hold it up.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    process::ExitCode,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
        wait::WaitStatus,
    },
    unistd::Pid,
};

use crate::{
    cli::{
        output,
        run::{
            control::{self, Ending, GuardArguments, Order, Report},
            job_control::Terminal,
            launcher, processes,
        },
    },
    client::{ApiKey, BootInstant, Client, Endpoint, ReleaseItem, Transport},
};

/// How long what the command left behind in its group may take to end by itself: the last lines of a pipeline, not a service.
const LINGER: Duration = Duration::from_secs(1);
/// How often the end of processes that are no children is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Time for giving the names back where the client is gone.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The process number before the command is started.
const NOT_STARTED: Pid = Pid::from_raw(0);

/// Where the command is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It runs, and its lease is renewed.
    Running,
    /// It has ended by itself, and something of its group has not: that gets TERM at the instant.
    Lingering { term_at: BootInstant },
    /// It got TERM, and gets KILL at the instant. `all`: with all its descendants, not only its group.
    Ending { kill_at: BootInstant, all: bool },
    /// It got KILL, again and again until nothing is left.
    Killing { all: bool },
}

struct Guard {
    orders: File,
    /// What has come of an order's line.
    partial: Vec<u8>,
    client_lives: bool,
    reports: File,
    children: SignalFd,
    timer: TimerFd,
    terminal: Option<Terminal>,
    job: Pid,
    /// Whether the command had the terminal before it was stopped.
    had_foreground: bool,
    /// The command's process and its group; `Pid` 0 until it is started.
    command: Pid,
    /// What came before there was a command: signals for it, and that its reservation is lost.
    early_signals: Vec<Signal>,
    lost_early: bool,
    ending: Option<Ending>,
    grace: Duration,
    term_at: BootInstant,
    kill_at: BootInstant,
    phase: Phase,
    release: Option<Release>,
}

struct Release {
    url: String,
    key: Option<String>,
    items: Vec<ReleaseItem>,
}

/// Runs the guard; its own exit code says nothing.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    match guard(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("the command could not be guarded: {error}"));
            // Whatever was started does not go on without a guard.
            while processes::signal_descendants(Signal::SIGKILL, None) {
                processes::collect_children(|_, _| {});
                std::thread::sleep(LOOK_EVERY);
            }
            ExitCode::FAILURE
        }
    }
}

fn guard(arguments: &[OsString]) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "wrong arguments");
    let parsed = GuardArguments::parse(arguments).ok_or_else(invalid)?;
    let command = arguments.get(5..).ok_or_else(invalid)?;
    let orders = control::take_inherited(parsed.orders, true)?;
    let reports = control::take_inherited(parsed.reports, false)?;
    // What reaches the job, or everything of a service, is the client's to pass on: the guard stays.
    SigSet::all().thread_block()?;
    prctl::set_child_subreaper(true)?;
    let mut child_signal = SigSet::empty();
    child_signal.add(Signal::SIGCHLD);
    let children = SignalFd::with_flags(&child_signal, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    let now = BootInstant::now();
    let mut guard = Guard {
        orders,
        partial: Vec::new(),
        client_lives: true,
        reports,
        children,
        timer,
        terminal: Terminal::open(),
        job: parsed.job,
        had_foreground: parsed.takes_foreground,
        command: NOT_STARTED,
        early_signals: Vec::new(),
        lost_early: false,
        ending: None,
        grace: parsed.grace,
        term_at: now,
        kill_at: now,
        phase: Phase::Running,
        release: None,
    };
    // The first orders come before the command: without a lease there is nothing to run for.
    while guard.term_at <= now {
        guard.wait_for_orders()?;
        guard.take_orders()?;
        if !guard.client_lives {
            guard.give_back();
            return Ok(());
        }
    }
    if guard.lost_early {
        guard.report(Report::Ended(Ending::Killed(Signal::SIGTERM as i32)));
        return Ok(());
    }
    let child = launcher::command(parsed.takes_foreground, command).spawn()?;
    guard.command = Pid::from_raw(child.id() as i32);
    for signal in std::mem::take(&mut guard.early_signals) {
        processes::signal_group(guard.command, signal);
    }
    guard.run()
}

impl Guard {
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.advance();
            if self.phase != Phase::Running && self.is_over() {
                break;
            }
            self.set_timer()?;
            self.wait()?;
            self.take_children();
            self.take_orders()?;
        }
        if let Some(terminal) = &self.terminal
            && terminal.foreground() == Some(self.command)
        {
            terminal.give_to(self.job);
        }
        if self.client_lives {
            if let Some(ending) = self.ending {
                self.report(Report::Ended(ending));
            }
        } else {
            self.give_back();
        }
        Ok(())
    }

    /// Does what is due by now.
    fn advance(&mut self) {
        let now = BootInstant::now();
        match self.phase {
            Phase::Running if !self.client_lives => self.end_all(now),
            Phase::Running if now >= self.term_at => {
                self.report(Report::Lapsed);
                self.end_all(now);
            }
            Phase::Running if self.ending.is_some() => self.phase = Phase::Lingering { term_at: now + LINGER },
            Phase::Lingering { term_at } if now >= term_at || now >= self.term_at || !self.client_lives => {
                processes::signal_group(self.command, Signal::SIGTERM);
                processes::signal_group(self.command, Signal::SIGCONT);
                self.phase = Phase::Ending { kill_at: (now + self.grace).min(self.kill_at), all: false };
            }
            Phase::Ending { kill_at, all } if now >= kill_at => {
                self.phase = Phase::Killing { all };
                self.kill(all);
            }
            Phase::Killing { all } => self.kill(all),
            Phase::Running | Phase::Lingering { .. } | Phase::Ending { .. } => {}
        }
    }

    /// Begins to end the command and all its descendants: TERM now, KILL after the grace, never later than the deadline.
    fn end_all(&mut self, now: BootInstant) {
        processes::signal_group(self.command, Signal::SIGTERM);
        processes::signal_descendants(Signal::SIGTERM, Some(self.command));
        // What is stopped takes TERM only once it is continued.
        processes::signal_group(self.command, Signal::SIGCONT);
        processes::signal_descendants(Signal::SIGCONT, Some(self.command));
        self.phase = Phase::Ending { kill_at: (now + self.grace).min(self.kill_at), all: true };
    }

    fn kill(&self, all: bool) {
        processes::signal_group(self.command, Signal::SIGKILL);
        if all {
            processes::signal_descendants(Signal::SIGKILL, None);
        }
    }

    /// Whether everything has ended that has to.
    fn is_over(&self) -> bool {
        let all = matches!(self.phase, Phase::Ending { all: true, .. } | Phase::Killing { all: true });
        self.ending.is_some()
            && !processes::group_lives(self.command)
            && (!all || processes::descendants(Pid::this()).is_empty())
    }

    /// The next instant at which something is due.
    fn set_timer(&self) -> io::Result<()> {
        let look = BootInstant::now() + LOOK_EVERY;
        let due = match self.phase {
            Phase::Running => self.term_at,
            Phase::Lingering { term_at } => term_at.min(look),
            Phase::Ending { kill_at, .. } => kill_at.min(look),
            Phase::Killing { .. } => look,
        };
        // A timer of zero would be none.
        let due = TimeSpec::from_duration(due.since_boot().max(Duration::from_nanos(1)));
        Ok(self.timer.set(Expiration::OneShot(due), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }

    fn wait(&self) -> io::Result<()> {
        let readable = PollFlags::POLLIN;
        let mut descriptors =
            vec![PollFd::new(self.children.as_fd(), readable), PollFd::new(self.timer.as_fd(), readable)];
        if self.client_lives {
            descriptors.push(PollFd::new(self.orders.as_fd(), readable));
        }
        ignoring_interrupts(poll(&mut descriptors, PollTimeout::NONE))
    }

    fn wait_for_orders(&self) -> io::Result<()> {
        ignoring_interrupts(poll(&mut [PollFd::new(self.orders.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE))
    }

    fn take_children(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        let (command, mut ending, mut stopped) = (self.command, None, None);
        processes::collect_children(|pid, status| {
            if pid != command {
                return;
            }
            match status {
                WaitStatus::Exited(_, code) => ending = Some(Ending::Exited(code)),
                WaitStatus::Signaled(_, signal, _) => ending = Some(Ending::Killed(signal as i32)),
                WaitStatus::Stopped(_, signal) => stopped = Some(signal),
                _ => {}
            }
        });
        if let Some(ending) = ending {
            self.ending = Some(ending);
        } else if let Some(signal) = stopped {
            self.take_stop(signal);
        }
    }

    /// The command was stopped: because it used the terminal from the background, which it may have where the job is in the foreground; else
    /// the job is to stop with it.
    fn take_stop(&mut self, signal: Signal) {
        let foreground = self.terminal.as_ref().and_then(Terminal::foreground);
        let wants_terminal = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        match &self.terminal {
            Some(terminal) if wants_terminal && foreground == Some(self.job) => {
                self.had_foreground = true;
                terminal.give_to(self.command);
                processes::signal_group(self.command, Signal::SIGCONT);
                return;
            }
            Some(terminal) if foreground == Some(self.command) => {
                self.had_foreground = true;
                terminal.give_to(self.job);
            }
            _ => {}
        }
        self.report(Report::Stopped);
    }

    fn take_orders(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        while self.client_lives {
            match self.orders.read(&mut piece) {
                Ok(0) => self.client_lives = false,
                Ok(read) => self.partial.extend_from_slice(piece.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let order = serde_json::from_slice(&line)?;
            self.obey(order);
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Lease { term_ns, kill_ns } => {
                self.term_at = BootInstant::from_nanoseconds(term_ns);
                self.kill_at = BootInstant::from_nanoseconds(kill_ns);
            }
            Order::Release { url, key, items } => self.release = Some(Release { url, key, items }),
            Order::Signal(number) => match control::signal(number) {
                Some(signal) if self.command == NOT_STARTED => self.early_signals.push(signal),
                Some(signal) if self.ending.is_none() => processes::signal_group(self.command, signal),
                _ => {}
            },
            Order::Continue | Order::Lost if self.command == NOT_STARTED => self.lost_early |= order == Order::Lost,
            Order::Continue => {
                if let Some(terminal) = &self.terminal
                    && self.had_foreground
                    && terminal.foreground() == Some(self.job)
                {
                    terminal.give_to(self.command);
                }
                processes::signal_group(self.command, Signal::SIGCONT);
            }
            Order::Lost if matches!(self.phase, Phase::Running | Phase::Lingering { .. }) => {
                self.end_all(BootInstant::now());
            }
            Order::Lost => {}
        }
    }

    fn report(&mut self, report: Report) {
        // A client that is gone, or stopped for so long that the pipe is full, learns it from the end of the pipe.
        let _ = control::line(&report).and_then(|line| self.reports.write_all(&line));
    }

    /// Gives the names back instead of the client, as far as the service can be reached. Otherwise they expire.
    fn give_back(&mut self) {
        let Some(release) = self.release.take() else { return };
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let key = release.key.and_then(|key| ApiKey::parse(&key).ok());
        let client = Endpoint::parse(&release.url).ok().and_then(|at| Transport::new(at, key).ok()).map(Client::new);
        if let Some(client) = client {
            let _ = runtime.block_on(client.release(&release.items, Some(RELEASE_TIMEOUT)));
        }
    }
}

fn ignoring_interrupts(polled: nix::Result<i32>) -> io::Result<()> {
    match polled {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
