//! Upkeep of connections' streams: repeated snapshots of their queues, and their end when the connection is deleted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    domain::names::TenantId,
    feed::{buffer::frame::Frame, hub::Hub},
};

/// Interval of `queue:snapshot` frames while nothing changes: a little below the promised 30 s.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(28);
/// Interval at which due snapshots are looked for.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Sends the due snapshots of connections with streams, until the replica ends.
pub(super) async fn run(hub: Arc<Hub>) {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let now = Instant::now();
        let due = hub.select_live_channels(|_, channel| {
            channel.subscribers() > 0 && channel.take_due_snapshot(now, SNAPSHOT_INTERVAL)
        });
        for (connection, channel) in due {
            match hub.store.connection_snapshot(&channel.tenant_handle, connection).await {
                Ok((queues, _)) => {
                    channel.push(queues.iter().map(Frame::queue_snapshot));
                    hub.notify([&channel]);
                }
                Err(error) => tracing::debug!(%error, "the snapshot of a connection's queues could not be read"),
            }
        }
    }
}

/// Ends the streams of a tenant's connections that were deleted.
pub(super) async fn end_deleted(hub: Arc<Hub>, tenant: TenantId) {
    for (connection, channel) in hub.select_live_channels(|of, _| *of == tenant) {
        if let Ok(false) = hub.store.has_connection(&channel.tenant_handle, connection).await {
            channel.end_streams(None);
        }
    }
}
