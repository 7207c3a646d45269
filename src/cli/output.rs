//! What commands print: tables, colours, JSON, notes.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    time::Duration,
};

use chrono::{DateTime, Local, Utc};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::cli::{
    duration::short,
    exit::{Exit, Failure},
};

/// Width of a table where the terminal does not say its own.
const DEFAULT_WIDTH: usize = 100;
/// A column is never narrower than this, even where the table passes the width then.
const NARROWEST: usize = 8;

/// A colour of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// As the terminal writes.
    Plain,
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Waiting.
    Yellow,
    /// Less important.
    Faint,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Green => "\x1b[32m",
            Self::Red => "\x1b[31m",
            Self::Yellow => "\x1b[33m",
            Self::Faint => "\x1b[2m",
        }
    }
}

/// Whether colours go to a stream: only to a terminal, and not where `NO_COLOR` is set or the terminal is dumb.
#[must_use]
pub(super) fn has_colours(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A text in a colour.
#[must_use]
pub(super) fn coloured(text: &str, colour: Colour, colours: bool) -> String {
    if colours && colour != Colour::Plain { format!("{}{text}\x1b[0m", colour.code()) } else { text.to_owned() }
}

/// A text of somebody else as it may go to a terminal: control characters are escaped, so that a name cannot move the cursor.
#[must_use]
pub(super) fn visible(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|char| if char.is_control() { char.escape_default().collect() } else { vec![char] })
            .collect()
    } else {
        text.to_owned()
    }
}

/// Prints a text.
///
/// # Errors
/// Standard output cannot be written. Where its reader is gone the process ends with success instead, as `head` expects it.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(Exit::Fault, format!("the output cannot be written: {error}"))),
    }
}

/// Whether standard output is a pipe whose reader has closed it.
pub(super) fn reader_is_gone() -> bool {
    let out = io::stdout();
    let mut descriptors = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let polled = poll(&mut descriptors, PollTimeout::ZERO);
    polled.is_ok() && descriptors[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// Prints one JSON document: indented for a terminal, else on one line.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    let text =
        if io::stdout().is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| Failure::new(Exit::Fault, error.to_string()))?;
    print(&format!("{text}\n"))
}

/// Writes a line to standard error; where that is gone, to nobody.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "holdfast: {text}");
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    colour: Colour,
    whole: bool,
}

impl Cell {
    /// A cell of a colour.
    #[must_use]
    pub(super) fn new(text: &str, colour: Colour) -> Self {
        Self { text: visible(text), colour, whole: false }
    }

    /// A cell whose column is never cut: what people copy.
    #[must_use]
    pub(super) fn whole(text: &str) -> Self {
        Self { whole: true, ..Self::from(text) }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Colour::Plain)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(&text, Colour::Plain)
    }
}

/// Prints a table that fits the terminal's width; to a pipe or a file it is as wide as it needs.
///
/// # Errors
/// As [`print`].
pub(super) fn print_table<const N: usize>(headers: [&str; N], rows: &[[Cell; N]]) -> Result<(), Failure> {
    let out = io::stdout();
    let width = out.is_terminal().then(|| width(&out));
    print(&table(headers, rows, width, has_colours(&out)))
}

/// The terminal's width in characters.
#[must_use]
pub(super) fn width(terminal: &impl AsFd) -> usize {
    rustix::termios::tcgetwinsize(terminal)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0)
        .unwrap_or(DEFAULT_WIDTH)
}

/// The table as text. Where it is wider than `most`, the widest columns are cut with `…` until it fits.
fn table<const N: usize>(headers: [&str; N], rows: &[[Cell; N]], most: Option<usize>, colours: bool) -> String {
    let length = |text: &str| text.chars().count();
    let mut widths = headers.map(length);
    let mut whole = [false; N];
    for row in rows {
        for ((width, whole), cell) in widths.iter_mut().zip(&mut whole).zip(row) {
            *width = (*width).max(length(&cell.text));
            *whole |= cell.whole;
        }
    }
    if let Some(most) = most {
        let gaps = 2 * N.saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let may_be_cut = widths.iter_mut().zip(whole).filter(|(_, whole)| !whole);
            let Some(widest) = may_be_cut.map(|(width, _)| width).max() else { break };
            if *widest <= NARROWEST {
                break;
            }
            *widest -= 1;
        }
    }
    let mut text = String::new();
    let mut line = |cells: [(&str, Colour); N]| {
        for (at, ((cell, colour), width)) in cells.into_iter().zip(widths).enumerate() {
            let cut = cut(cell, width);
            let space = if at + 1 < N { width - length(&cut) + 2 } else { 0 };
            text.push_str(&coloured(&cut, colour, colours));
            text.push_str(&" ".repeat(space));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    };
    line(headers.map(|header| (header, Colour::Faint)));
    for row in rows {
        line(row.each_ref().map(|cell| (cell.text.as_str(), cell.colour)));
    }
    text
}

/// A text of at most `width` characters, with `…` where it was longer.
#[must_use]
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// An instant for people: the time of day here, with the date where it is not today, and how far it is.
#[must_use]
pub(super) fn until(instant: DateTime<Utc>) -> String {
    let now = Utc::now();
    let local = instant.with_timezone(&Local);
    let form =
        if local.date_naive() == now.with_timezone(&Local).date_naive() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    let far = match (instant - now).to_std() {
        Ok(left) => format!("in {}", short(Duration::from_secs(left.as_secs()))),
        Err(_) => format!("{} ago", short(Duration::from_secs((now - instant).num_seconds().unsigned_abs()))),
    };
    format!("{} ({far})", local.format(form))
}

/// The same for an end that may not be there.
#[must_use]
pub(super) fn until_or_never(instant: Option<DateTime<Utc>>) -> String {
    instant.map_or_else(|| "no end".into(), until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_width_by_cutting_what_is_widest() {
        let rows = [["a".into(), "holder-with-a-long-name".into()], ["printer".into(), "x".into()]];
        assert_eq!(
            table(["NAME", "HOLDER"], &rows, None, false),
            "NAME     HOLDER\na        holder-with-a-long-name\nprinter  x\n"
        );
        let narrow = table(["NAME", "HOLDER"], &rows, Some(20), false);
        assert_eq!(narrow, "NAME     HOLDER\na        holder-wit…\nprinter  x\n");
        assert!(narrow.lines().all(|line| line.chars().count() <= 20));
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        assert_eq!(visible("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(visible("Zürich"), "Zürich");
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        let rows = [[Cell::new("x", Colour::Red)]];
        assert_eq!(table(["A"], &rows, None, false), "A\nx\n");
        assert!(table(["A"], &rows, None, true).contains("\x1b[31mx\x1b[0m"));
    }
}
