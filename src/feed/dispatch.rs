//! What becomes of what is heard: it goes into the rings of those whom it concerns, and from there to their readers.

use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::Instant,
};

use chrono::Utc;

use crate::{
    domain::names::TenantId,
    feed::{
        Frame, Hub,
        buffer::ring::Taken,
        delivery::{channel::Channel, live_stream, shard::Shard},
    },
    store::{Notification, Payload, SubscriptionEvent},
};

/// How the field of an ingest key in the tenant's state begins.
const INGEST: &str = "q:";
/// How many readers the thread that hears writes to by itself at once. Beyond, it must go on hearing, and waking the runtimes costs little
/// for each of so many.
const WRITTEN_AT_ONCE: usize = 32;

impl Hub {
    /// Takes what the subscription hears. Runs on its thread, and must not wait.
    pub(super) fn hear(self: &Arc<Self>, heard: SubscriptionEvent<'_>) {
        match heard {
            SubscriptionEvent::Payload(bytes) => {
                Notification::read_all(bytes).into_iter().for_each(|note| self.take(note))
            }
            SubscriptionEvent::Drained => self.pass_on(),
            SubscriptionEvent::Broken => {
                metrics::counter!("holdfast_subscription_breaks_total").increment(1);
                self.proofs.forget_all();
                self.deaf.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Utc::now);
            }
            SubscriptionEvent::Resubscribed => {
                self.back.notify_one();
                let since = self.deaf.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(since) = since {
                    self.tell_gap(since);
                }
            }
        }
    }

    fn take(self: &Arc<Self>, note: Notification) {
        if let Payload::Queues { connection, news } = &note.message {
            let Some(tenant) = TenantId::parse(&note.tenant) else { return };
            let channel =
                self.live_channels().get(&(tenant, *connection)).filter(|channel| channel.readers() > 0).cloned();
            if let Some(channel) = channel {
                channel.push(news.iter().map(Frame::of_news));
                self.fresh().push(channel);
            }
            return;
        }
        let channel = self.channels().get(note.tenant.as_str()).cloned();
        if let Payload::Ended { credential } = &note.message {
            let Some(tenant) = TenantId::parse(&note.tenant) else { return };
            self.end(&tenant, channel.as_ref(), credential.as_deref());
            if credential.as_deref().is_some_and(|credential| credential.starts_with(INGEST)) {
                // An ingest key ends with its connection.
                self.runtime.spawn(live_stream::end_gone(self.clone(), tenant));
            }
            return;
        }
        if let Some((_, position)) = note.positions() {
            match &channel {
                Some(channel) => channel.place.seen(position),
                None => {
                    TenantId::parse(&note.tenant).iter().for_each(|tenant| self.store.callers().heard(tenant, position))
                }
            }
        }
        let Some(channel) = channel else { return };
        match channel.hear(note) {
            Taken::Added => self.fresh().push(channel),
            Taken::Hole => self.mend(&channel),
            Taken::Nothing => {}
        }
    }

    fn fresh(&self) -> MutexGuard<'_, Vec<Arc<Channel>>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what was heard: writes it at once if that is little, since waking another thread costs as much as a write; else the
    /// runtimes share it.
    fn pass_on(&self) {
        let mut fresh = std::mem::take(&mut *self.fresh());
        let (mut left, mut rung) = (WRITTEN_AT_ONCE, HashSet::new());
        for channel in fresh.drain(..) {
            for shard in &self.shards {
                if !channel.flush_at_once(shard, &mut left) {
                    self.note_on(shard, &channel, &mut rung);
                }
            }
        }
        rung.into_iter().for_each(|number| self.shards[number].ring());
        self.shed_if_too_much();
        // Its room is used again; nobody else hears, so nothing came meanwhile.
        *self.fresh() = fresh;
    }

    /// Ends the streams of one credential, or of the whole tenant.
    pub(super) fn end(&self, tenant: &TenantId, channel: Option<&Arc<Channel>>, credential: Option<&str>) {
        match credential {
            Some(credential) => self.proofs.forget(&(tenant.clone(), Some(credential.to_owned()))),
            None => {
                self.proofs.forget_all();
                self.channels().remove(tenant);
            }
        }
        if let Some(channel) = channel {
            channel.end(credential);
        }
        let live: Vec<_> = self
            .live_channels()
            .iter()
            .filter(|((of, _), _)| of == tenant)
            .map(|(_, channel)| channel.clone())
            .collect();
        live.iter().for_each(|channel| channel.end(credential));
    }

    /// Has rings give up their oldest frames when all together hold too much; who still wants them reads the history.
    fn shed_if_too_much(&self) {
        if self.weight.is_too_much() {
            let (now, channels) = (Instant::now(), self.all_channels());
            let mut forgotten = 0;
            self.weight.shed(|age| {
                forgotten += channels.iter().map(|channel| channel.ring().forget_older(now, age)).sum::<usize>()
            });
            metrics::counter!("holdfast_stream_frames_shed_total").increment(forgotten as u64);
        }
    }

    pub(super) fn note(&self, channel: &Arc<Channel>, rung: &mut HashSet<usize>) {
        self.shed_if_too_much();
        self.shards.iter().for_each(|shard| self.note_on(shard, channel, rung));
    }

    fn note_on(&self, shard: &Shard, channel: &Arc<Channel>, rung: &mut HashSet<usize>) {
        if channel.ring_on(shard.number) {
            shard.note(channel);
            rung.insert(shard.number);
        }
    }

    /// Tells the runtimes that a channel has something to write.
    pub(super) fn ring(&self, channel: &Arc<Channel>) {
        let mut rung = HashSet::new();
        self.note(channel, &mut rung);
        rung.into_iter().for_each(|number| self.shards[number].ring());
    }
}
