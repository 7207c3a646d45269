//! The latest frames of one tenant, in order and without a hole, and how far they reach.
//!
//! A kept event names the position before it. The ring takes it only if that is where it stands; anything else is a hole, and the
//! ring waits, holding what it hears, until the history has mended it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    feed::buffer::{
        frame::{Frame, Reason},
        memory_budget::MemoryBudget,
    },
    store::{Notification, Replay},
};

/// The most frames a ring holds; a reader that lags further behind is served from the history.
const FRAMES: usize = 4_096;
/// What a frame costs beside its bytes.
const FRAME: usize = 256;
/// The most bytes a ring holds, which bounds what a tenant with large events costs.
const BYTES: usize = 4 << 20;
/// What a ring may always keep; what is more goes once it is old.
const FRAMES_KEPT: usize = 64;
const OLD: Duration = Duration::from_secs(60);
/// The most notes that are held back while a hole is mended. Beyond that they are left to the history.
const HELD: usize = 4_096;
/// Where frames begin to be numbered: high, so that older ones can be put before them.
const FIRST: u64 = 1 << 40;

/// A tenant's ring.
#[derive(Debug)]
pub(in crate::feed) struct Ring {
    frames: VecDeque<(Instant, Arc<Frame>)>,
    /// Position and number of each frame that has a position.
    index: VecDeque<(i64, u64)>,
    /// What it weighs, and what all weigh together.
    bytes: usize,
    together: MemoryBudget,
    /// The number of its first frame.
    first: u64,
    /// The position before its first frame.
    base: i64,
    /// The last kept position that it reaches to; `None`: nothing is known yet.
    head: Option<i64>,
    /// The highest position that may be named to readers.
    told: i64,
    /// Whether a hole is being mended.
    mending: bool,
    held: Vec<Notification>,
    /// How many notes were held when the history was asked: it must know of these.
    held_before: usize,
}

fn weight(frame: &Frame) -> usize {
    FRAME + frame.bytes().len()
}

/// What became of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::feed) enum Taken {
    /// There is a new frame.
    Added,
    /// Nothing new: it was known, or it waits.
    Nothing,
    /// It shows a hole that somebody must mend now.
    Hole,
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.together.sub(self.bytes);
    }
}

impl Ring {
    /// One of which nothing is known yet.
    pub(in crate::feed) fn new(together: MemoryBudget) -> Self {
        Self {
            frames: VecDeque::new(),
            index: VecDeque::new(),
            bytes: 0,
            together,
            first: FIRST,
            base: 0,
            head: None,
            told: 0,
            mending: false,
            held: Vec::new(),
            held_before: 0,
        }
    }

    /// A ring of what has no position: it is whole from the beginning, and takes only what is pushed.
    pub(in crate::feed) fn live(together: MemoryBudget) -> Self {
        let mut ring = Self::new(together);
        ring.head = Some(0);
        ring
    }

    /// The number that the next frame will have.
    pub(in crate::feed) fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// The number of the first frame.
    pub(in crate::feed) fn first(&self) -> u64 {
        self.first
    }

    /// The position before the first frame.
    pub(in crate::feed) fn base(&self) -> i64 {
        self.base
    }

    /// How far it reaches; `None` while nothing is known.
    pub(in crate::feed) fn head(&self) -> Option<i64> {
        self.head
    }

    /// The highest position that may be named to readers.
    pub(in crate::feed) fn told(&self) -> i64 {
        self.told
    }

    /// Says that somebody mends it from now on; `false` if somebody does already.
    pub(in crate::feed) fn begin_mending(&mut self) -> bool {
        !std::mem::replace(&mut self.mending, true)
    }

    /// Where the history is to be read from, now.
    pub(in crate::feed) fn begin_reading(&mut self) -> Option<i64> {
        self.held_before = self.held.len();
        self.head
    }

    /// Takes what was heard.
    pub(in crate::feed) fn hear(&mut self, note: Notification) -> Taken {
        self.hear_at(note, Instant::now())
    }

    /// Takes what was heard at that moment.
    pub(in crate::feed) fn hear_at(&mut self, note: Notification, now: Instant) -> Taken {
        if self.mending || self.head.is_none() {
            if self.held.len() < HELD {
                self.held.push(note);
            }
            return Taken::Nothing;
        }
        match note.positions() {
            Some((_, position)) if self.head.is_some_and(|head| position <= head) => Taken::Nothing,
            Some((previous, _)) if self.head != Some(previous) => {
                self.held.push(note);
                Taken::Hole
            }
            _ => self.add(&note, now),
        }
    }

    fn add(&mut self, note: &Notification, now: Instant) -> Taken {
        let Some(frame) = Frame::of(note) else { return Taken::Nothing };
        if let Some((_, position)) = note.positions() {
            self.head = Some(position);
            self.told = self.told.max(position);
        }
        self.push(frame, now);
        Taken::Added
    }

