//! Functions of the library as they are called: which keys each names, in which order.

use std::sync::LazyLock;

use crate::store::{
    keys::KeyKind::{self, *},
    library::{self, LIBRARY},
};

/// A function of the library: one atomic decision.
#[derive(Debug)]
pub struct Function {
    /// Its name, as in the header of its file in `lua/`; also the name in metrics and logs.
    pub name: &'static str,
    /// The kinds of its keys, in order.
    pub keys: &'static [KeyKind],
    /// Kinds of keys that follow where the tenant has registered resources or somebody waits.
    pub optional_keys: &'static [KeyKind],
    loaded_as: LazyLock<String>,
    script: LazyLock<Script>,
}

/// How many of its optional keys a call names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyExtent {
    /// None: the tenant has registered nothing, and nobody waits.
    Plain,
    /// Those of registered resources.
    Defined,
    /// Those of tickets, too.
    Waiting,
}

/// A function as a script.
#[derive(Debug)]
struct Script {
    text: String,
    sha: String,
}

impl Script {
    fn of(function: &str) -> Self {
        // A test calls every function by its script; one without a part fails at its first call.
        let text = library::script(function).unwrap_or_default();
        let sha = redis::Script::new(&text).get_hash().to_owned();
        Self { text, sha }
    }
}

impl Function {
    /// The kinds of keys that a call names, in order.
    pub(super) fn keys_for(&self, extent: KeyExtent) -> impl Iterator<Item = KeyKind> + Clone + use<> {
        let optional = match extent {
            KeyExtent::Plain => 0,
            KeyExtent::Defined => DEFINITION_KEYS,
            KeyExtent::Waiting => self.optional_keys.len(),
        };
        let optional = self.optional_keys.get(..optional).unwrap_or(&[]);
        self.keys.iter().chain(optional).copied()
    }

    /// The name by which `FCALL` calls it: it has the version of the library in it.
    #[must_use]
    pub fn loaded_as(&self) -> &str {
        &self.loaded_as
    }

    /// Its text as a script, for servers or users without functions.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.script.text
    }

    /// The SHA-1 of that text in hexadecimal, by which `EVALSHA` calls it.
    #[must_use]
    pub fn script_sha(&self) -> &str {
        &self.script.sha
    }
}

macro_rules! functions {
    ($($constant:ident $name:literal $keys:expr $(, $optional_keys:expr)?;)*) => {
        $(pub(super) static $constant: Function = Function {
            name: $name,
            keys: $keys,
            optional_keys: functions!(@optional $($optional_keys)?),
            loaded_as: LazyLock::new(|| LIBRARY.function_name($name)),
            script: LazyLock::new(|| Script::of($name)),
        };)*

        /// Every function.
        pub static FUNCTIONS: &[&Function] = &[$(&$constant),*];
    };
    (@optional) => { &[] };
    (@optional $keys:expr) => { $keys };
}

/// Keys of functions that change or read reservations ...
const DECISION: &[KeyKind] = &[Meta, Held, Deadlines, History, Due];
/// ... those that follow where the tenant has registered resources, and behind them those that follow where somebody waits.
const DEFINED: &[KeyKind] = &[Definitions, Index, Slots, Lines, Tickets, TicketEnds];
/// Number of those that follow where the tenant has registered resources and nobody waits.
const DEFINITION_KEYS: usize = 3;
/// Keys of functions about tickets.
const WAITING: &[KeyKind] =
    &[Meta, Held, Deadlines, History, Due, Definitions, Index, Slots, Lines, Tickets, TicketEnds];
/// Keys of functions that change or read definitions.
const REGISTRY: &[KeyKind] =
    &[Meta, Held, Deadlines, History, Due, Definitions, Index, Slots, Lines, Tickets, TicketEnds, Links];
/// Keys of functions that change the queue monitor's state.
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

functions! {
    RESERVE "reserve" DECISION, DEFINED;
    UNRESERVE "unreserve" DECISION, DEFINED;
    RENEW "renew" DECISION, DEFINED;
    SHARED "shared" DECISION, DEFINED;
    TRANSACTIONS "transactions" DECISION, DEFINED;
    FORCE_RELEASE "force_release" DECISION, DEFINED;
    RESET "reset" DECISION, DEFINED;
    EXPIRE "expire" DECISION, DEFINED;
    TICKET_READ "ticket_read" WAITING;
    TICKET_CANCEL "ticket_cancel" WAITING;
    TICKET_TOUCH "ticket_touch" WAITING;
    WAITING_LIST "waiting_list" WAITING;
    REGISTER "register" REGISTRY;
    RESOURCE_DELETE "resource_delete" REGISTRY;
    RESOURCE_READ "resource_read" REGISTRY;
    RESOURCE_LIST "resource_list" REGISTRY;
    CHECK "check" DECISION, DEFINED;
    LIST "list" DECISION, DEFINED;
    VERIFY_FENCE "verify_fence" DECISION, DEFINED;
    POSITION "position_of" &[Meta];
    TENANT_CREATE "tenant_create" &[Meta, Keys];
    TENANT_READ "tenant_read" &[Meta, Keys];
    TENANT_UPDATE "tenant_update" &[Meta];
    TENANT_DELETE "tenant_delete" &[
        Meta, Keys, Due, Connections, Held, Deadlines, History, Used, Sessions, Definitions, Index,
        Slots, Lines, Tickets, TicketEnds, Links, Streams, Companies, CompanyIds, Dedupe, Watches, Cursors, Jobs, JobDetails, JobsCreated, JobsOpen, JobsFinished, Workers, Beats, Absent, Queues,
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
    USAGE "usage" &[Meta, Streams, Replicas, Keys, Companies, Connections, Counts];
    STORED_BYTES "stored_bytes" &[
        Meta, Held, Deadlines, History, Keys, Used, Sessions, Definitions, Index, Slots, Lines, Tickets, TicketEnds, Links, Streams, Companies, CompanyIds,
        Dedupe, Connections, Watches, Cursors, Jobs, JobDetails, JobsCreated, JobsOpen, JobsFinished, Workers, Beats, Absent, Queues, QueuesSeen, Counts,
    ];
    REPLAY "replay" &[Meta, History];
    HEADS "heads" &[Meta];
    STREAM_ENTER "stream_enter" &[Meta, Streams, Replicas];
    REPLICA_BEAT "replica_beat" &[Replicas];
    PUBLISH "publish" &[Meta, History, Companies, CompanyIds, Dedupe];
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
