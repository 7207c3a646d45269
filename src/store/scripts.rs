//! The scripts as Redis gets them: each file of `lua/` with the parts of `lua/lib/` that its header says it uses.

use std::sync::LazyLock;

/// A Lua script: one atomic decision.
#[derive(Debug)]
pub struct Script {
    /// The file's name without its ending; also the name in metrics and logs.
    pub name: &'static str,
    /// The kinds of its keys, in order, as [`Place::key`](super::Place::key) knows them.
    pub keys: &'static [&'static str],
    file: &'static str,
    compiled: LazyLock<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    source: String,
    sha: String,
}

const OPEN: &str = include_str!("../../lua/lib/open.lua");
const CHANGE: &str = include_str!("../../lua/lib/change.lua");
const SESSIONS: &str = include_str!("../../lua/lib/sessions.lua");

/// The keys of every script that changes reservations.
const CHANGE_KEYS: &[&str] = &["meta", "held", "deadlines", "history", "due"];

impl Script {
    /// What Redis is given: the shebang, the parts used, the script itself. A script that uses `open` answers a pair: its own answer, and
    /// the rate's backlog in microseconds.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.compiled().source
    }

    /// The name under which Redis knows it once it was given.
    #[must_use]
    pub fn sha(&self) -> &str {
        &self.compiled().sha
    }

    /// The file as it stands in `lua/`.
    #[must_use]
    pub fn file(&self) -> &'static str {
        self.file
    }

    fn compiled(&self) -> &Compiled {
        &self.compiled
    }
}

fn compile(file: &'static str) -> Compiled {
    let (shebang, body) = file.split_once('\n').unwrap_or((file, ""));
    let uses = body.lines().find_map(|line| line.strip_prefix("-- uses")).unwrap_or("");
    let parts: Vec<_> = uses.split(',').map(str::trim).collect();
    let mut rest = String::new();
    for part in &parts {
        rest.push_str(match *part {
            "change" => CHANGE,
            "sessions" => SESSIONS,
            _ => "",
        });
    }
    rest.push_str(body);
    // What comes after `open` is a function, so that each of its answers goes out beside the state of the rate.
    let source = if parts.contains(&"open") {
        format!("{shebang}\n{OPEN}local function decide()\n{rest}\nend\nreturn {{ decide(), backlog }}\n")
    } else {
        format!("{shebang}\n{rest}")
    };
    let sha = redis::Script::new(&source).get_hash().to_owned();
    Compiled { source, sha }
}

macro_rules! scripts {
    ($($constant:ident $file:literal $keys:expr;)*) => {
        $(pub(super) static $constant: Script = Script {
            name: $file,
            keys: $keys,
            file: include_str!(concat!("../../lua/", $file, ".lua")),
            compiled: LazyLock::new(|| compile(include_str!(concat!("../../lua/", $file, ".lua")))),
        };)*

        /// Every script there is.
        pub static SCRIPTS: &[&Script] = &[$(&$constant),*];
    };
}

scripts! {
    RESERVE "reserve" CHANGE_KEYS;
    UNRESERVE "unreserve" CHANGE_KEYS;
    RENEW "renew" CHANGE_KEYS;
    FORCE_RELEASE "force_release" CHANGE_KEYS;
    RESET "reset" CHANGE_KEYS;
    EXPIRE "expire" CHANGE_KEYS;
    CHECK "check" &["meta", "held"];
    LIST "list" &["meta", "held"];
    VERIFY_FENCE "verify_fence" &["meta", "held"];
    POSITION "position" &["meta"];
    TENANT_CREATE "tenant_create" &["meta", "keys"];
    TENANT_READ "tenant_read" &["meta", "keys"];
    TENANT_UPDATE "tenant_update" &["meta"];
    TENANT_DELETE "tenant_delete" &["meta", "keys", "due", "held", "deadlines", "history", "used", "sessions"];
    ISSUER_CLAIM "issuer_claim" &["issuer"];
    ISSUER_DROP "issuer_drop" &["issuer"];
    KEY_CREATE "key_create" &["meta", "keys"];
    KEY_LIST "key_list" &["meta", "keys", "used"];
    KEY_ROTATE "key_rotate" &["meta", "keys", "sessions"];
    KEY_DELETE "key_delete" &["meta", "keys", "sessions", "used"];
    KEY_USED "key_used" &["meta", "used"];
    SESSION_CREATE "session_create" &["meta", "sessions"];
    SESSION_END "session_end" &["meta", "sessions"];
    USAGE "usage" &["meta", "held", "keys"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_may_write() {
        for script in SCRIPTS {
            let uses = script.file.lines().find_map(|line| line.strip_prefix("-- uses")).unwrap_or("");
            let shebang = script.file.lines().next().unwrap_or("");
            assert!(!(uses.contains("open") && shebang.contains("no-writes")), "{}: `open` writes the rate's state", script.name);
        }
    }
}
