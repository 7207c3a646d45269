//! `holdfast completions` and `man`, made from the commands' own definitions.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::{
    Cli,
    exit::{Exit, Failure},
    output::print,
};

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast completions bash > ~/.local/share/bash-completion/completions/holdfast
  holdfast completions zsh > ~/.zfunc/_holdfast
  holdfast completions fish > ~/.config/fish/completions/holdfast.fish")]
pub struct CompletionsArgs {
    /// bash, zsh or fish
    #[arg(value_parser = clap::builder::EnumValueParser::<SupportedShell>::new())]
    shell: SupportedShell,
}

/// The shells that completions are made and tested for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SupportedShell {
    Bash,
    Zsh,
    Fish,
}

/// Prints completions.
///
/// # Errors
/// The output cannot be written.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        SupportedShell::Bash => Shell::Bash,
        SupportedShell::Zsh => Shell::Zsh,
        SupportedShell::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "holdfast", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Prints the man page: the program's, followed by one section per command.
///
/// # Errors
/// The output cannot be written.
pub(super) fn man() -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    let mut text = Vec::new();
    let fault = |error: std::io::Error| Failure::new(Exit::Fault, error.to_string());
    clap_mangen::Man::new(command.clone()).render(&mut text).map_err(fault)?;
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let page = clap_mangen::Man::new(command.clone().display_name(format!("holdfast {}", command.get_name())));
        page.render_name_section(&mut text).map_err(fault)?;
        page.render_synopsis_section(&mut text).map_err(fault)?;
        page.render_description_section(&mut text).map_err(fault)?;
        page.render_options_section(&mut text).map_err(fault)?;
        page.render_extra_section(&mut text).map_err(fault)?;
    }
    print(&String::from_utf8_lossy(&text))
}
