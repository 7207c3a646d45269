//! `holdfast release`, `renew` and `force-release`.

use std::time::Duration;

use clap::Args;
use nix::unistd::{Pid, getppid};

use crate::{
    cli::{
        duration::{parse_ttl, short},
        exit::{Exit, Failure},
        output::{print, print_json, until_or_never, visible},
        profile::ConnectionArgs,
        wish::requester_of,
    },
    client::{ReleaseItem, ReleaseResult, RenewItem, RenewResult, Status},
};

/// What is held, and the proof of it.
#[derive(Debug, Args)]
pub(super) struct HeldArgs {
    /// What is held
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Release token: one for all names, or one per name in their order [env: HOLDFAST_TOKEN]
    #[arg(long = "token", value_name = "TOKEN", env = "HOLDFAST_TOKEN", hide_env = true, required = true)]
    tokens: Vec<String>,
    /// Who holds it [default: user@host:pid of the shell]
    #[arg(long = "as", value_name = "WHO")]
    requester: Option<String>,
}

impl HeldArgs {
    /// What helps whoever is not the holder: who asked here is not always who reserved.
    fn hint(&self) -> Option<String> {
        let shell = requester_of(getppid());
        let text = format!("say who reserved it with --as; without it this shell is {shell}");
        self.requester.is_none().then_some(text)
    }

    /// What is held as each requester that it may be held by, the likelier one first: where `--as` does not say it, that of the caller's
    /// shell. A shell whose last command this is may have become this process instead of starting it.
    fn candidates(&self) -> Result<Vec<Vec<ReleaseItem>>, Failure> {
        if self.tokens.len() != 1 && self.tokens.len() != self.names.len() {
            let (tokens, names) = (self.tokens.len(), self.names.len());
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{tokens} tokens for {names} names: give --token once for all, or once per name in their order"
                ),
            ));
        }
        let requesters = match &self.requester {
            Some(requester) => vec![requester.clone()],
            None => vec![requester_of(getppid()), requester_of(Pid::this())],
        };
        let items = |requester: &String| {
            let tokens = self.tokens.iter().cycle();
            let item = |(resource, token): (&String, &String)| ReleaseItem {
                requester: requester.clone(),
                resource: resource.clone(),
                release_token: Some(token.clone()),
            };
            self.names.iter().zip(tokens).map(item).collect()
        };
        Ok(requesters.iter().map(items).collect())
    }
}

/// Give names back.
#[derive(Debug, Args)]
#[command(after_help = "\
What nobody holds any more counts as given back.

Examples:
  holdfast release printer --token \"$token\"
  holdfast release db --as me --token \"$token\"")]
pub struct ReleaseArgs {
    #[command(flatten)]
    held: HeldArgs,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Prolong what is held, from now on.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with 79 where the reservation is lost: stop working on it then.

Examples:
  holdfast renew db --as me --token \"$token\" --ttl 5m")]
pub struct RenewArgs {
    #[command(flatten)]
    held: HeldArgs,
    /// New time to live, in whole seconds
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Duration,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// End a reservation whoever holds it. Needs a key with the scope admin.
#[derive(Debug, Args)]
#[command(after_help = "\
Whoever held it is not asked: `holdfast run` ends its command within a third of the time to live.

Examples:
  holdfast force-release printer --reason 'its host burnt down'")]
pub struct ForceReleaseArgs {
    /// What to free; a pool: every slot
    name: String,
    /// Why: shown in the event
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Gives back.
///
/// # Errors
/// [`Exit::Refused`] where somebody else holds a name, or the token is wrong.
pub(super) async fn release(args: ReleaseArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let (mut reply, mut results) = (None, Vec::<ReleaseResult>::new());
    for items in args.held.candidates()? {
        let answered = client.release(&items, None).await?;
        let parsed: Vec<ReleaseResult> = answered.parse()?;
        let owns = parsed.iter().all(|result| result.status != Status::DoesntOwnReservation);
        // Where it is nobody's of these, the answer to the likeliest is shown.
        if owns || reply.is_none() {
            (results, reply) = (parsed, Some(answered.json()?));
        }
        if owns {
            break;
        }
    }
    if args.json {
        print_json(&reply.unwrap_or_default())?;
    } else {
        for result in &results {
            let text = match result.status {
                Status::Relinquished => "given back".into(),
                Status::NotReserved => "nobody holds it".into(),
                _ => visible(&result.explanation),
            };
            print(&format!("{}: {text}\n", visible(&result.resource)))?;
        }
    }
    let given_back = |result: &ReleaseResult| matches!(result.status, Status::Relinquished | Status::NotReserved);
    if results.iter().all(given_back) {
        return Ok(());
    }
    let hint = args.held.hint().filter(|_| !args.json);
    Err(Failure::new(Exit::Refused, hint.unwrap_or_default()))
}

/// Prolongs.
///
/// # Errors
/// [`Exit::Lost`] where a name is not held any more.
pub(super) async fn renew(args: RenewArgs) -> Result<(), Failure> {
    let ttl_seconds = args.ttl.as_secs();
    let client = args.connection.client()?;
    let (mut reply, mut results) = (None, Vec::<RenewResult>::new());
    for held in args.held.candidates()? {
        let items: Vec<_> = held.into_iter().map(|held| RenewItem { held, ttl_seconds }).collect();
        let answered = client.renew(&items, None).await?;
        let parsed: Vec<RenewResult> = answered.parse()?;
        let owns = parsed.iter().all(|result| result.status != Status::DoesntOwnReservation);
        if owns || reply.is_none() {
            (results, reply) = (parsed, Some(answered.json()?));
        }
        if owns {
            break;
        }
    }
    if args.json {
        print_json(&reply.unwrap_or_default())?;
    } else {
        for result in &results {
            let text = match result.status {
                Status::Renewed => {
                    format!("yours for {}, until {}", short(args.ttl), until_or_never(result.expires_at))
                }
                Status::NotReserved => "lost: nobody holds it".into(),
                _ => format!("lost: {}", visible(&result.explanation)),
            };
            print(&format!("{}: {text}\n", visible(&result.resource)))?;
        }
    }
    if results.iter().all(|result| result.status == Status::Renewed) {
        return Ok(());
    }
    let not_owned = results.iter().any(|result| result.status == Status::DoesntOwnReservation);
    let hint = args.held.hint().filter(|_| not_owned && !args.json);
    Err(Failure::new(Exit::Lost, hint.unwrap_or_default()))
}

/// Ends a reservation of anybody.
///
/// # Errors
/// [`Exit::Credential`] without the scope admin.
pub(super) async fn force_release(args: ForceReleaseArgs) -> Result<(), Failure> {
    let reply = args.connection.client()?.force_release(&args.name, args.reason.as_deref()).await?;
    let body = reply.json()?;
    if args.json {
        return print_json(&body);
    }
    let released: Vec<_> = body["released"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    if released.is_empty() {
        return print(&format!("{}: nobody holds it\n", visible(&args.name)));
    }
    released.into_iter().try_for_each(|name| print(&format!("{}: freed\n", visible(name))))
}
