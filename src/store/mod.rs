//! The data of our Redis: keys, functions, and one typed method per function.
//!
//! Every decision is one call of one function, on one hash slot; what stands here names its keys and arguments, sends it, and decodes its reply.
//! A refusal is an answer ([`Outcome`]); a failure is a [`StoreError`]; not knowing is its own case of that.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `call`, `reply` | one call of a function: arguments, sending, the head of its reply |
//! | `codec` | MessagePack, as functions read and write it |
//! | `keys` | the names of keys |
//! | `functions`, `library`, `library_use` | functions and the keys that each names; the library, put together from `lua/`; which builds' are in use |
//! | `callers/` | credentials: who a caller is, cached and looked up |
//! | `tenants/` | tenants, API keys, sessions, issuers; what a replica knows of each tenant |
//! | `reservations/` | reservations and registered resources |
//! | `events/` | the history of events, published events, stream slots |
//! | `queues/` | the queue monitor's state |

mod call;
mod callers;
mod codec;
mod error;
mod events;
mod functions;
mod keys;
mod library;
mod library_use;
mod queues;
mod reply;
mod reservations;
mod tenants;

use std::sync::Arc;

pub use callers::cache::Callers;
pub use callers::caller::Caller;
pub use callers::{Bearer, INGEST_KEY_PREFIX, Secret};
pub use error::StoreError;
pub use events::digest::Digest;
pub use events::history::{HeadQuery, Replay, TenantHead};
pub use events::notification::{Notification, Payload};
pub use events::platform::{CompanyRemoval, PublishOutcome, PutCompanyOutcome};
pub use events::stream_slots::{ReplicaId, StreamId, StreamKind};
pub use functions::{FUNCTIONS, Function};
pub use keys::{Key, KeyKind, Namespace, PARTITIONS, Partition};
pub use library::function_library;
pub use queues::connections::CreatedConnection;
pub use queues::jobs::JobPage;
pub use queues::observe::{MAX_OBSERVATIONS, ObservationCounts, ObserveOutcome};
pub use queues::watches::{AcquireOutcome, AcquiredWatch, Availability, LEASE_DURATION, WatchLease};
pub use reply::{LimitReached, Limited, Outcome, Stamped};
pub use reservations::expiry::{ClockSample, DueTenants, Expired};
pub use reservations::pages::{PageCursor, ReservationPage};
pub use reservations::resources::{RegisterOutcome, ResourcePage};
pub use reservations::tickets::{CancelOutcome, WaitingPage, WaitingTicket};
pub use tenants::TenantPage;
pub use tenants::api_keys::{KEY_PREFIX, KeyPage, KeyRemoval, NewKey};
pub use tenants::handle::TenantHandle;
pub use tenants::issuers::Registration;
pub use tenants::rate_state::{RateSnapshot, RateState};
pub use tenants::sessions::{SESSION_LONGEST, SESSION_PREFIX, Usage};
pub use tenants::stored_bytes::{StorageFull, StoredBytes};

use call::Arg;
use library::{LIBRARY, probe_arguments};
use reply::Reply;
use reservations::batcher::Batcher;

use crate::{
    domain::rate::TooFast,
    redis::{Address, RedisHandle},
};

/// One runtime's access to the data. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    redis: RedisHandle,
    callers: Arc<Callers>,
    batcher: Arc<Batcher>,
}

impl Store {
    /// A store over a connection of this runtime, which starts to connect, and the callers that the whole replica has cached.
    #[must_use]
    pub fn open(address: Address, callers: Arc<Callers>) -> Self {
        let arguments = probe_arguments(callers.namespace(), &address);
        Self { redis: RedisHandle::open(address, &LIBRARY.loaded, arguments), callers, batcher: Arc::default() }
    }

    /// The connection.
    #[must_use]
    pub fn redis(&self) -> &RedisHandle {
        &self.redis
    }

    /// Where its data stands.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        self.callers.namespace()
    }

    /// The cached callers.
    #[must_use]
    pub fn callers(&self) -> &Callers {
        &self.callers
    }
}
