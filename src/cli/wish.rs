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
    client::{
        Acquired, BootInstant, ClientError, Mode, Progress, ReserveItem, ReserveResult, Status, WaitEnd, WaitPolicy,
    },
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
    /// How many slots of each name, which is a pool's then: all or none of them [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub quantity: Option<u32>,
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
            quantity: self.quantity,
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

/// What a sentence of the service ends with: what to do over HTTP.
const HTTP_ADVICE: [&str; 4] = [
    "; try again then, or wait for it with waitSeconds",
    "; wait for its release with waitSeconds",
    "; wait for a release with waitSeconds",
    "; wait for it, too, with waitSeconds",
];

/// Why what was wanted is not held: one line per name that is not.
///
/// `wait`: how long it was waited for at most; none or zero: not at all.
#[must_use]
pub(super) fn refusals(acquired: &Acquired, wait: Option<Duration>) -> String {
    let in_way = |result: &&ReserveResult| {
        !result.status.is_held() && !matches!(result.status, Status::Skipped | Status::RolledBack)
    };
    let refused: Vec<&ReserveResult> = acquired.results.iter().filter(in_way).collect();
    let names: Vec<_> = refused.iter().map(|result| result.resource.as_str()).collect();
    let line = |result: &ReserveResult| {
        let why = match result.status {
            Status::RolledBack if names.is_empty() => "free, but not taken".into(),
            Status::RolledBack => format!("free, but not taken without {}", what(&names)),
            Status::Waiting => still_waiting(result),
            _ => [wait_end(acquired.wait_end, result.status, wait), reason(result)].concat(),
        };
        format!("{}: {why}", visible(&result.resource))
    };
    let rolled_back = acquired.results.iter().filter(|result| result.status == Status::RolledBack);
    let mut lines: Vec<_> = refused.iter().copied().chain(rolled_back).map(line).collect();
    let waited = wait.is_none_or(|wait| !wait.is_zero()) || acquired.wait_end.is_some();
    if !waited && refused.iter().any(|result| result.status.may_come_free()) {
        lines.push("--wait 5m waits for it".into());
    }
    lines.join("\n")
}

/// How the wait ended, where it was in vain for such a result.
fn wait_end(end: Option<WaitEnd>, status: Status, wait: Option<Duration>) -> String {
    match (end, wait) {
        (Some(WaitEnd::Cancelled), _) if status.may_come_free() => "the wait was cancelled; ".into(),
        (Some(WaitEnd::TimedOut), Some(wait)) if status.may_come_free() => {
            format!("not free within {}; ", crate::cli::duration::short(wait))
        }
        _ => String::new(),
    }
}

fn still_waiting(result: &ReserveResult) -> String {
    let until =
        result.holder_expires_at.map_or_else(|| " without an end".into(), |end| format!(" until {}", until(end)));
    let holder = result.holder.as_ref().map(|holder| format!("; held by {}{until}", visible(holder)));
    format!("not free in time{}", holder.unwrap_or_default())
}

