//! One tenant's stream on this replica: its ring, and on each runtime the readers that were let in there.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    feed::{
        Filter, Frame,
        buffer::{
            memory_budget::MemoryBudget,
            ring::{Ring, Taken},
        },
        delivery::{group::Group, shard::Shard, subscriber::Subscriber},
    },
    store::{Notification, Replay, TenantHandle},
};

/// A tenant's stream.
#[derive(Debug)]
pub(in crate::feed) struct Channel {
    pub(in crate::feed) place: Arc<TenantHandle>,
    ring: Mutex<Ring>,
    /// The highest position that readers may be told: what one waits for who knows of a later one.
    told: watch::Sender<Option<i64>>,
    locals: Vec<Local>,
    /// Of a connection's stream: when its queues were last shown. `None` of a tenant's events.
    shown: Option<Mutex<Instant>>,
}

/// What a channel has on one runtime.
#[derive(Debug, Default)]
pub(in crate::feed) struct Local {
    /// Whether the runtime was told that there is something to write.
    rung: AtomicBool,
    readers: AtomicUsize,
    groups: Mutex<Vec<Arc<Group>>>,
}

impl Channel {
    /// A channel of which nothing is known yet, for so many runtimes.
    pub(in crate::feed) fn new(place: Arc<TenantHandle>, runtimes: usize, together: MemoryBudget) -> Self {
        let locals = std::iter::repeat_with(Local::default).take(runtimes).collect();
        Self { place, ring: Mutex::new(Ring::new(together)), told: watch::Sender::new(None), locals, shown: None }
    }

    /// A channel of what is live only.
    pub(in crate::feed) fn live(place: Arc<TenantHandle>, runtimes: usize, together: MemoryBudget) -> Self {
        Self {
            ring: Mutex::new(Ring::live(together.clone())),
            shown: Some(Mutex::new(Instant::now())),
            ..Self::new(place, runtimes, together)
        }
    }

