//! The stream of a connection: what changes of its jobs, workers and queues, from now on. Nothing is replayed, so a reader needs no
//! history: one that falls behind the ring is told of the gap and goes on.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    domain::{
        names::TenantId,
        queue::{Queue, Worker},
    },
    feed::{
        Feed, Filter, Frame, Hub, Piece,
        delivery::{
            channel::Channel,
            group::Group,
            shard::Shard,
            subscriber::{Subscriber, WakeReason},
        },
        stream_slots::StreamSlot,
    },
    store::{Caller, LimitReached, StoreError, StreamKind},
};

/// While somebody reads, the queues are shown at least this often, changed or not. A little under the promised 30 s.
const SHOWN_EVERY: Duration = Duration::from_secs(28);
/// How often that is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// How a connection's queues and workers stand.
#[derive(Debug)]
pub(in crate::feed) struct Snapshot {
    queues: Vec<Queue>,
    workers: Vec<Worker>,
}

/// What became of a stream that was asked for.
#[derive(Debug)]
pub enum LiveEntry {
    /// It is open.
    Open {
        /// The stream.
        reader: Box<LiveReader>,
        /// What it begins with: how queues and live workers stand, as far as the filter lets them.
        standing: Bytes,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
    /// The tenant has no place left.
    Full {
        /// Which limit.
        reached: LimitReached,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
    /// The tenant has no such connection.
    NotFound,
}

/// A stream that was let in. Dropping it leaves.
#[derive(Debug)]
pub struct LiveReader {
    shard: Arc<Shard>,
    channel: Arc<Channel>,
    group: Arc<Group>,
    seat: Arc<Subscriber>,
    /// The number of its next frame.
    cursor: u64,
    /// Up to when it has been told everything.
    whole_until: DateTime<Utc>,
    _lease: Option<StreamSlot>,
}

impl Feed {
    /// Lets a reader in to what changes of one connection.
    ///
    /// # Errors
    /// [`StoreError::Unauthorized`] when the credential is gone, [`StoreError::Unreachable`] when the tenant cannot be heard.
    ///
    /// # Cancellation
    /// A place that was taken is given back.
    pub async fn enter_live(
        &self,
        store: &crate::store::Store,
        caller: &Caller,
        kind: StreamKind,
        filter: Filter,
        connection: Uuid,
    ) -> Result<LiveEntry, StoreError> {
        let hub = &self.hub;
        let (proof, lease) = match self.prove(store, caller, &kind).await? {
            Ok(proved) => proved,
            Err((reached, now_us)) => return Ok(LiveEntry::Full { reached, now_us }),
        };
        let now_us = proof.now_us;
        if !store.has_connection(caller.place(), connection).await? {
            return Ok(LiveEntry::NotFound);
        }
        let channel = hub.live_channel(caller.place(), connection);
        let seat = Subscriber::new(caller.credential(), self.shard.now_ms());
        let group = channel.enter(self.shard.number, filter, &seat).ok_or(StoreError::Unreachable)?;
        let cursor = channel.ring().end();
        self.shard.watch(&seat);
        // From here on it is a reader, and leaves as one however this goes on.
        let shard = self.shard.clone();
        let reader =
            Box::new(LiveReader { shard, channel, group, seat, cursor, whole_until: Utc::now(), _lease: lease });
        // What changes meanwhile comes after this, and may say the same again.
        let key = (caller.place().tenant().clone(), connection);
        let standing = hub.standings.get(&key, read_standing(store, caller.place(), connection)).await?;
        let frames = standing.queues.iter().map(Frame::of_queue).chain(standing.workers.iter().map(Frame::of_worker));
        let mut standing = Vec::new();
        frames
            .filter(|frame| reader.group.filter().passes(frame))
            .for_each(|frame| standing.extend_from_slice(frame.bytes()));
        Ok(LiveEntry::Open { reader, standing: standing.into(), now_us })
    }
}

async fn read_standing(
    store: &crate::store::Store,
    place: &crate::store::TenantHandle,
    connection: Uuid,
) -> Result<Arc<Snapshot>, StoreError> {
    let (queues, workers) = store.standing(place, connection).await?;
    Ok(Arc::new(Snapshot { queues, workers }))
}

impl LiveReader {
    /// Waits for something to write: what changed, or a sign of life.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing; the next call goes on from the same place.
    pub async fn next(&mut self) -> Piece {
        loop {
            if self.seat.has_ended() {
                return Piece::End;
            }
            if self.seat.is_leaving() {
                return Piece::Leave;
            }
            if self.seat.beat_is_due() {
                return self.beat();
            }
            let now = Utc::now();
            match self.group.stretch(&self.channel, self.cursor) {
                Some(stretch) => {
                    let moved = stretch.to != self.cursor;
                    self.cursor = stretch.to;
                    self.whole_until = now;
                    let bytes = stretch.body();
                    if !bytes.is_empty() {
                        return Piece::Bytes(bytes);
                    }
                    if moved {
                        continue;
                    }
                }
                None => {
                    self.cursor = self.channel.ring().end();
                    let gap = Frame::gap(std::mem::replace(&mut self.whole_until, now), now, "slow");
                    return Piece::Bytes(Bytes::copy_from_slice(gap.bytes()));
                }
            }
            match self.seat.sign_given().await {
                WakeReason::Ended => return Piece::End,
                WakeReason::Leave => return Piece::Leave,
                WakeReason::Beat => return self.beat(),
                WakeReason::Woken => {}
            }
        }
    }

    /// It says that it lives every 15 s, whatever else it says: so only this counts as speaking.
    fn beat(&self) -> Piece {
        self.seat.speaks(self.shard.now_ms());
        Piece::Bytes(Bytes::copy_from_slice(Frame::heartbeat(Utc::now()).bytes()))
    }
}

impl Drop for LiveReader {
    fn drop(&mut self) {
        self.channel.leave(self.shard.number, &self.group, &self.seat);
    }
}

/// Ends the streams of a tenant's connections that are gone.
pub(in crate::feed) async fn end_gone(hub: Arc<Hub>, tenant: TenantId) {
    let channels: Vec<_> = hub
        .live_channels()
        .iter()
        .filter(|((of, _), _)| *of == tenant)
        .map(|((_, connection), channel)| (*connection, channel.clone()))
        .collect();
    for (connection, channel) in channels {
        if let Ok(false) = hub.store.has_connection(&channel.place, connection).await {
            channel.end(None);
        }
    }
}

/// Shows the queues of each connection that is read, again and again, for as long as the replica lives.
pub(in crate::feed) async fn keep_showing(hub: Arc<Hub>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Instant::now();
        let channels: Vec<_> = hub
            .live_channels()
            .iter()
            .filter(|(_, channel)| channel.readers() > 0 && channel.show_is_due(now, SHOWN_EVERY))
            .map(|((_, connection), channel)| (*connection, channel.clone()))
            .collect();
        for (connection, channel) in channels {
            match hub.store.standing(&channel.place, connection).await {
                Ok((queues, _)) => hub.tell(&channel, queues.iter().map(Frame::of_queue)),
                Err(error) => tracing::debug!(%error, "queues could not be shown"),
            }
        }
    }
}

impl Hub {
    /// Puts frames into a live channel, and tells the runtimes that have readers there.
    pub(in crate::feed) fn tell(&self, channel: &Arc<Channel>, frames: impl Iterator<Item = Frame>) {
        channel.push(frames);
        self.ring(channel);
    }

    /// Tells every reader of a connection that nothing was heard for a while.
    pub(in crate::feed) fn tell_gap(&self, from: DateTime<Utc>) {
        let channels: Vec<_> = self.live_channels().values().cloned().collect();
        let mut rung = HashSet::new();
        for channel in channels {
            channel.push(std::iter::once(Frame::gap(from, Utc::now(), "interrupted")));
            self.note(&channel, &mut rung);
        }
        rung.into_iter().for_each(|number| self.shards[number].ring());
    }
}
