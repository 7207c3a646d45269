//! `holdfast reserve`.

use std::time::Duration;

use clap::Args;
use nix::unistd::getppid;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{
        exit::{Exit, Failure},
        output::{Colour, coloured, has_colours, print, print_json, until, visible},
        profile::ConnectionArgs,
        wish::{WaitDisplay, WishArgs, refusals, requester_of},
    },
    client::{Acquired, Acquisition, Client, Mode, ReserveItem, ReserveResult, Status, WaitPolicy, acquire},
};

/// How often the line of a wait is drawn anew.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// Reserve names, each on its own unless an option says otherwise, and print their release tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast reserve printer --ttl 60s
  holdfast reserve gpu-1 gpu-2 --first --wait 5m --ttl 10m --json
  holdfast reserve licence --quantity 3 --ttl 10m
  token=$(holdfast reserve db --as me --ttl 5m --json | jq -r '.[0].releaseToken')")]
pub struct ReserveArgs {
    #[command(flatten)]
    wish: WishArgs,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Reserves, and prints what became of each name.
///
/// # Errors
/// [`Exit::Refused`] where a name is not held at the end.
pub(super) async fn reserve(args: ReserveArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let requester = args.wish.requester.clone().unwrap_or_else(|| requester_of(getppid()));
    let items = args.wish.items(&requester, args.wish.ttl);
    let mode = args.wish.mode(Mode::Each);
    let policy = args.wish.wait.and_then(|wait| args.wish.policy(wait));
    let cancel = CancellationToken::new();
    let mut display = WaitDisplay::new(args.json);
    let interrupted = cancel_at_signal(cancel.clone());
    let acquisition = acquire_showing(&client, &items, mode, policy, &cancel, &mut display).await;
    let acquired = match acquisition? {
        Acquisition::Answered(acquired) => acquired,
        Acquisition::Cancelled => {
            std::process::exit(128 + interrupted.await.unwrap_or(nix::libc::SIGINT));
        }
    };
    if args.json {
        print_json(&acquired.body)?;
    } else {
        print_results(&acquired)?;
    }
    if acquired.complete {
        Ok(())
    } else {
        let wait = Some(args.wish.wait.unwrap_or_default());
        let text = if args.json { String::new() } else { refusals(&acquired, wait) };
        Err(Failure::new(Exit::Refused, text))
    }
}

/// Acquires while the display counts down.
pub(super) async fn acquire_showing(
    client: &Client,
    items: &[ReserveItem],
    mode: Mode,
    policy: Option<WaitPolicy>,
    cancel: &CancellationToken,
    display: &mut WaitDisplay,
) -> Result<Acquisition, Failure> {
    let display = std::cell::RefCell::new(display);
    let acquisition = {
        let mut progress = |progress: crate::client::Progress<'_>| display.borrow_mut().progress(progress);
        let acquiring = acquire(client, items, mode, policy, cancel, &mut progress);
        tokio::pin!(acquiring);
        loop {
            tokio::select! {
                acquisition = &mut acquiring => break acquisition,
                () = tokio::time::sleep(DRAW_EVERY) => display.borrow_mut().draw(),
            }
        }
    };
    display.borrow_mut().clear();
    Ok(acquisition?)
}

/// Cancels at the first signal that ends a program; which one it was.
fn cancel_at_signal(cancel: CancellationToken) -> tokio::task::JoinHandle<i32> {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::spawn(async move {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
            (signal(kinds[0]), signal(kinds[1]), signal(kinds[2]))
        else {
            return std::future::pending().await;
        };
        let number = tokio::select! {
            _ = interrupt.recv() => kinds[0],
            _ = terminate.recv() => kinds[1],
            _ = hangup.recv() => kinds[2],
        };
        cancel.cancel();
        number.as_raw_value()
    })
}

fn print_results(acquired: &Acquired) -> Result<(), Failure> {
    let colours = has_colours(&std::io::stdout());
    let held = |result: &&ReserveResult| result.status.is_held();
    for result in acquired.results.iter().filter(held) {
        let (word, way_out) = match result.status {
            Status::Acquired => ("acquired", "--ttl 5m ends it"),
            _ => ("already yours", "`holdfast renew` with --ttl 5m ends it"),
        };
        let end = match result.expires_at {
            Some(instant) => format!("until {}", until(instant)),
            None => format!("without an end: it stays until released; {way_out}"),
        };
        let slots = result.slots().join(", ");
        print(&format!(
            "{}: {}, {end}\n  fence {}, token {}, as {}\n",
            visible(if slots.is_empty() { &result.resource } else { &slots }),
            coloured(word, Colour::Green, colours),
            result.fencing_token.unwrap_or_default(),
            result.release_token.as_deref().unwrap_or("only its maker is shown it"),
            visible(&result.requester),
        ))?;
    }
    Ok(())
}