    /// Whether what it tells is live only.
    pub(in crate::feed) fn is_live(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether its queues are to be shown again; if so, they count as shown now.
    pub(in crate::feed) fn show_is_due(&self, now: Instant, every: Duration) -> bool {
        let Some(shown) = &self.shown else { return false };
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.duration_since(*shown) >= every;
        if due {
            *shown = now;
        }
        due
    }

    /// Adds frames of what is live only.
    pub(in crate::feed) fn push(&self, frames: impl Iterator<Item = Frame>) {
        let (mut ring, now) = (self.ring(), Instant::now());
        frames.for_each(|frame| ring.push(frame, now));
    }

    /// The ring, for a moment.
    pub(in crate::feed) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was heard.
    pub(in crate::feed) fn hear(&self, note: Notification) -> Taken {
        let mut ring = self.ring();
        let taken = ring.hear(note);
        self.show_told(&ring);
        taken
    }

    /// Fills a hole with a page of the history; whether another page is needed.
    pub(in crate::feed) fn mend(&self, replay: &Replay, full: bool) -> bool {
        let mut ring = self.ring();
        let more = ring.mend(replay, full);
        self.show_told(&ring);
        more
    }

    fn show_told(&self, ring: &Ring) {
        if self.told.receiver_count() > 0 {
            self.told.send_replace(ring.head().map(|_| ring.told()));
        }
    }

    /// Waits until readers may be told `position`.
    pub(in crate::feed) async fn reaches(&self, position: i64) {
        let mut told = self.told.subscribe();
        self.show_told(&self.ring());
        // The sender lives as long as we are borrowed.
        let _ = told.wait_for(|told| told.is_some_and(|told| told >= position)).await;
    }

    /// How many readers there are on all runtimes.
    pub(in crate::feed) fn readers(&self) -> usize {
        self.locals.iter().map(|local| local.readers.load(Ordering::Relaxed)).sum()
    }

    /// Whether a runtime has readers and was not told yet that there is something to write. It counts as told now.
    pub(in crate::feed) fn ring_on(&self, runtime: usize) -> bool {
        self.locals
            .get(runtime)
            .is_some_and(|local| local.readers.load(Ordering::Acquire) > 0 && !local.rung.swap(true, Ordering::AcqRel))
    }

    /// Writes to the readers of one runtime for whom something new passed, or wakes them; how many.
    pub(in crate::feed) async fn flush(&self, runtime: usize, now_ms: u64) -> usize {
        let Some(local) = self.locals.get(runtime) else { return 0 };
        local.rung.store(false, Ordering::Release);
        let groups = local.groups().clone();
        let mut served = 0;
        for group in groups {
            if let Some(round) = group.look(self, now_ms) {
                served += group.deliver(&round).await;
            }
        }
        served
    }

    /// Writes to them on the present thread, as long as no more than `left` are to be written to; whether everything was. What their
    /// runtime writes meanwhile, each seat tells apart.
    pub(in crate::feed) fn flush_at_once(&self, shard: &Shard, left: &mut usize) -> bool {
        let Some(local) = self.locals.get(shard.number).filter(|local| local.readers.load(Ordering::Acquire) > 0)
        else {
            return true;
        };
        // Not one is left out because another has too many.
        let mut all = true;
        for group in local.groups().iter() {
            all &= group.flush_at_once(self, shard, left);
        }
        all
    }

    /// Lets a reader in on one runtime.
    pub(in crate::feed) fn enter(&self, runtime: usize, filter: Filter, seat: &Arc<Subscriber>) -> Option<Arc<Group>> {
        let local = self.locals.get(runtime)?;
        local.readers.fetch_add(1, Ordering::AcqRel);
        let mut groups = local.groups();
        let group = match groups.iter().find(|group| *group.filter() == filter) {
            Some(group) => group.clone(),
            None => {
                let group = Arc::new(Group::new(filter, &self.ring()));
                groups.push(group.clone());
                group
            }
        };
        group.add(seat);
        Some(group)
    }

    /// Lets a reader go.
    pub(in crate::feed) fn leave(&self, runtime: usize, group: &Arc<Group>, seat: &Arc<Subscriber>) {
        let Some(local) = self.locals.get(runtime) else { return };
        let mut groups = local.groups();
        if group.remove(seat) {
            groups.retain(|present| !Arc::ptr_eq(present, group));
        }
        local.readers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends the streams of one credential, or all.
    pub(in crate::feed) fn end(&self, credential: Option<&str>) {
        self.each_seat(|seat| {
            if credential.is_none_or(|ended| seat.credential() == Some(ended)) {
                seat.end();
            }
        });
    }

    /// The credentials that streams are open with.
    pub(in crate::feed) fn credentials(&self) -> Vec<String> {
        let mut credentials = Vec::new();
        self.each_seat(|seat| credentials.extend(seat.credential().map(str::to_owned)));
        credentials.sort();
        credentials.dedup();
        credentials
    }

    /// Lets go of what is old.
    pub(in crate::feed) fn tidy(&self, now: Instant) {
        self.ring().tidy(now);
        for local in &self.locals {
            for group in local.groups().iter() {
                group.tidy();
            }
        }
    }

    fn each_seat(&self, mut each: impl FnMut(&Subscriber)) {
        for local in &self.locals {
            let groups = local.groups().clone();
            for group in groups {
                group.each_seat(&mut each);
            }
        }
    }
}

impl Local {
    fn groups(&self) -> MutexGuard<'_, Vec<Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page of the history as frames, shared by all who want it.
#[derive(Debug)]
pub(in crate::feed) struct Page {
    /// The position before its first event, as that names it; `None` when there is no event.
    pub(in crate::feed) previous: Option<i64>,
    pub(in crate::feed) frames: Vec<Arc<Frame>>,
    /// The position of the last kept event.
    pub(in crate::feed) last: i64,
    /// Redis' clock, in microseconds.
    pub(in crate::feed) now_us: i64,
}

impl Page {
    pub(in crate::feed) fn of(replay: &Replay) -> Self {
        // A hole inside a page cannot be: one script writes an event and its predecessor's name. If it is there all the same, the
        // page ends before it, and the next one begins with it and shows it.
        let mut at = None;
        let whole = replay.notes.iter().take_while(|note| {
            let positions = note.positions();
            let follows = positions.is_some_and(|(previous, _)| at.is_none_or(|at| at == previous));
            at = positions.map(|(_, position)| position);
            follows
        });
        let frames: Vec<_> = whole.filter_map(Frame::of).map(Arc::new).collect();
        Self {
            previous: replay.notes.first().and_then(Notification::positions).map(|(previous, _)| previous),
            frames,
            last: replay.last,
            now_us: replay.now_us,
        }
    }
}
