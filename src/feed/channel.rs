//! One tenant's stream on this replica: its ring, and on each runtime the readers that were let in there.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::{
    feed::{
        Filter, Frame,
        ring::{Ring, Taken},
        seat::{Seat, Seats},
        shard::Shard,
        weight::Weight,
    },
    store::{Note, Place, Replay},
};

/// The most that is written at once.
const PIECE_BYTES: usize = 64 << 10;
/// After so many writes of a round the runtime's other tasks have their turn.
const WRITES: usize = 32;
/// Room for a chunk's size: digits, and a line's end.
const SIZE_BYTES: usize = 10;

/// A tenant's stream.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) place: Arc<Place>,
    ring: Mutex<Ring>,
    /// The highest position that readers may be told: what one waits for who knows of a later one.
    told: watch::Sender<Option<i64>>,
    locals: Vec<Local>,
    /// Of a connection's stream: when its queues were last shown. `None` of a tenant's events.
    shown: Option<Mutex<Instant>>,
}

/// What a channel has on one runtime.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// Whether the runtime was told that there is something to write.
    rung: AtomicBool,
    readers: AtomicUsize,
    groups: Mutex<Vec<Arc<Group>>>,
}

/// The readers of one runtime that have the same filter: what passes is found once for all of them, and put together once.
#[derive(Debug)]
pub(super) struct Group {
    filter: Filter,
    state: Mutex<GroupState>,
}

#[derive(Debug)]
struct GroupState {
    seats: Seats,
    /// The number of the next frame to be looked at.
    scanned: u64,
    /// The position up to which everything was looked at.
    scanned_position: Option<i64>,
    /// The number after the last frame that passed.
    passed: u64,
    piece: Option<(u64, Stretch)>,
}

/// Ready bytes from one cursor to another.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    /// What passed, as a chunk of HTTP/1.1; empty if nothing did.
    chunk: Bytes,
    /// Where in the chunk it begins.
    begins: usize,
    /// The cursor after it.
    pub(super) to: u64,
    /// The last position among it, also of what did not pass.
    pub(super) position: Option<i64>,
}

/// What is written to all readers of a group that have everything before it.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) chunk: Bytes,
    /// Nothing passed between these two cursors, so whoever is there has everything before the chunk.
    from: std::ops::RangeInclusive<u64>,
    /// The cursor after the chunk.
    pub(super) to: u64,
    /// The last position in it, also of what did not pass.
    pub(super) position: Option<i64>,
    /// The cursor after everything that passed: there may be more than the chunk.
    pub(super) end: u64,
    /// Whether the chunk is all that passed.
    pub(super) is_whole: bool,
    /// The present moment of the shard's clock.
    pub(super) now_ms: u64,
}

impl Round {
    /// Whether the chunk is what comes next at this cursor.
    pub(super) fn continues(&self, cursor: u64) -> bool {
        self.from.contains(&cursor)
    }
}

impl Stretch {
    /// What passed, without a frame; empty if nothing did.
    pub(super) fn body(&self) -> Bytes {
        if self.chunk.is_empty() { Bytes::new() } else { self.chunk.slice(self.begins..self.chunk.len() - 2) }
    }
}

/// Puts together what passes, and makes a chunk of it.
#[derive(Debug, Default)]
struct Framing(BytesMut);

impl Framing {
    fn len(&self) -> usize {
        self.0.len().saturating_sub(SIZE_BYTES)
    }

    fn push(&mut self, frame: &Frame) {
        if self.0.is_empty() {
            // Most often one frame is all there is.
            self.0.reserve(SIZE_BYTES + frame.bytes.len() + 2);
            self.0.extend_from_slice(&[0; SIZE_BYTES]);
        }
        self.0.extend_from_slice(&frame.bytes);
    }

    /// The chunk, and where in it the body begins.
    fn finish(mut self) -> (Bytes, usize) {
        if self.0.is_empty() {
            return (Bytes::new(), 0);
        }
        let size = format!("{:x}\r\n", self.len());
        let spare = SIZE_BYTES - size.len();
        self.0[spare..SIZE_BYTES].copy_from_slice(size.as_bytes());
        self.0.extend_from_slice(b"\r\n");
        (self.0.freeze().slice(spare..), size.len())
    }
}

impl Channel {
    /// A channel of which nothing is known yet, for so many runtimes.
    pub(super) fn new(place: Arc<Place>, runtimes: usize, together: Weight) -> Self {
        let locals = std::iter::repeat_with(Local::default).take(runtimes).collect();
        Self { place, ring: Mutex::new(Ring::new(together)), told: watch::Sender::new(None), locals, shown: None }
    }