/// The service's sentence as the command line says it: without the name, which the line begins with, without the advice for HTTP, and
/// with the time of the day here.
fn reason(result: &ReserveResult) -> String {
    let said = result.explanation.as_str();
    if !said.contains(' ') {
        return visible(said);
    }
    // What follows the advice says how many wait already.
    let (advised, waiting) = match said.strip_suffix(" already.").and_then(|rest| rest.rsplit_once(". ")) {
        Some((advised, waiting)) => (advised, format!("; {waiting} already")),
        None => (said.trim_end_matches('.'), String::new()),
    };
    let what = HTTP_ADVICE.iter().find_map(|advice| advised.strip_suffix(advice)).unwrap_or(advised);
    let what = what.strip_prefix(&format!("\"{}\" is ", result.resource)).unwrap_or(what);
    let ends = result.holder_expires_at.and_then(|instant| Some((what.strip_suffix(&iso(instant))?, until(instant))));
    match ends {
        Some((what, until)) => format!("{}{until}{waiting}", visible(what)),
        None => format!("{}{waiting}", visible(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{reservation::Conflict, time::instant};

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

    /// A name that is refused as the service says it.
    fn refused(conflict: &Conflict) -> ReserveResult {
        result(json!({
            "resource": "db", "requester": "w", "status": conflict.status().name(), "explanation": conflict.explain(),
            "holder": conflict.holder().map(|holder| &holder.requester),
            "holderExpiresAt": conflict.free_ms().map(|ms| iso(instant(ms))),
        }))
    }

    fn acquired(results: Vec<ReserveResult>, wait_end: Option<WaitEnd>) -> Acquired {
        Acquired {
            results,
            body: serde_json::Value::Null,
            complete: false,
            sent: BootInstant::now(),
            fresh: true,
            had_before: false,
            wait_end,
        }
    }

    #[test]
    fn a_refusal_names_what_helps_here() {
        let held = Conflict::of_parts("resource", "db".into(), "alice".into(), None).unwrap();
        let zero = Some(Duration::ZERO);
        let once = |conflict: &Conflict| refusals(&acquired(vec![refused(conflict)], None), zero);
        assert_eq!(once(&held), "db: held by \"alice\" without an end\n--wait 5m waits for it");
        let noted = held.clone().with_note(Some("until noon; then yours.".into())).behind(2);
        assert_eq!(
            once(&noted),
            "db: held by \"alice\" (until noon; then yours.) without an end; 2 wait already\n--wait 5m waits for it"
        );
        let at = 1_778_673_660_000;
        let below = Conflict::of_parts("descendant", "db/a".into(), "alice".into(), Some(at)).unwrap().behind(1);
        let until = until(instant(at));
        assert_eq!(
            once(&below),
            format!(
                "db: The descendant \"db/a\" is held by \"alice\" until {until}; 1 waits already\n--wait 5m waits for it"
            )
        );
        let full = Conflict::of_parts("pool", "db".into(), String::new(), Some(at)).unwrap();
        assert!(once(&full).starts_with(&format!("db: No slot of \"db\" is free; the earliest ends at {until}\n")));
        for (kind, end) in
            [("resource", None), ("resource", Some(at)), ("pool", None), ("kept", Some(1)), ("blocker", None)]
        {
            let holder = if kind == "pool" { "" } else { "alice" };
            let conflict = Conflict::of_parts(kind, "db".into(), holder.into(), end).unwrap();
            for ahead in 0..3 {
                let said = once(&conflict.clone().behind(ahead));
                assert!(!said.contains("waitSeconds") && said.ends_with("\n--wait 5m waits for it"), "{said}");
            }
        }
    }

    #[test]
    fn a_wait_in_vain_says_how_it_ended() {
        let held = Conflict::of_parts("resource", "db".into(), "alice".into(), None).unwrap();
        let after = |end| refusals(&acquired(vec![refused(&held)], Some(end)), Some(Duration::from_secs(1)));
        assert_eq!(after(WaitEnd::TimedOut), "db: not free within 1s; held by \"alice\" without an end");
        assert_eq!(after(WaitEnd::Cancelled), "db: the wait was cancelled; held by \"alice\" without an end");
        let unknown = Conflict::Unregistered { resource: "db".into() };
        let said = refusals(&acquired(vec![refused(&unknown)], None), Some(Duration::from_secs(1)));
        assert_eq!(said, "db: not registered, or the pool has no such slot; register it first, or mend the name");
    }

    #[test]
    fn what_was_free_is_not_blamed() {
        let held = Conflict::of_parts("resource", "db".into(), "alice".into(), None).unwrap();
        let free = result(
            json!({"resource": "cache", "requester": "w", "status": "ROLLED_BACK", "explanation": "ROLLED_BACK"}),
        );
        let said = refusals(&acquired(vec![free, refused(&held)], None), Some(Duration::ZERO));
        assert_eq!(
            said,
            "db: held by \"alice\" without an end\ncache: free, but not taken without db\n--wait 5m waits for it"
        );
    }
}
