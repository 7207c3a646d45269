//! The scripts as Redis gets them: each file of `lua/` with the parts of `lua/lib/` that its header says it uses.

use std::sync::LazyLock;

/// A Lua script: one atomic decision.
#[derive(Debug)]
pub struct Script {
    /// The file's name without its ending; also the name in metrics and logs.
    pub name: &'static str,
    /// The kinds of its keys, in order, as [`TenantHandle::key`](super::TenantHandle::key) knows them.
    pub keys: &'static [&'static str],
    file: &'static str,
    compiled: LazyLock<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    source: String,
    sha: String,
    counted: bool,
}

/// The parts that several scripts share, by the names that their headers use.
const PARTS: &[(&str, &str)] = &[
    ("open", include_str!("../../lua/lib/open.lua")),
    ("digits", include_str!("../../lua/lib/digits.lua")),
    ("caller", include_str!("../../lua/lib/caller.lua")),
    ("save", include_str!("../../lua/lib/save.lua")),
    ("limit", include_str!("../../lua/lib/limit.lua")),
    ("close", include_str!("../../lua/lib/close.lua")),
    ("change", include_str!("../../lua/lib/change.lua")),
    ("lapse_plain", include_str!("../../lua/lib/lapse_plain.lua")),
    ("groups", include_str!("../../lua/lib/groups.lua")),
    ("tell", include_str!("../../lua/lib/tell.lua")),
    ("end_plain", include_str!("../../lua/lib/end_plain.lua")),
    ("end_one", include_str!("../../lua/lib/end_one.lua")),
    ("keep_many", include_str!("../../lua/lib/keep_many.lua")),
    ("reserve_many", include_str!("../../lua/lib/reserve_many.lua")),
    ("unreserve_many", include_str!("../../lua/lib/unreserve_many.lua")),
    ("renew_many", include_str!("../../lua/lib/renew_many.lua")),
    ("batch", include_str!("../../lua/lib/batch.lua")),
    ("known", include_str!("../../lua/lib/known.lua")),
    ("grants", include_str!("../../lua/lib/grants.lua")),
    ("grant", include_str!("../../lua/lib/grant.lua")),
    ("taken", include_str!("../../lua/lib/taken.lua")),
    ("claim", include_str!("../../lua/lib/claim.lua")),
    ("frees", include_str!("../../lua/lib/frees.lua")),
    ("free", include_str!("../../lua/lib/free.lua")),
    ("free_many", include_str!("../../lua/lib/free_many.lua")),
    ("moves", include_str!("../../lua/lib/moves.lua")),
    ("move", include_str!("../../lua/lib/move.lua")),
    ("kind", include_str!("../../lua/lib/kind.lua")),
    ("name_head", include_str!("../../lua/lib/name_head.lua")),
    ("bad_token", include_str!("../../lua/lib/bad_token.lua")),
    ("view", include_str!("../../lua/lib/view.lua")),
    ("pools", include_str!("../../lua/lib/pools.lua")),
    ("plan", include_str!("../../lua/lib/plan.lua")),
    ("write", include_str!("../../lua/lib/write.lua")),
    ("lapse", include_str!("../../lua/lib/lapse.lua")),
    ("answers", include_str!("../../lua/lib/answers.lua")),
    ("registry", include_str!("../../lua/lib/registry.lua")),
    ("places", include_str!("../../lua/lib/places.lua")),
    ("sessions", include_str!("../../lua/lib/sessions.lua")),
    ("look", include_str!("../../lua/lib/look.lua")),
    ("fold", include_str!("../../lua/lib/fold.lua")),
    ("sightings", include_str!("../../lua/lib/sightings.lua")),
    ("retention", include_str!("../../lua/lib/retention.lua")),
];

/// The keys of the scripts that change reservations which stand alone.
const PLAIN: &[&str] = &["meta", "held", "deadlines", "history", "due"];
/// The keys of the scripts that change reservations of every kind.
const PLAN: &[&str] = &["meta", "held", "deadlines", "history", "due", "definitions", "pools", "slots", "uses", "tree"];
/// The keys of the scripts that change definitions.
const REGISTRY: &[&str] =
    &["meta", "held", "deadlines", "history", "due", "definitions", "pools", "slots", "uses", "tree", "links"];
/// The keys of the scripts that look at reservations.
const LOOK: &[&str] = &["meta", "held", "definitions", "pools", "slots", "uses", "tree"];
/// The keys of the scripts that change what is known of queues and their jobs.
const MONITOR: &[&str] = &[
    "meta",
    "connections",
    "watches",
    "cursors",
    "jobs",
    "job_details",
    "jobs_created",
    "jobs_open",
    "jobs_finished",
    "workers",
    "beats",
    "absent",
    "queues",
    "queues_seen",
    "counts",
    "due",
];

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

    /// Whether its calls count against the tenant's rate: then the rate's backlog in microseconds comes before its answer.
    pub(super) fn is_counted(&self) -> bool {
        self.compiled().counted
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

/// What a script's header says that it uses; `straight` is no part but the way in which it ends.
fn uses(body: &str) -> Vec<&str> {
    body.lines()
        .find_map(|line| line.strip_prefix("-- uses"))
        .map(|uses| uses.split(',').map(str::trim).collect())
        .unwrap_or_default()
}

/// Puts parts where a line says `-- here: name`: inside a branch that is seldom taken their functions cost nothing.
fn place(text: &str) -> String {
    let mut placed = String::with_capacity(text.len());
    for line in text.lines() {
        match line.trim_start().strip_prefix("-- here: ") {
            Some(name) => placed.push_str(&place(part(name))),
            None => placed.push_str(line),
        }
        placed.push('\n');
    }
    placed
}

fn part(name: &str) -> &'static str {
    // A part that is not there shows at once: the script does not run without it, and a test reads every header.
    PARTS.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| *text)
}

