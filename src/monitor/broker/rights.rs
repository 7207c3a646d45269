//! What a broker's user may not do: the rule that would give it the right, for the health of the watch.
//!
//! It is made of the command that we sent, never of the broker's text.

use std::sync::{Arc, Mutex};

use redis::{Cmd, RedisError};

use crate::sync::lock;

/// Commands whose rights go by their subcommands.
const CONTAINERS: [&str; 2] = ["client", "xinfo"];

/// The right that a broker's user was last found to lack.
#[derive(Debug, Clone, Default)]
pub(in crate::monitor) struct MissingRight(Arc<Mutex<Option<Refusal>>>);

#[derive(Debug)]
struct Refusal {
    command: String,
    rule: String,
}

impl MissingRight {
    /// ACL rule that would give it: `+sscan`, `~*` (keys) or `&*` (channels).
    pub(in crate::monitor) fn rule(&self) -> Option<String> {
        lock(&self.0).as_ref().map(|refusal| refusal.rule.clone())
    }

    /// Notes the error of a command, if it is one of rights.
    pub(super) fn note_error(&self, command: &str, error: &RedisError) {
        match error.code() {
            Some("NOPERM") => self.note_refusal(command, error.detail().unwrap_or_default()),
            Some("NOAUTH" | "WRONGPASS") => *lock(&self.0) = None,
            _ => {}
        }
    }

    /// Notes that a command was refused; `detail` is what the broker said.
    pub(super) fn note_refusal(&self, command: &str, detail: &str) {
        let refusal = Refusal { command: command.to_owned(), rule: rule_for(command, detail) };
        *lock(&self.0) = Some(refusal);
    }

    /// Notes that a command was carried out: its right is there.
    pub(super) fn note_success(&self, command: &str) {
        let mut refusal = lock(&self.0);
        if refusal.as_ref().is_some_and(|refusal| refusal.command == command) {
            *refusal = None;
        }
    }
}

/// A command as the rules of Redis name it: `sscan`, `client|list`.
pub(super) fn name_of(command: &Cmd) -> String {
    let mut words = command.args_iter().map_while(|arg| match arg {
        redis::Arg::Simple(word) => Some(String::from_utf8_lossy(word).to_lowercase()),
        _ => None,
    });
    let name = words.next().unwrap_or_default();
    match words.next() {
        Some(subcommand) if CONTAINERS.contains(&name.as_str()) => format!("{name}|{subcommand}"),
        _ => name,
    }
}

/// Redis says whether it is the command, a key or a channel that the user may not use. Where it is the command, the text holds the user's name,
/// which may be anything.
fn rule_for(command: &str, detail: &str) -> String {
    if detail.contains(" to run the '") {
        format!("+{command}")
    } else if detail.contains("channel") {
        "&*".into()
    } else if detail.contains("key") {
        "~*".into()
    } else {
        format!("+{command}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_named_as_rules_name_them() {
        assert_eq!(name_of(redis::cmd("SSCAN").arg("key").arg(0)), "sscan");
        assert_eq!(name_of(redis::cmd("CLIENT").arg("LIST").arg("TYPE")), "client|list");
        assert_eq!(name_of(redis::cmd("XINFO").arg("STREAM").arg("key")), "xinfo|stream");
    }

    #[test]
    fn a_right_is_missing_until_its_command_is_carried_out() {
        let missing = MissingRight::default();
        missing.note_refusal("sadd", "No permissions to access a key");
        missing.note_success("llen");
        assert_eq!(missing.rule().as_deref(), Some("~*"));
        missing.note_success("sadd");
        assert_eq!(missing.rule(), None);
    }

    #[test]
    fn the_rule_is_of_the_command_or_of_what_it_touches() {
        // The texts of Redis 6.2, 7.0 and 7.2.
        for (detail, rule) in [
            ("this user has no permissions to run the 'sscan' command", "+sscan"),
            ("User default has no permissions to run the 'sscan' command", "+sscan"),
            ("User keda-keyreader has no permissions to run the 'sscan' command", "+sscan"),
            ("User of-channels has no permissions to run the 'sscan' command", "+sscan"),
            ("this user has no permissions to access one of the keys used as arguments", "~*"),
            ("No permissions to access a key", "~*"),
            ("this user has no permissions to access one of the channels used as arguments", "&*"),
            ("No permissions to access a channel", "&*"),
        ] {
            assert_eq!(rule_for("sscan", detail), rule, "{detail}");
        }
    }
}
