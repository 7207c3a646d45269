//! From the wish to what is held: waits, reserves, and makes sure of the deadline.

use std::time::Duration;

use nix::{sys::signal::Signal, unistd::Pid};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{
        exit::{Exit, Failure},
        output::visible,
        reserve::acquire_showing,
        run::{
            RunArgs, Times,
            job_control::stop_job,
            lease::{Renewal, renew},
            processes,
            session::RELEASE_TIMEOUT,
            signals::Signals,
        },
        wish::{WaitDisplay, refusals, user_at_host},
    },
    client::{Acquired, Acquisition, BootInstant, Client, Mode, ReleaseItem, RenewItem, ReserveResult, Status},
    domain::time::iso,
};

/// Time for the renewal after which the deadline is known: all attempts together. There is no deadline yet to keep, and what lapses
/// meanwhile shows by the answer.
const FIRST_RENEWAL_TIMEOUT: Duration = Duration::from_secs(15);

/// What is held, and since when at the earliest its time to live counts.
pub(super) struct HeldNames {
    results: Vec<ReserveResult>,
    pub(super) sent: BootInstant,
}

pub(super) enum Granted {
    Held(HeldNames),
    Interrupted(Signal),
}

/// Waits and reserves. Where the time to live did not begin with the last call it is renewed, so that the deadline is known.
pub(super) async fn acquire(
    args: &RunArgs,
    times: Times,
    client: &Client,
    signals: &mut Signals,
    display: &mut WaitDisplay,
) -> Result<Granted, Failure> {
    let requester = args.wish.requester.clone().unwrap_or_else(unique_requester);
    let items = args.wish.items(&requester, Some(times.ttl));
    let mode = args.wish.mode(if items.len() > 1 { Mode::Transaction("ALL_OR_NONE") } else { Mode::Each });
    loop {
        let policy = args.wish.wait.map_or(Some(args.wish.endless()), |wait| args.wish.policy(wait));
        let cancel = CancellationToken::new();
        let acquiring = acquire_showing(client, &items, mode, policy, &cancel, display);
        let (acquisition, signal) = until_signal(acquiring, signals, &cancel).await;
        let acquired = match (acquisition?, signal) {
            (Acquisition::Answered(acquired), None) => acquired,
            (Acquisition::Answered(acquired), Some(signal)) => {
                let _ = client.release(&held(&acquired.results).release_items(), Some(RELEASE_TIMEOUT)).await;
                return Ok(Granted::Interrupted(signal));
            }
            (Acquisition::Cancelled, signal) => return Ok(Granted::Interrupted(signal.unwrap_or(Signal::SIGTERM))),
        };
        if acquired.had_before {
            return Err(Failure::new(Exit::Refused, held_by_the_same(&acquired, &requester)));
        }
        if !acquired.complete {
            return Err(Failure::new(Exit::Refused, refusals(&acquired, args.wish.wait)));
        }
        let mut granted = HeldNames { sent: acquired.sent, ..held(&acquired.results) };
        if acquired.fresh {
            return Ok(Granted::Held(granted));
        }
        match renew(client, &granted.renew_items(times), FIRST_RENEWAL_TIMEOUT).await {
            Renewal::Renewed { sent, results } => {
                granted.sent = sent;
                for (held, renewed) in granted.results.iter_mut().zip(results) {
                    held.expires_at = renewed.expires_at;
                }
                return Ok(Granted::Held(granted));
            }
            // It lapsed on the way here: it is wanted as before.
            Renewal::Lost(_) => {}
            Renewal::Failed(error) => {
                let _ = client.release(&granted.release_items(), Some(RELEASE_TIMEOUT)).await;
                return Err(error.into());
            }
        }
    }
}

/// A future's outcome; the first signal that ends programs cancels the token, and the future is still waited for.
async fn until_signal<T>(
    future: impl Future<Output = T>,
    signals: &mut Signals,
    cancel: &CancellationToken,
) -> (T, Option<Signal>) {
    tokio::pin!(future);
    let mut ending = None;
    loop {
        tokio::select! {
            outcome = &mut future => return (outcome, ending),
            signal = signals.next() => match signal {
                Ok(Signal::SIGTSTP) => { let _ = stop_job(); }
                Ok(Signal::SIGCHLD) => processes::collect_children(|_, _| {}),
                Ok(signal @ (Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM)) => {
                    if ending.replace(signal).is_some() {
                        // Asked twice: at once, leaving what was reserved to its expiry.
                        std::process::exit(128 + signal as i32);
                    }
                    cancel.cancel();
                }
                Ok(_) => {}
                Err(_) => cancel.cancel(),
            },
        }
    }
}

/// The names that are held.
fn held(results: &[ReserveResult]) -> HeldNames {
    let results = results.iter().filter(|result| result.status.is_held()).cloned().collect();
    HeldNames { results, sent: BootInstant::now() }
}

/// A requester that no other run has: several may come from one shell, and a container's process numbers come again.
fn unique_requester() -> String {
    let random = getrandom::u32().unwrap_or_default();
    format!("{}:{}-{random:08x}", user_at_host(), Pid::this())
}

fn held_by_the_same(acquired: &Acquired, requester: &str) -> String {
    let name = acquired.results.iter().find(|result| result.status == Status::AlreadyHad);
    let name = name.map(|result| visible(&result.resource)).unwrap_or_default();
    format!(
        "{name} is held by {} already: a run with the same --as is under way, or ended without giving back; \
         leave --as out, or wait until it expires",
        visible(requester)
    )
}

impl HeldNames {
    pub(super) fn release_items(&self) -> Vec<ReleaseItem> {
        let item = |result: &ReserveResult| ReleaseItem {
            requester: result.requester.clone(),
            resource: result.resource.clone(),
            release_token: result.release_token.clone(),
        };
        self.results.iter().map(item).collect()
    }

    pub(super) fn renew_items(&self, times: Times) -> Vec<RenewItem> {
        let ttl_seconds = times.ttl.as_secs();
        self.release_items().into_iter().map(|held| RenewItem { held, ttl_seconds }).collect()
    }

    /// What the command finds in its environment; of several names or slots one line each, or one line where all are equal.
    pub(super) fn environment(&self) -> [(&'static str, Option<String>); 5] {
        let lines = |each: &dyn Fn(&ReserveResult) -> Option<String>| {
            let mut lines: Vec<_> = self.results.iter().map(each).collect();
            lines.iter().any(Option::is_some).then(|| {
                if lines.windows(2).all(|pair| pair[0] == pair[1]) {
                    lines.truncate(1);
                }
                lines.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("\n")
            })
        };
        [
            ("HOLDFAST_RESOURCE", lines(&|result| Some(result.resource.clone()))),
            ("HOLDFAST_SLOT", lines(&|result| Some(result.slots().join("\n")).filter(|slots| !slots.is_empty()))),
            ("HOLDFAST_FENCE", lines(&|result| result.fencing_token.map(|fence| fence.to_string()))),
            ("HOLDFAST_REQUESTER", lines(&|result| Some(result.requester.clone()))),
            ("HOLDFAST_EXPIRES_AT", lines(&|result| result.expires_at.map(iso))),
        ]
    }
}
