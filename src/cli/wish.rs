//! What `reserve` and `run` ask for: names, requester, time to live, waiting.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use clap::Args;
use nix::unistd::Pid;
use serde_json::json;

use crate::{
    cli::{
        duration::{parse_duration, parse_ttl},
        output::{self, cut, until, visible},
    },
    client::{Acquired, BootInstant, ClientError, Mode, Progress, ReserveItem, ReserveResult, Status, WaitPolicy},
    domain::time::iso,
};

/// Longest wait that an option may name, a year: what is longer is meant to be without end.
const MOST_WAIT: Duration = Duration::from_secs(366 * 86_400);

/// What is wanted, by whom, for how long, and how patiently.
#[derive(Debug, Clone, Args)]
pub(super) struct WishArgs {
    /// What to reserve
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Who reserves: unique per holder [default: user@host:pid of the shell; of run: one of its own]
    #[arg(long = "as", value_name = "WHO")]
    pub requester: Option<String>,
    /// Time to live, in whole seconds [default: the tenant's, or none; of run: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    pub ttl: Option<Duration>,
    /// How long to wait for what others hold; 0s: not at all [default: 0s; of run: until it is free]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Place in the queue: greater comes first, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1_000..=1_000))]
    pub priority: Option<i32>,
    /// A tag shown in events
    #[arg(long = "type", value_name = "TYPE")]
    pub resource_type: Option<String>,
    /// Shown to whoever sees the holder
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// All names or none [default of run]
    #[arg(long, group = "method")]
    pub all: bool,
    /// The first name that is free
    #[arg(long, group = "method")]
    pub first: bool,
    /// As many names as are free
    #[arg(long, group = "method")]
    pub any: bool,
}

impl WishArgs {
    /// One item per name.
    #[must_use]
    pub(super) fn items(&self, requester: &str, ttl: Option<Duration>) -> Vec<ReserveItem> {
        let item = |name: &String| ReserveItem {
            requester: requester.to_owned(),
            resource: name.clone(),
            ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
            resource_type: self.resource_type.clone(),
            note: self.note.clone(),
            wait: None,
        };
        self.names.iter().map(item).collect()
    }

    /// The method that the options name; none: `otherwise`.
    #[must_use]
    pub(super) fn mode(&self, otherwise: Mode) -> Mode {
        match (self.all, self.first, self.any) {
            (true, _, _) => Mode::Transaction("ALL_OR_NONE"),
            (_, true, _) => Mode::Transaction("FIRST"),
            (_, _, true) => Mode::Transaction("AS_MANY_AS_POSSIBLE"),
            _ => otherwise,
        }
    }

    /// A wait of this length from now on; none where it is zero.
    #[must_use]
    pub(super) fn policy(&self, wait: Duration) -> Option<WaitPolicy> {
        let until = BootInstant::now() + wait.min(MOST_WAIT);
        (!wait.is_zero()).then_some(WaitPolicy { until: Some(until), priority: self.priority })
    }

    /// A wait without end.
    #[must_use]
    pub(super) fn endless(&self) -> WaitPolicy {
        WaitPolicy { until: None, priority: self.priority }
    }
}

/// `user@host` of whoever calls.
#[must_use]
pub(super) fn user_at_host() -> String {
    let user =
        ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid{}", nix::unistd::getuid()));
    let host =
        nix::unistd::gethostname().map_or_else(|_| "localhost".into(), |host| host.to_string_lossy().into_owned());
    format!("{user}@{host}")
}

/// Who calls where `--as` does not say it: `user@host:pid` of the caller's shell, so that a later command of the same shell is the same
/// requester. A subshell is another one, for two that run at once must not be one holder.
#[must_use]
pub(super) fn requester_of(shell: Pid) -> String {
    format!("{}:{shell}", user_at_host())
}

/// Shows what is waited for: on a terminal one line that counts down, else a line for each change.
pub(super) struct WaitDisplay {
    json: bool,
    terminal: bool,
    begun: Instant,
    shown: Option<Shown>,
    /// Whether the last line on the terminal is ours to overwrite.
    drawn: bool,
    last_line: String,
    interrupted: bool,
}

struct Shown {
    what: String,
    holder: Option<String>,
    holder_expires_at: Option<DateTime<Utc>>,
    explanation: String,
    place: Option<u64>,
    expected_by: Option<DateTime<Utc>>,
}

impl WaitDisplay {
    /// A display on standard error.
    #[must_use]
    pub(super) fn new(json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            json,
            terminal,
            begun: Instant::now(),
            shown: None,
            drawn: false,
            last_line: String::new(),
            interrupted: false,
        }
    }

    /// Takes in what happens.
    pub(super) fn progress(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Interrupted(error) => self.interrupted(error),
            Progress::Waiting { names, holder, explanation, place, expected_by } => {
                self.interrupted = false;
                self.shown = Some(Shown {
                    what: what(&names),
                    holder: holder.map(|(holder, _)| visible(holder)),
                    holder_expires_at: holder.and_then(|(_, until)| until),
                    explanation: visible(explanation),
                    place,
                    expected_by,
                });
                self.draw();
            }
        }
    }

    fn interrupted(&mut self, error: &ClientError) {
        if !std::mem::replace(&mut self.interrupted, true) {
            let text = error.to_string();
            self.say("interrupted", &format!("{}; still trying", text.lines().next().unwrap_or_default()));
        }
    }

    /// Draws the line anew, with what is left by now; called every second while waiting.
    pub(super) fn draw(&mut self) {
        let Some(shown) = &self.shown else { return };
        if self.terminal && !self.json {
            let line =
                cut(&format!("holdfast: {}", shown.line(self.begun.elapsed())), output::width(&std::io::stderr()) - 1);
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{line}");
            self.drawn = true;
            return;
        }
        let line = shown.line_without_times();
        if line != self.last_line {
            if self.json {
                let event = shown.json();
                let _ = writeln!(std::io::stderr().lock(), "{event}");
            } else {
                let with_times = shown.line(self.begun.elapsed());
                let _ = writeln!(std::io::stderr().lock(), "holdfast: {with_times}");
            }
            self.last_line = line;
        }
    }

    /// A line of its own.
    pub(super) fn say(&mut self, event: &str, text: &str) {
        self.clear();
        if self.json {
            let _ = writeln!(std::io::stderr().lock(), "{}", json!({"event": event, "message": text}));
        } else {
            output::note(text);
        }
    }

    /// Removes the line that counts down.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// Names for a line.
