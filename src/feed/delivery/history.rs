//! Pages of a tenant's history, for streams that are behind the ring. Streams that ask for the same page at the same
//! time share one call.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::names::TenantId,
    feed::{buffer::frame::Frame, single_flight::SingleFlight},
    store::{Notification, Replay, Store, StoreError, TenantHandle},
};

/// Entries of the history per page: as many events, or, of batches, up to 32 times as many.
pub(in crate::feed) const PAGE_ENTRIES: usize = 256;
/// A page is shared for this long after its call began. Pages do not change, so this bounds memory only.
const PAGE_TTL: Duration = Duration::from_secs(1);

/// A page of the history as frames.
#[derive(Debug)]
pub(in crate::feed) struct Page {
    /// Position before the first event, as that event names it; `None` if there is no event.
    pub(super) previous: Option<i64>,
    pub(super) frames: Vec<Arc<Frame>>,
    /// Position of the tenant's last kept event.
    pub(super) last: i64,
    /// Redis' clock, in microseconds since the Unix epoch.
    pub(super) now_us: i64,
}

impl Page {
    fn new(replay: &Replay) -> Self {
        // A page cannot have a gap, since one script writes an event and the position before it. Should it have one all
        // the same, the page ends there, and the next one begins with the gap and shows it.
        let mut reached = None;
        let contiguous = replay.notifications.iter().take_while(|notification| {
            let positions = notification.positions();
            let follows = positions.is_some_and(|(previous, _)| reached.is_none_or(|reached| reached == previous));
            reached = positions.map(|(_, position)| position);
            follows
        });
        let frames: Vec<_> = contiguous.filter_map(Frame::from_notification).map(Arc::new).collect();
        Self {
            previous: replay.notifications.first().and_then(Notification::positions).map(|(previous, _)| previous),
            frames,
            last: replay.last,
            now_us: replay.now_us,
        }
    }
}

/// Pages that are being read, or were just read.
#[derive(Debug)]
pub(in crate::feed) struct HistoryPages(SingleFlight<(TenantId, i64), Option<Arc<Page>>>);

impl HistoryPages {
    pub(in crate::feed) fn new() -> Self {
        Self(SingleFlight::new(PAGE_TTL))
    }

    /// The page after a position; `None`: the tenant is gone.
    ///
    /// # Errors
    /// As [`Store::replay`].
    pub(super) async fn after(
        &self,
        store: &Store,
        tenant_handle: &Arc<TenantHandle>,
        position: i64,
    ) -> Result<Option<Arc<Page>>, StoreError> {
        let key = (tenant_handle.tenant().clone(), position);
        let read = async {
            let replay = store.replay(tenant_handle, position, PAGE_ENTRIES).await?;
            Ok::<_, StoreError>(replay.map(|replay| Arc::new(Page::new(&replay))))
        };
        let page = self.0.get(&key, read).await?;
        if page.as_ref().is_none_or(|page| page.frames.is_empty()) {
            // An event may follow at any moment.
            self.0.forget(&key);
        }
        Ok(page)
    }
}
