//! The command line: the commands, their exit codes, and what they print.
//!
//! `serve`, `tenant`, `key` and `openapi` are the service's own side; `tenant` and `key` do over the store what the admin API does. The
//! others are a client of the HTTP API.

mod completions;
mod confirm;
mod duration;
mod exit;
mod key;
mod list;
mod output;
mod profile;
mod register;
mod release;
mod reserve;
mod run;
mod store_access;
mod tenant;
mod watch;
mod wish;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};
pub use key::{KeyAction, key};
pub use output::print;
pub use run::internal;
pub use tenant::{TenantAction, tenant};

/// Named things claimed over HTTP, held with a TTL and a fencing token, and seen live by everybody who cares.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    about,
    long_about = None,
    after_help = "\
HOLDFAST_URL and HOLDFAST_KEY say which service the client commands call, and with which key.

Examples:
  holdfast serve --demo
  holdfast run deploy -- ./deploy.sh
  holdfast list"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve. Settings come from HOLDFAST_* variables or holdfast.toml.
    #[command(after_help = settings())]
    Serve {
        /// Make a demo tenant once, and print its key and a line to paste.
        #[arg(long)]
        demo: bool,
    },
    /// Make, list, show, change or delete tenants.
    #[command(after_help = "Examples:\n  holdfast tenant create acme --tier Pro\n  holdfast tenant show acme")]
    Tenant {
        /// What to do with them.
        #[command(subcommand)]
        action: TenantAction,
    },
    /// Make, list, show, rotate or delete a tenant's API keys.
    #[command(after_help = "Examples:\n  holdfast key create acme worker-prod\n  holdfast key list acme")]
    Key {
        /// What to do with them.
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Print the OpenAPI document.
    #[command(after_help = "Examples:\n  holdfast openapi > openapi.json")]
    Openapi,
    /// A command that calls the service.
    #[command(flatten)]
    Client(ClientCommand),
}

/// The commands that are a client of the HTTP API, and those that need nothing.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "each says itself in its arguments")]
pub enum ClientCommand {
    Run(run::RunArgs),
    Reserve(reserve::ReserveArgs),
    Release(release::ReleaseArgs),
    Renew(release::RenewArgs),
    Check(list::CheckArgs),
    List(list::ListArgs),
    Waiting(list::WaitingArgs),
    Cancel(list::CancelArgs),
    Watch(watch::WatchArgs),
    Publish(watch::PublishArgs),
    ForceRelease(release::ForceReleaseArgs),
    Register(register::RegisterArgs),
    Completions(completions::CompletionsArgs),
    /// Print the man page
    #[command(after_help = "Examples:\n  holdfast man | man -l -")]
    Man,
}

/// The settings, with examples at the end as in every help.
fn settings() -> String {
    format!(
        "{}\n\nExamples:\n  holdfast serve --demo\n  \
         HOLDFAST_REDIS_URL=redis://redis:6379 HOLDFAST_SECRET_KEY=$(cat secret-key) holdfast serve",
        crate::config::help()
    )
}

/// Reads the command line.
///
/// # Errors
/// The exit code where there is nothing more to do: help was printed, or what is wrong.
pub fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
    })
}

/// Carries out a command of the client; the exit code.
#[must_use]
pub fn client(command: ClientCommand) -> ExitCode {
    let command = match command {
        // It starts its runtime itself, once signals are blocked.
        ClientCommand::Run(args) => return run::run(args),
        command => command,
    };
    let carried_out =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::from).and_then(|runtime| {
            let carried_out = runtime.block_on(carry_out(command));
            // A look-up of a name that is under way does not hold up the end.
            runtime.shutdown_background();
            carried_out
        });
    match carried_out {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

async fn carry_out(command: ClientCommand) -> Result<(), Failure> {
    match command {
        ClientCommand::Run(_) => Ok(()),
        ClientCommand::Reserve(args) => reserve::reserve(args).await,
        ClientCommand::Release(args) => release::release(args).await,
        ClientCommand::Renew(args) => release::renew(args).await,
        ClientCommand::Check(args) => list::check(args).await,
        ClientCommand::List(args) => list::list(args).await,
        ClientCommand::Waiting(args) => list::waiting(args).await,
        ClientCommand::Cancel(args) => list::cancel(args).await,
        ClientCommand::Watch(args) => watch::watch(args).await,
        ClientCommand::Publish(args) => watch::publish(args).await,
        ClientCommand::ForceRelease(args) => release::force_release(args).await,
        ClientCommand::Register(args) => register::register(args).await,
        ClientCommand::Completions(args) => completions::completions(&args),
        ClientCommand::Man => completions::man(),
    }
}

/// Says why a command ends without success; its exit code.
#[must_use]
pub fn report(failure: &Failure) -> ExitCode {
    if !failure.message.is_empty() {
        output::note(&failure.message);
    }
    failure.code()
}