    /// Adds a frame at the end.
    pub(in crate::feed) fn push(&mut self, frame: Frame, now: Instant) {
        if let Some(position) = frame.position {
            self.index.push_back((position, self.end()));
        }
        self.bytes += weight(&frame);
        self.together.add(weight(&frame));
        self.frames.push_back((now, Arc::new(frame)));
        while self.frames.len() > FRAMES || self.bytes > BYTES {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some((_, frame)) = self.frames.pop_front() else { return };
        self.bytes -= weight(&frame);
        self.together.sub(weight(&frame));
        if let Some(position) = frame.position {
            self.base = position;
            self.index.pop_front();
        }
        self.first += 1;
    }

    /// Lets go of what is old: readers that still want it are served from the history.
    pub(in crate::feed) fn tidy(&mut self, now: Instant) {
        while self.frames.len() > FRAMES_KEPT
            && self.frames.front().is_some_and(|(heard, _)| now.duration_since(*heard) > OLD)
        {
            self.pop();
        }
        self.give_room_back();
    }

    /// Lets go of all that is older than that; how much it was.
    pub(in crate::feed) fn forget_older(&mut self, now: Instant, age: Duration) -> usize {
        let before = self.frames.len();
        while self.frames.front().is_some_and(|(heard, _)| now.saturating_duration_since(*heard) > age) {
            self.pop();
        }
        self.give_room_back();
        before - self.frames.len()
    }

    /// Room that once held many frames is not kept for few.
    fn give_room_back(&mut self) {
        if self.frames.capacity() > 4 * self.frames.len().max(4) {
            self.frames.shrink_to(2 * self.frames.len());
            self.index.shrink_to(2 * self.index.len());
        }
    }

    /// Fills the hole with a page of the history that was read from [`Self::head`] on; `full`: there may be more. Answers whether
    /// another page is needed.
    ///
    /// When the history cannot fill it, the readers are told to look again, and it goes on from the latest position.
    pub(in crate::feed) fn mend(&mut self, replay: &Replay, full: bool) -> bool {
        self.told = self.told.max(replay.position);
        // What was heard before the history was asked, and is not in it, Redis has lost again.
        let mut at = 0;
        let before = std::mem::take(&mut self.held_before);
        self.held.retain(|note| {
            at += 1;
            at > before || note.positions().is_none_or(|(_, position)| position <= replay.last)
        });
        let Some(head) = self.head else {
            self.head = Some(replay.last);
            self.base = self.told;
            return self.resume_hearing();
        };
        let mut at = head;
        for note in &replay.notes {
            match note.positions() {
                Some((_, position)) if position <= at => {}
                Some((previous, position)) if previous == at => {
                    self.add(note, Instant::now());
                    at = position;
                }
                _ => return self.give_up(head, replay),
            }
        }
        if full {
            return true;
        }
        if at != replay.last {
            return self.give_up(head, replay);
        }
        self.resume_hearing()
    }

    /// Tells the readers that something is missing for good.
    fn give_up(&mut self, head: i64, replay: &Replay) -> bool {
        let lost = replay.last < head
            || replay.notes.first().and_then(Notification::positions).is_some_and(|(previous, _)| previous < head);
        let reason = if lost { Reason::Lost } else { Reason::TooOld };
        self.head = Some(replay.last);
        self.push(Frame::reset_cursor(reason, self.told), Instant::now());
        metrics::counter!("holdfast_stream_resets_total", "reason" => reason.name()).increment(1);
        self.resume_hearing()
    }

    /// Takes what was held back; it may show another hole. Answers whether it does.
    fn resume_hearing(&mut self) -> bool {
        self.mending = false;
        let held = std::mem::take(&mut self.held);
        let mut hole = false;
        for note in held {
            if hole {
                self.held.push(note);
            } else if self.hear(note) == Taken::Hole {
                hole = true;
                self.mending = true;
            }
        }
        hole
    }

    /// Where a reader goes on who has everything up to `position`; `None`: that position is not in the ring.
    pub(in crate::feed) fn seek(&self, position: i64) -> Option<u64> {
        let head = self.head?;
        if position == head || position == self.told {
            return Some(
                self.index
                    .back()
                    .map_or(self.first, |(last, number)| if *last <= position { self.end() } else { *number })
                    .max(self.first),
            );
        }
        if position == self.base {
            return Some(self.first);
        }
        let at = self.index.binary_search_by(|(known, _)| known.cmp(&position)).ok()?;
        Some(self.index[at].1 + 1)
    }

    /// Puts frames before the first one, if they reach it and fit: `from` is the position before them.
    pub(in crate::feed) fn put_before(&mut self, from: i64, frames: &[Arc<Frame>]) -> bool {
        let Some(joint) = frames.iter().position(|frame| frame.position == Some(self.base)) else { return false };
        let frames = &frames[..=joint];
        let bytes: usize = frames.iter().map(|frame| weight(frame)).sum();
        let fits =
            self.frames.len() + frames.len() <= FRAMES && self.bytes + bytes <= BYTES && bytes <= self.together.room();
        if self.head.is_none() || !fits {
            return false;
        }
        let now = Instant::now();
        for frame in frames.iter().rev() {
            self.first -= 1;
            if let Some(position) = frame.position {
                self.index.push_front((position, self.first));
            }
            self.frames.push_front((now, frame.clone()));
        }
        self.bytes += bytes;
        self.together.add(bytes);
        self.base = from;
        true
    }

    /// The frames from `cursor` on; `None`: that one has left the ring.
    pub(in crate::feed) fn since(&self, cursor: u64) -> Option<impl Iterator<Item = &Arc<Frame>>> {
        let skip = cursor.checked_sub(self.first)?;
        Some(self.frames.range((skip as usize).min(self.frames.len())..).map(|(_, frame)| frame))
    }
}
