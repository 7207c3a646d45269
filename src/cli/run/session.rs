//! The client's side of `run`: from the wish to the command's exit code.

use std::{ffi::OsString, io, os::unix::process::CommandExt, process::Command, time::Duration};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
        wait::WaitStatus,
    },
    unistd::{Pid, getpgrp},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::unix::pipe,
    sync::mpsc,
};

use crate::{
    cli::{
        exit::{Exit, Failure},
        profile::Connection,
        run::{
            RunArgs, Times,
            control::{self, Ending, GuardArguments, Order, Report},
            granted::{Granted, HeldNames, acquire},
            job_control::{Terminal, stop_job, takes_foreground},
            lease::{Lease, Renewal},
            processes,
            signals::{self, Signals},
        },
        wish::WaitDisplay,
    },
    client::{Client, ClientError, ReleaseItem, ReleaseResult, Status},
};

/// Time for giving the names back at the end; where it does not suffice they expire.
pub(super) const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Orders that wait for the pipe to the guard. It reads at once; where it does not, it is stopped, and more would help nobody.
const QUEUED_ORDERS: usize = 64;
/// How often what an ended guard left behind is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Runs a command while its names are held; its exit code.
pub(super) fn run(args: RunArgs) -> Result<u8, Failure> {
    let times = Times::of(args.wish.ttl, args.grace)?;
    let connection = args.connection.resolve()?;
    let blocked = signals::block().map_err(io::Error::from)?;
    // Where the guard is killed, what it had started is ours to end.
    prctl::set_child_subreaper(true).map_err(io::Error::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(session(args, times, connection, &blocked));
    // A look-up of a name that is under way does not hold up the end.
    runtime.shutdown_background();
    ended
}

async fn session(args: RunArgs, times: Times, connection: Connection, blocked: &SigSet) -> Result<u8, Failure> {
    let client = connection.clone().client()?;
    let mut signals = Signals::new(blocked)?;
    let mut display = WaitDisplay::new(args.json);
    let granted = match acquire(&args, times, &client, &mut signals, &mut display).await? {
        Granted::Held(granted) => granted,
        Granted::Interrupted(signal) => return Ok(Ending::Killed(signal as i32).code()),
    };
    let held = granted.release_items();
    let mut run = match Run::start(&args, times, &connection, &granted).await {
        Ok(run) => run,
        Err(error) => {
            let _ = client.release(&held, Some(RELEASE_TIMEOUT)).await;
            return Err(Failure::new(Exit::Fault, format!("the command could not be started: {error}")));
        }
    };
    let mut lease = Lease::start(client.clone(), granted.renew_items(times), times, granted.sent);
    let ended = run.until_end(&mut lease, &mut signals, &mut display).await;
    drop(lease);
    let given_back = give_back(&client, &held, &mut display).await;
    let ending = ended?;
    if run.lost || given_back == GivenBack::Lost {
        if !run.lost {
            display.say(
                "lost",
                "the reservation was lost before the command had ended: somebody else may have held it meanwhile",
            );
        }
        return Ok(Exit::Lost as u8);
    }
    Ok(ending.code())
}

/// A command that runs under its guard.
struct Run {
    guard: Pid,
    orders: mpsc::Sender<Order>,
    reports: Lines<BufReader<pipe::Receiver>>,
    times: Times,
    /// Whether the reservation was lost while the command ran.
    lost: bool,
    /// Whether the command is stopped, and waits for a renewal to be continued.
    stopped: bool,
    /// Whether the last attempt to renew failed.
    failing: bool,
}

impl Run {
    /// Starts the guard, and with it the command.
    async fn start(args: &RunArgs, times: Times, connection: &Connection, granted: &HeldNames) -> io::Result<Self> {
        let (orders_read, orders_write) = control::pipe()?;
        let (reports_read, reports_write) = control::pipe()?;
        let takes_foreground = takes_foreground();
        let arguments = GuardArguments {
            orders: control::inherit(&orders_read)?,
            reports: control::inherit(&reports_write)?,
            grace: times.grace,
            job: getpgrp(),
            takes_foreground,
        };
        // Written before the guard starts: it waits for nothing. A pipe holds 64 KiB; more is written by the task below.
        let mut first = control::line(&Order::lease(granted.sent, times))?;
        let key = connection.key.as_ref().map(|key| key.expose().to_owned());
        let release = Order::Release { url: connection.endpoint.to_string(), key, items: granted.release_items() };
        first.extend(control::line(&release)?);
        let guard = guard_command(&arguments, &args.command, granted).spawn()?;
        drop((orders_read, reports_write));
        let (orders, queued) = mpsc::channel(QUEUED_ORDERS);
        set_nonblocking(&orders_write)?;
        set_nonblocking(&reports_read)?;
        tokio::spawn(write_orders(pipe::Sender::from_owned_fd(orders_write)?, first, queued));
        let reports = BufReader::new(pipe::Receiver::from_owned_fd(reports_read)?).lines();
        let guard = Pid::from_raw(guard.id() as i32);
        Ok(Self { guard, orders, reports, times, lost: false, stopped: false, failing: false })
    }

    /// Keeps the lease and passes signals on until the command has ended.
    ///
    /// # Errors
    /// The guard was killed; then the command is ended before this returns.
    async fn until_end(
        &mut self,
        lease: &mut Lease,
        signals: &mut Signals,
        display: &mut WaitDisplay,
    ) -> Result<Ending, Failure> {
        loop {
            tokio::select! {
                report = self.reports.next_line() => match report.ok().flatten() {
                    Some(line) => match serde_json::from_str(&line).map_err(io::Error::from)? {
                        Report::Ended(ending) => return Ok(ending),
                        Report::Lapsed => {
                            self.lost = true;
                            display.say("lost", "the reservation could not be renewed in time; ending the command before it expires");
                        }
                        Report::Stopped => self.stop(lease, display),
                    },
                    None => {
                        self.end_orphans().await;
                        return Err(Failure::new(
                            Exit::Fault,
                            "the process that guarded the command was killed; the command was ended",
                        ));
                    }
                },
                renewal = lease.next() => self.take_renewal(renewal, display),
                signal = signals.next() => match signal? {
                    Signal::SIGCHLD => self.collect(),
                    signal => self.order(Order::Signal(signal as i32)),
                },
            }
        }
    }

    fn take_renewal(&mut self, renewal: Renewal, display: &mut WaitDisplay) {
        match renewal {
            Renewal::Renewed { sent, .. } => {
                self.order(Order::lease(sent, self.times));
                if std::mem::take(&mut self.failing) {
                    display.say("renewed", "the reservation is renewed again");
                }
                if std::mem::take(&mut self.stopped) {
                    self.order(Order::Continue);
                }
            }
            Renewal::Lost(why) => {
                if !std::mem::replace(&mut self.lost, true) {
                    display.say("lost", &format!("the reservation is lost: {why}; ending the command"));
                }
                self.order(Order::Lost);
            }
            Renewal::Failed(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let text = renewal_failure(&error);
                    display.say("renewalFailed", &format!("the reservation cannot be renewed: {text}; still trying"));
                }
            }
        }
    }

    /// The command was stopped: the job stops with it, where there is a terminal whose shell can continue it. Once it is continued, the
    /// command goes on as soon as a renewal proves that the names are still held.
    fn stop(&mut self, lease: &Lease, display: &mut WaitDisplay) {
        if Terminal::open().is_none() {
            return;
        }
        display.say(
            "stopped",
            "stopped: unless it is continued in time, the reservation expires and the command is ended",
        );
        let _ = stop_job();
        self.stopped = true;
        lease.renew_now();
    }

    fn order(&self, order: Order) {
        // The queue is full only where the guard is stopped or gone, and then orders are in vain.
        let _ = self.orders.try_send(order);
    }

    /// Collects orphans that this process adopted, as the first process of a container has to.
    fn collect(&self) {
        processes::collect_children(|_, _: WaitStatus| {});
    }

    /// Ends what a killed guard had started, and waits for its end.
    async fn end_orphans(&self) {
        let guard = Some(self.guard);
        while processes::signal_descendants(Signal::SIGKILL, guard) {
            self.collect();
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.collect();
    }
}

fn guard_command(arguments: &GuardArguments, command: &[OsString], granted: &HeldNames) -> Command {
    let mut guard = Command::new("/proc/self/exe");
    guard.arg0("holdfast").args(arguments.to_arguments()).args(command).process_group(0);
    for (name, value) in granted.environment() {
        match value {
            Some(value) => guard.env(name, value),
            None => guard.env_remove(name),
        };
    }
    guard
}

fn set_nonblocking(end: &std::os::fd::OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

async fn write_orders(mut to: pipe::Sender, first: Vec<u8>, mut orders: mpsc::Receiver<Order>) {
    let mut line = first;
    // Where the guard is gone, the end of its reports says so.
    while to.write_all(&line).await.is_ok() {
        let Some(order) = orders.recv().await else { return };
        match control::line(&order) {
            Ok(next) => line = next,
            Err(_) => return,
        }
    }
}

fn renewal_failure(error: &ClientError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[derive(Debug, PartialEq, Eq)]
enum GivenBack {
    /// The names are free, or will expire.
    Done,
    /// They were not held any more.
    Lost,
}

async fn give_back(client: &Client, held: &[ReleaseItem], display: &mut WaitDisplay) -> GivenBack {
    let reply = match client.release(held, Some(RELEASE_TIMEOUT)).await {
        Ok(reply) => reply,
        Err(ClientError::Refused(refusal)) if refusal.code == "INVALID_RELEASE_TOKEN" => return GivenBack::Lost,
        Err(error) => {
            let text = renewal_failure(&error);
            display
                .say("notReleased", &format!("the reservation could not be given back: {text}; it expires by itself"));
            return GivenBack::Done;
        }
    };
    let results: Vec<ReleaseResult> = reply.parse().unwrap_or_default();
    let lost = |result: &ReleaseResult| match result.status {
        // Of a call that was made twice, the first may have given it back.
        Status::NotReserved => !reply.repeated,
        status => status == Status::DoesntOwnReservation,
    };
    if results.iter().any(lost) { GivenBack::Lost } else { GivenBack::Done }
}
