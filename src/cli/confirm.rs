//! Asks before something cannot be undone.

use std::io::{IsTerminal, Write};

use crate::cli::exit::{Exit, Failure};

/// Asks a question on the terminal; whoever says neither `y` nor `yes` has it left undone. Without a terminal `--yes` has to answer.
///
/// # Errors
/// [`Exit::Usage`] without a terminal and without `--yes`; [`Exit::Refused`] where the answer is no.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("{question} Nobody is there to answer: say --yes")));
    }
    let mut err = std::io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Refused, "nothing was changed"))
    }
}
