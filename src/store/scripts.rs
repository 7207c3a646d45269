//! Scripts as they are sent to Redis: each file of `lua/` with the parts of `lua/lib/` that its header uses.

use std::sync::LazyLock;

use crate::store::keys::KeyKind::{self, *};

/// A Lua script: one atomic decision.
#[derive(Debug)]
pub struct Script {
    /// The file's name without its ending; also the name in metrics and logs.
    pub name: &'static str,
    /// The kinds of its keys, in order.
    pub keys: &'static [KeyKind],
    file: &'static str,
    compiled: LazyLock<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    source: String,
    sha: String,
    is_counted: bool,
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

/// Keys of scripts that change reservations of tenants without definitions.
const PLAIN: &[KeyKind] = &[Meta, Held, Deadlines, History, Due];
/// Keys of scripts that change reservations of every kind.
const PLAN: &[KeyKind] = &[Meta, Held, Deadlines, History, Due, Definitions, Pools, Slots, Uses, Tree];
/// Keys of scripts that change definitions.
const REGISTRY: &[KeyKind] = &[Meta, Held, Deadlines, History, Due, Definitions, Pools, Slots, Uses, Tree, Links];
/// Keys of scripts that read reservations.
const LOOK: &[KeyKind] = &[Meta, Held, Definitions, Pools, Slots, Uses, Tree];
/// Keys of scripts that change the queue monitor's state.
const MONITOR: &[KeyKind] = &[
    Meta,
    Connections,
    Watches,
    Cursors,
    Jobs,
    JobDetails,
    JobsCreated,
    JobsOpen,
    JobsFinished,
    Workers,
    Beats,
    Absent,
    Queues,
    QueuesSeen,
    Counts,
    Due,
];

impl Script {
    /// The text that Redis gets: shebang, parts, script.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.compiled().source
    }

    /// The SHA-1 of the text in hexadecimal, by which Redis finds it.
    #[must_use]
    pub fn sha(&self) -> &str {
        &self.compiled().sha
    }

    /// Whether its calls count against the tenant's rate: then the GCRA backlog in microseconds precedes its reply.
    pub(super) fn is_counted(&self) -> bool {
        self.compiled().is_counted
    }

    /// The text of the file in `lua/`.
    #[must_use]
    pub fn file(&self) -> &'static str {
        self.file
    }

    fn compiled(&self) -> &Compiled {
        &self.compiled
    }
}

/// The parts that a script's header uses. `straight` is no part: such a script sends its reply by itself.
fn uses(body: &str) -> Vec<&str> {
    body.lines()
        .find_map(|line| line.strip_prefix("-- uses"))
        .map(|uses| uses.split(',').map(str::trim).collect())
        .unwrap_or_default()
}

/// Inserts parts at lines `-- here: name`: inside a branch that is seldom taken their functions cost nothing.
fn insert_parts(text: &str) -> String {
    let mut text_with_parts = String::with_capacity(text.len());
    for line in text.lines() {
        match line.trim_start().strip_prefix("-- here: ") {
            Some(name) => text_with_parts.push_str(&insert_parts(part(name))),
            None => text_with_parts.push_str(line),
        }
        text_with_parts.push('\n');
    }
    text_with_parts
}

fn part(name: &str) -> &'static str {
    // A test checks that every part that a header names exists; a script without a part of it fails at its first call.
    PARTS.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| *text)
}

fn compile(file: &'static str) -> Compiled {
    let (shebang, body) = file.split_once('\n').unwrap_or((file, ""));
    let uses = uses(body);
    let (is_counted, ends_itself) = (uses.contains(&"open"), uses.contains(&"straight"));
    let rest = if ends_itself {
        insert_parts(body)
    } else {
        let parts = uses.iter().filter(|part| **part != "open").map(|name| part(name));
        parts.chain([body]).map(insert_parts).collect()
    };
    // What follows `open` becomes a function, so that `close` gets each of its replies.
    let source = match (is_counted, ends_itself) {
        (false, _) => format!("{shebang}\n{rest}"),
        (true, true) => format!("{shebang}\n{}{rest}", insert_parts(part("open"))),
        (true, false) => {
            format!(
                "{shebang}\n{}{}{}local function decide()\n{rest}\nend\nreturn close(decide())\n",
                insert_parts(part("open")),
                part("caller"),
                insert_parts(part("close"))
            )
        }
    };
    let sha = redis::Script::new(&source).get_hash().to_owned();
    Compiled { source, sha, is_counted }
}