    /// A channel of what is live only.
    pub(super) fn live(place: Arc<Place>, runtimes: usize, together: Weight) -> Self {
        Self { ring: Mutex::new(Ring::live(together.clone())), shown: Some(Mutex::new(Instant::now())), ..Self::new(place, runtimes, together) }
    }

    /// Whether what it tells is live only.
    pub(super) fn is_live(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether its queues are to be shown again; if so, they count as shown now.
    pub(super) fn show_is_due(&self, now: Instant, every: Duration) -> bool {
        let Some(shown) = &self.shown else { return false };
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.duration_since(*shown) >= every;
        if due {
            *shown = now;
        }
        due
    }

    /// Adds frames of what is live only.
    pub(super) fn push(&self, frames: impl Iterator<Item = Frame>) {
        let (mut ring, now) = (self.ring(), Instant::now());
        frames.for_each(|frame| ring.push(frame, now));
    }

    /// The ring, for a moment.
    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was heard.
    pub(super) fn hear(&self, note: Note) -> Taken {
        let mut ring = self.ring();
        let taken = ring.hear(note);
        self.show_told(&ring);
        taken
    }

    /// Fills a hole with a page of the history; whether another page is needed.
    pub(super) fn mend(&self, replay: &Replay, full: bool) -> bool {
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
    pub(super) async fn reaches(&self, position: i64) {
        let mut told = self.told.subscribe();
        self.show_told(&self.ring());
        // The sender lives as long as we are borrowed.
        let _ = told.wait_for(|told| told.is_some_and(|told| told >= position)).await;
    }

    /// How many readers there are on all runtimes.
    pub(super) fn readers(&self) -> usize {
        self.locals.iter().map(|local| local.readers.load(Ordering::Relaxed)).sum()
    }

    /// The runtimes that have readers and were not told yet that there is something to write. They count as told now.
    pub(super) fn ring_for(&self) -> impl Iterator<Item = usize> {
        self.locals
            .iter()
            .enumerate()
            .filter(|(_, local)| local.readers.load(Ordering::Acquire) > 0 && !local.rung.swap(true, Ordering::AcqRel))
            .map(|(number, _)| number)
    }

    /// Writes to the readers of one runtime for whom something new passed, or wakes them; how many.
    pub(super) async fn flush(&self, runtime: usize, now_ms: u64) -> usize {
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

    /// The same on the present thread, for few readers: what a runtime's round writes meanwhile each seat tells apart.
    pub(super) fn flush_at_once(&self, shard: &Shard) {
        let Some(local) = self.locals.get(shard.number).filter(|local| local.readers.load(Ordering::Acquire) > 0) else { return };
        let groups = local.groups().clone();
        for group in groups {
            if let Some(round) = group.look(self, shard.now_ms()) {
                group.state().seats.iter().for_each(|seat| seat.deliver(&round));
            }
        }
    }

    /// Lets a reader in on one runtime.
    pub(super) fn enter(&self, runtime: usize, filter: Filter, seat: &Arc<Seat>) -> Option<Arc<Group>> {
        let local = self.locals.get(runtime)?;
        local.readers.fetch_add(1, Ordering::AcqRel);
        let mut groups = local.groups();
        let group = match groups.iter().find(|group| group.filter == filter) {
            Some(group) => group.clone(),
            None => {
                let ring = self.ring();
                let state = GroupState { seats: Seats::default(), scanned: ring.end(), scanned_position: ring.head(), passed: ring.end(), piece: None };
                let group = Arc::new(Group { filter, state: Mutex::new(state) });
                groups.push(group.clone());
                group
            }
        };
        group.state().seats.add(seat);
        Some(group)
    }

    /// Lets a reader go.
    pub(super) fn leave(&self, runtime: usize, group: &Arc<Group>, seat: &Arc<Seat>) {
        let Some(local) = self.locals.get(runtime) else { return };
        let mut groups = local.groups();
        let mut state = group.state();
        state.seats.remove(seat);
        if state.seats.is_empty() {
            groups.retain(|present| !Arc::ptr_eq(present, group));
        }
        drop(state);
        local.readers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends the streams of one credential, or all.
    pub(super) fn end(&self, credential: Option<&str>) {
        self.each_seat(|seat| {
            if credential.is_none_or(|ended| seat.credential() == Some(ended)) {
                seat.end();
            }
        });
    }

    /// The credentials that streams are open with.
    pub(super) fn credentials(&self) -> Vec<String> {
        let mut credentials = Vec::new();
        self.each_seat(|seat| credentials.extend(seat.credential().map(str::to_owned)));
        credentials.sort();
        credentials.dedup();
        credentials
    }

    fn each_seat(&self, mut each: impl FnMut(&Seat)) {
        for local in &self.locals {
            let groups = local.groups().clone();
            for group in groups {
                group.state().seats.iter().for_each(|seat| each(seat));
            }
        }
    }
}

impl Local {
    fn groups(&self) -> MutexGuard<'_, Vec<Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn state(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Looks at what is new; if any of it passes, what is to be written.
    fn look(&self, channel: &Channel, now_ms: u64) -> Option<Round> {
        let mut state = self.state();
        let from = {
            let ring = channel.ring();
            let before = state.passed..=state.scanned;
            let from = state.scanned.max(ring.first());
            // What has left the ring unseen may have passed: the readers look for themselves.
            if from > state.scanned {
                state.passed = from;
            }
            let mut number = from;
            for frame in ring.since(from).into_iter().flatten() {
                number += 1;
                if self.filter.passes(frame) {
                    state.passed = number;
                }
                state.scanned_position = frame.position.or(state.scanned_position);
            }
            let news = state.passed > state.scanned;
            state.scanned = number;
            if !news {
                return None;
            }
            before
        };
        let end = state.passed;
        let stretch = state.stretch(&self.filter, channel, *from.end());
        // What has left the ring already is for the tasks to find elsewhere.
        let Some(stretch) = stretch else { return Some(Round { chunk: Bytes::new(), from, to: 0, position: None, end, is_whole: false, now_ms }) };
        Some(Round { is_whole: stretch.to >= end, chunk: stretch.chunk, from, to: stretch.to, position: stretch.position, end, now_ms })
    }

    /// Gives every reader a round's chunk, a few at a time; how many.
    async fn deliver(&self, round: &Round) -> usize {
        // From the last seat on: whoever leaves meanwhile makes room for one that was served already, and whoever comes looks by itself.
        let count = self.state().seats.len();
        let mut left = count;
        while left > 0 {
            let next = left.saturating_sub(WRITES);
            self.state().seats.between(next, left).iter().rev().for_each(|seat| seat.deliver(round));
            left = next;
            if left > 0 {
                tokio::task::yield_now().await;
            }
        }
        count
    }

    /// What passes from `cursor` on, up to a bound; `None`: the frame there has left the ring.
    pub(super) fn stretch(&self, channel: &Channel, cursor: u64) -> Option<Stretch> {
        self.state().stretch(&self.filter, channel, cursor)
    }
}

impl GroupState {
    fn stretch(&mut self, filter: &Filter, channel: &Channel, cursor: u64) -> Option<Stretch> {
        let ring = channel.ring();
        // Nothing passed since: whatever has left the ring meanwhile was not for this reader.
        if cursor < ring.first() && self.passed <= cursor && self.scanned >= ring.first() {
            return Some(Stretch { chunk: Bytes::new(), begins: 0, to: self.scanned, position: self.scanned_position });
        }
        let end = ring.end();
        if let Some((from, piece)) = &self.piece
            && *from == cursor
            && piece.to == end
        {
            return Some(piece.clone());
        }
        let (mut framing, mut to, mut position) = (Framing::default(), cursor, None);
        for frame in ring.since(cursor)? {
            if filter.passes(frame) {
                if framing.len() > 0 && framing.len() + frame.bytes.len() > PIECE_BYTES {
                    break;
                }
                framing.push(frame);
            }
            to += 1;
            position = frame.position.or(position);
        }
        drop(ring);
        let (chunk, begins) = framing.finish();
        let stretch = Stretch { chunk, begins, to, position };
        if to == end && self.seats.len() > 1 && !stretch.chunk.is_empty() {
            self.piece = Some((cursor, stretch.clone()));
        }
        Some(stretch)
    }
}

impl Channel {
    /// Lets go of what is old.
    pub(super) fn tidy(&self, now: Instant) {
        self.ring().tidy(now);
        for local in &self.locals {
            for group in local.groups().iter() {
                group.state().piece = None;
            }
        }
    }
}

/// A page of the history as frames, shared by all who want it.
#[derive(Debug)]
pub(super) struct Page {
    /// The position before its first event, as that names it; `None` when there is no event.
    pub(super) previous: Option<i64>,
    pub(super) frames: Vec<Arc<Frame>>,
    /// The position of the last kept event.
    pub(super) last: i64,
    /// Redis' clock, in microseconds.
    pub(super) now_us: i64,
}

impl Page {
    pub(super) fn of(replay: &Replay) -> Self {
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
        Self { previous: replay.notes.first().and_then(Note::positions).map(|(previous, _)| previous), frames, last: replay.last, now_us: replay.now_us }
    }
}