fn what(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => visible(one),
        [first, others @ ..] => format!("{} and {} more", visible(first), others.len()),
    }
}

impl Shown {
    fn line(&self, waited: Duration) -> String {
        let mut line = self.what_and_who();
        if let Some(instant) = self.holder_expires_at.filter(|_| !self.is_explained()) {
            line.push_str(&format!(", until {}", until(instant)));
        }
        line.push_str(&self.place());
        if let Some(instant) = self.expected_by.filter(|expected| Some(*expected) != self.holder_expires_at) {
            line.push_str(&format!(", expected by {}", until(instant)));
        }
        if waited >= Duration::from_secs(1) {
            line.push_str(&format!(", waited {}", crate::cli::duration::short(Duration::from_secs(waited.as_secs()))));
        }
        line
    }

    fn line_without_times(&self) -> String {
        self.what_and_who() + &self.place()
    }

    /// Whether no single holder can be named, and the service's sentence says what is in the way and who is before.
    fn is_explained(&self) -> bool {
        self.holder.is_none() && self.explanation.contains(' ')
    }

    fn place(&self) -> String {
        self.place.filter(|_| !self.is_explained()).map(|place| format!(", place {place}")).unwrap_or_default()
    }

    fn what_and_who(&self) -> String {
        let mut line = format!("waiting for {}", self.what);
        match &self.holder {
            Some(holder) => line.push_str(&format!(", held by {holder}")),
            // More may follow it in the line.
            None if self.is_explained() => line.push_str(&format!(": {}", self.explanation.trim_end_matches('.'))),
            None => {}
        }
        line
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "event": "waiting",
            "resource": self.what,
            "holder": self.holder,
            "holderExpiresAt": self.holder_expires_at.map(iso),
            "place": self.place,
            "expectedBy": self.expected_by.map(iso),
        })
    }
}

/// Why what was wanted is not held: one line per name that is not.
#[must_use]
pub(super) fn refusals(acquired: &Acquired, waited: bool) -> String {
    let line = |result: &ReserveResult| {
        let status = match result.status {
            Status::Waiting => "was not free in time".into(),
            _ if result.explanation.contains(' ') => visible(&result.explanation),
            _ => format!("is {}", visible(&result.explanation)),
        };
        let holder = match (&result.holder, result.holder_expires_at) {
            (Some(holder), expires) if result.status == Status::Waiting => {
                format!("; held by {}, until {}", visible(holder), output::until_or_never(expires))
            }
            // A sentence of the service says it already.
            (_, Some(expires)) if !result.explanation.contains(' ') => format!("; until {}", until(expires)),
            _ => String::new(),
        };
        format!("{}: {status}{holder}", visible(&result.resource))
    };
    let refused = |result: &&ReserveResult| !result.status.is_held() && result.status != Status::Skipped;
    let mut lines: Vec<_> = acquired.results.iter().filter(refused).map(line).collect();
    if !waited && acquired.results.iter().any(|result| result.status.may_come_free()) {
        lines.push("--wait 5m waits for it".into());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(json: serde_json::Value) -> ReserveResult {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_line_says_who_holds_it_and_the_place() {
        let mut display = WaitDisplay::new(true);
        let (names, holder) = (vec!["db", "cache"], Some(("al\u{1b}ice", None)));
        display.progress(Progress::Waiting { names, holder, explanation: "", place: Some(2), expected_by: None });
        let line = display.shown.unwrap().line_without_times();
        assert_eq!(line, "waiting for db and 1 more, held by al\\u{1b}ice, place 2");
    }

    #[test]
    fn where_no_holder_is_named_the_line_is_the_services_sentence() {
        let explanation = "No slot of \"P\" is free. You wait for it; nobody is before you.";
        let at = DateTime::from_timestamp(1_778_673_660, 0);
        let shown = Shown {
            what: "P".into(),
            holder: None,
            holder_expires_at: at,
            explanation: explanation.into(),
            place: Some(1),
            expected_by: at,
        };
        let said = "waiting for P: No slot of \"P\" is free. You wait for it; nobody is before you";
        assert_eq!(shown.line_without_times(), said);
        assert_eq!(shown.line(Duration::from_secs(5)), format!("{said}, waited 5s"));
    }

    #[test]
    fn a_refusal_names_what_helps() {
        let held = result(
            json!({"resource": "db", "requester": "w", "status": "ALREADY_HELD", "explanation": "db is held by alice", "holder": "alice"}),
        );
        let acquired = Acquired {
            results: vec![held],
            body: serde_json::Value::Null,
            complete: false,
            sent: BootInstant::now(),
            fresh: true,
            had_before: false,
        };
        assert_eq!(refusals(&acquired, false), "db: db is held by alice\n--wait 5m waits for it");
        assert_eq!(refusals(&acquired, true), "db: db is held by alice");
    }
}
