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

/// The keys of every script that changes reservations.
const CHANGE_KEYS: &[&str] = &["meta", "held", "deadlines", "history", "due"];

impl Script {
    /// What Redis is given: the shebang, the parts used, the script itself.
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
    let mut source = format!("{shebang}\n");
    for part in uses.split(',').map(str::trim) {
        source.push_str(match part {
            "open" => OPEN,
            "change" => CHANGE,
            _ => "",
        });
    }
    source.push_str(body);
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
    TENANT_DELETE "tenant_delete" &["meta", "keys", "due", "held", "deadlines", "history", "streams", "companies", "company_ids", "dedupe"];
    KEY_CREATE "key_create" &["meta", "keys"];
    KEY_LIST "key_list" &["meta", "keys"];
    KEY_ROTATE "key_rotate" &["meta", "keys"];
    KEY_DELETE "key_delete" &["meta", "keys"];
    REPLAY "replay" &["meta", "history"];
    HEADS "heads" &["meta"];
    STREAM_ENTER "stream_enter" &["meta", "streams", "replicas"];
    REPLICA_BEAT "replica_beat" &["replicas"];
    PUBLISH "publish" &["meta", "held", "deadlines", "history", "due", "companies", "company_ids", "dedupe"];
    COMPANY_PUT "company_put" &["meta", "companies", "company_ids"];
    COMPANY_READ "company_read" &["meta", "companies"];
    COMPANY_DELETE "company_delete" &["meta", "companies", "company_ids"];
}