fn compile(file: &'static str) -> Compiled {
    let (shebang, body) = file.split_once('\n').unwrap_or((file, ""));
    let uses = uses(body);
    let (counted, straight) = (uses.contains(&"open"), uses.contains(&"straight"));
    let rest = if straight {
        place(body)
    } else {
        let parts = uses.iter().filter(|part| **part != "open").map(|name| part(name));
        parts.chain([body]).map(place).collect()
    };
    // What comes after `open` is a function, so that each of its answers goes out by the same door.
    let source = match (counted, straight) {
        (false, _) => format!("{shebang}\n{rest}"),
        (true, true) => format!("{shebang}\n{}{rest}", place(part("open"))),
        (true, false) => {
            format!(
                "{shebang}\n{}{}{}local function decide()\n{rest}\nend\nreturn close(decide())\n",
                place(part("open")),
                part("caller"),
                place(part("close"))
            )
        }
    };
    let sha = redis::Script::new(&source).get_hash().to_owned();
    Compiled { source, sha, counted }
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

/// One decision in two forms: over the plan, and for tenants that never registered anything, where an item costs a look and a write.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) plan: &'static Script,
    pub(super) plain: &'static Script,
}

scripts! {
    RESERVE "reserve" PLAN;
    RESERVE_PLAIN "reserve_plain" PLAIN;
    UNRESERVE "unreserve" PLAN;
    UNRESERVE_PLAIN "unreserve_plain" PLAIN;
    RENEW "renew" PLAN;
    RENEW_PLAIN "renew_plain" PLAIN;
    SHARED_PLAIN "shared_plain" PLAIN;
    TRANSACTIONS "transactions" PLAN;
    FORCE_RELEASE "force_release" PLAN;
    RESET "reset" PLAN;
    EXPIRE "expire" PLAN;
    REGISTER "register" REGISTRY;
    RESOURCE_DELETE "resource_delete" REGISTRY;
    RESOURCE_READ "resource_read" &["meta", "definitions"];
    RESOURCE_LIST "resource_list" &["meta", "definitions"];
    CHECK "check" LOOK;
    LIST "list" LOOK;
    VERIFY_FENCE "verify_fence" LOOK;
    POSITION "position" &["meta"];
    TENANT_CREATE "tenant_create" &["meta", "keys"];
    TENANT_READ "tenant_read" &["meta", "keys"];
    TENANT_UPDATE "tenant_update" &["meta"];
    TENANT_DELETE "tenant_delete" &[
        "meta", "keys", "due", "connections", "held", "deadlines", "history", "used", "sessions", "definitions", "pools", "slots", "uses", "tree", "links", "streams", "companies", "company_ids", "dedupe",
        "watches", "cursors", "jobs", "job_details", "jobs_created", "jobs_open", "jobs_finished", "workers", "beats", "absent", "queues",
        "queues_seen", "counts",
    ];
    ISSUER_CLAIM "issuer_claim" &["issuer"];
    ISSUER_DROP "issuer_drop" &["issuer"];
    KEY_CREATE "key_create" &["meta", "keys"];
    KEY_LIST "key_list" &["meta", "keys", "used"];
    KEY_ROTATE "key_rotate" &["meta", "keys", "sessions"];
    KEY_DELETE "key_delete" &["meta", "keys", "sessions", "used"];
    KEY_USED "key_used" &["meta", "used"];
    SESSION_CREATE "session_create" &["meta", "sessions"];
    SESSION_END "session_end" &["meta", "sessions"];
    USAGE "usage" &["meta", "streams", "replicas", "held", "keys", "companies", "connections", "counts"];
    REPLAY "replay" &["meta", "history"];
    HEADS "heads" &["meta"];
    STREAM_ENTER "stream_enter" &["meta", "streams", "replicas"];
    REPLICA_BEAT "replica_beat" &["replicas"];
    PUBLISH "publish" &["meta", "held", "deadlines", "history", "due", "companies", "company_ids", "dedupe"];
    COMPANY_PUT "company_put" &["meta", "companies", "company_ids"];
    COMPANY_READ "company_read" &["meta", "companies"];
    COMPANY_DELETE "company_delete" &["meta", "companies", "company_ids"];
    CONNECTION_CREATE "connection_create" &["meta", "connections"];
    CONNECTION_LIST "connection_list" &["meta", "connections", "watches"];
    CONNECTION_DELETE "connection_delete" &["meta", "connections", "watches", "cursors"];
    WATCH_LOOK "watch_look" &["connections", "watches"];
    WATCH_TAKE "watch_take" &["connections", "watches"];
    WATCH_KEEP "watch_keep" &["connections", "watches"];
    OBSERVE "observe" MONITOR;
    QUEUE_UPKEEP "queue_upkeep" MONITOR;
    CONNECTION_FORGET "connection_forget" MONITOR;
    JOB_LIST "job_list" &["meta", "jobs", "jobs_created"];
    JOB_READ "job_read" &["meta", "jobs", "job_details"];
    WORKER_LIST "worker_list" &["meta", "workers"];
    QUEUE_LIST "queue_list" &["meta", "queues"];
    COUNTS_READ "counts_read" &["meta", "counts"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_may_write() {
        for script in SCRIPTS {
            let shebang = script.file.lines().next().unwrap_or("");
            assert!(
                !(script.is_counted() && shebang.contains("no-writes")),
                "{}: `open` writes the rate's state",
                script.name
            );
        }
    }
}
