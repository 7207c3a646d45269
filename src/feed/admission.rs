//! Admission of a stream: its credential is verified in Redis, and a slot is taken where streams are counted.

use crate::{
    feed::{hub::Hub, stream_slots::StreamSlot},
    store::{Caller, LimitReached, Limited, Stamped, Store, StoreError, StreamKind},
};

/// Outcome of [`admit`].
#[derive(Debug)]
pub(super) enum Admission {
    Admitted {
        /// The stream's slot; `None` where streams are not counted.
        slot: Option<StreamSlot>,
        /// The tenant's latest position in Redis.
        position: i64,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
    LimitReached {
        limit: LimitReached,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
}

/// Subscribes to the caller's partition, verifies the credential, and takes a slot if streams of this kind are counted.
///
/// # Errors
/// [`StoreError::Unauthorized`] when the credential is gone, [`StoreError::Unreachable`] when the partition cannot be
/// subscribed to.
///
/// # Cancellation
/// A slot that was taken is released.
pub(super) async fn admit(
    hub: &Hub,
    store: &Store,
    caller: &Caller,
    kind: &StreamKind,
) -> Result<Admission, StoreError> {
    let tenant_handle = caller.tenant_handle();
    // Subscribed first: events between the verification and the stream's start arrive, and from here on it is noticed if not.
    hub.subscribe(tenant_handle).await?;
    hub.follow_live_only(store, tenant_handle).await?;
    let mut present = caller.clone();
    if kind.limit(&present).is_none() {
        let verify = async { Ok(store.position(caller).await?.map(|_| ())) };
        let Stamped { now_us, position, .. } =
            hub.verified(tenant_handle.tenant(), caller.credential(), verify).await?;
        // The verification has found out whether the tier was changed.
        present = store.present_caller(present);
        if kind.limit(&present).is_none() {
            return Ok(Admission::Admitted { slot: None, position, now_us });
        }
    }
    let mut slot = hub.slots.claim(tenant_handle, kind);
    let Stamped { now_us, position, answer } = store.acquire_stream_slot(&present, &slot.id(), kind).await?;
    slot.confirm();
    Ok(match answer {
        Limited::Limit(limit) => Admission::LimitReached { limit, now_us },
        Limited::Done(()) => Admission::Admitted { slot: Some(slot), position, now_us },
    })
}