macro_rules! scripts {
    ($($constant:ident $file:literal $keys:expr;)*) => {
        $(pub(super) static $constant: Script = Script {
            name: $file,
            keys: $keys,
            file: include_str!(concat!("../../lua/", $file, ".lua")),
            compiled: LazyLock::new(|| compile(include_str!(concat!("../../lua/", $file, ".lua")))),
        };)*

        /// Every script.
        pub static SCRIPTS: &[&Script] = &[$(&$constant),*];
    };
}

/// A decision in two variants: over all kinds of resources, and for tenants that have registered none, where an item costs a read and a write.
#[derive(Debug)]
pub(super) struct Variants {
    pub(super) full: &'static Script,
    pub(super) fast: &'static Script,
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
    RESOURCE_READ "resource_read" &[Meta, Definitions];
    RESOURCE_LIST "resource_list" &[Meta, Definitions];
    CHECK "check" LOOK;
    LIST "list" LOOK;
    VERIFY_FENCE "verify_fence" LOOK;
    POSITION "position" &[Meta];
    TENANT_CREATE "tenant_create" &[Meta, Keys];
    TENANT_READ "tenant_read" &[Meta, Keys];
    TENANT_UPDATE "tenant_update" &[Meta];
    TENANT_DELETE "tenant_delete" &[
        Meta, Keys, Due, Connections, Held, Deadlines, History, Used, Sessions, Definitions, Pools, Slots, Uses, Tree, Links, Streams, Companies, CompanyIds, Dedupe,
        Watches, Cursors, Jobs, JobDetails, JobsCreated, JobsOpen, JobsFinished, Workers, Beats, Absent, Queues,
        QueuesSeen, Counts,
    ];
    ISSUER_CLAIM "issuer_claim" &[Issuer];
    ISSUER_DROP "issuer_drop" &[Issuer];
    KEY_CREATE "key_create" &[Meta, Keys];
    KEY_LIST "key_list" &[Meta, Keys, Used];
    KEY_ROTATE "key_rotate" &[Meta, Keys, Sessions];
    KEY_DELETE "key_delete" &[Meta, Keys, Sessions, Used];
    KEY_USED "key_used" &[Meta, Used];
    SESSION_CREATE "session_create" &[Meta, Sessions];
    SESSION_END "session_end" &[Meta, Sessions];
    USAGE "usage" &[Meta, Streams, Replicas, Held, Keys, Companies, Connections, Counts];
    REPLAY "replay" &[Meta, History];
    HEADS "heads" &[Meta];
    STREAM_ENTER "stream_enter" &[Meta, Streams, Replicas];
    REPLICA_BEAT "replica_beat" &[Replicas];
    PUBLISH "publish" &[Meta, Held, Deadlines, History, Due, Companies, CompanyIds, Dedupe];
    COMPANY_PUT "company_put" &[Meta, Companies, CompanyIds];
    COMPANY_READ "company_read" &[Meta, Companies];
    COMPANY_DELETE "company_delete" &[Meta, Companies, CompanyIds];
    CONNECTION_CREATE "connection_create" &[Meta, Connections];
    CONNECTION_LIST "connection_list" &[Meta, Connections, Watches];
    CONNECTION_DELETE "connection_delete" &[Meta, Connections, Watches, Cursors];
    WATCH_LOOK "watch_look" &[Connections, Watches];
    WATCH_TAKE "watch_take" &[Connections, Watches];
    WATCH_KEEP "watch_keep" &[Connections, Watches];
    OBSERVE "observe" MONITOR;
    QUEUE_UPKEEP "queue_upkeep" MONITOR;
    CONNECTION_FORGET "connection_forget" MONITOR;
    JOB_LIST "job_list" &[Meta, Jobs, JobsCreated];
    JOB_READ "job_read" &[Meta, Jobs, JobDetails];
    WORKER_LIST "worker_list" &[Meta, Workers];
    QUEUE_LIST "queue_list" &[Meta, Queues];
    COUNTS_READ "counts_read" &[Meta, Counts];
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
