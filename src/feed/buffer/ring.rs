//! Ring of one channel: its latest frames, in order and without a gap, and the position that they reach.
//!
//! Every kept event names the position before it. The ring takes an event only if that is its head; anything else is a
//! gap, and the ring defers what arrives until the history has repaired it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    feed::buffer::{
        frame::{Frame, ResetReason},
        memory_budget::MemoryBudget,
    },
    store::{Notification, Replay},
};

/// Frames per ring; a stream that falls further behind reads from the history.
const MAX_FRAMES: usize = 4_096;
/// Bytes per ring, 4 MiB, which bounds the memory of a tenant with large events.
const MAX_BYTES: usize = 4 << 20;
/// Memory of a frame beside its bytes: the frame itself, its `Arc`, its entries in both queues.
const FRAME_OVERHEAD_BYTES: usize = 256;
/// Frames that stay whatever their age. Beyond these, frames older than [`MAX_AGE`] are evicted.
const MIN_FRAMES: usize = 64;
const MAX_AGE: Duration = Duration::from_secs(60);
/// Notifications deferred during a repair; further ones are left to the history.
const MAX_DEFERRED: usize = 4_096;
/// Number of the first frame: high, so that older frames can be put before it.
const FIRST_NUMBER: u64 = 1 << 40;

/// The latest frames of a channel. Frames are numbered in order; a cursor is the number of the next frame to read.
#[derive(Debug)]
pub(in crate::feed) struct Ring {
    /// The frames, each with the time at which it was added.
    frames: VecDeque<(Instant, Arc<Frame>)>,
    /// Position and number of each frame that has a position.
    index: VecDeque<(i64, u64)>,
    /// Bytes of all frames, which are also counted in `budget`.
    bytes: usize,
    budget: MemoryBudget,
    /// Number of the first frame.
    first: u64,
    /// Position before the first frame.
    base: i64,
    /// Position of the last kept event up to which nothing is missing; `None` before the first repair.
    head: Option<i64>,
    /// Highest position that streams may name to their clients, as `asOf` or as the `id` of a keepalive.
    as_of: i64,
    /// Whether a repair is under way.
    repairing: bool,
    deferred: Vec<Notification>,
    /// Whether something that is live only was lost during the repair.
    lost_meanwhile: bool,
    /// Notifications that were deferred when the history was read: the reply must include them.
    deferred_before_read: usize,
}

/// Outcome of applying a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::feed) enum Applied {
    /// A frame was added.
    Added,
    /// No new frame: the event was known, or it is deferred.
    Unchanged,
    /// A gap was found, and a repair must begin.
    Gap,
}

fn frame_bytes(frame: &Frame) -> usize {
    FRAME_OVERHEAD_BYTES + frame.bytes().len()
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.budget.subtract(self.bytes);
    }
}

impl Ring {
    /// A ring of a tenant's events. It knows no position until its first repair.
    pub(in crate::feed) fn new(budget: MemoryBudget) -> Self {
        Self {
            frames: VecDeque::new(),
            index: VecDeque::new(),
            bytes: 0,
            budget,
            first: FIRST_NUMBER,
            base: 0,
            head: None,
            as_of: 0,
            repairing: false,
            deferred: Vec::new(),
            lost_meanwhile: false,
            deferred_before_read: 0,
        }
    }

    /// A ring of live-only frames, which needs no repair: it takes only what is pushed.
    pub(in crate::feed) fn live(budget: MemoryBudget) -> Self {
        let mut ring = Self::new(budget);
        ring.head = Some(0);
        ring
    }

    /// Number that the next frame will have.
    pub(in crate::feed) fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Number of the first frame.
    pub(in crate::feed) fn first(&self) -> u64 {
        self.first
    }

    /// Position before the first frame.
    pub(in crate::feed) fn base(&self) -> i64 {
        self.base
    }

    /// Position up to which nothing is missing; `None` before the first repair.
    pub(in crate::feed) fn head(&self) -> Option<i64> {
        self.head
    }

    /// Highest position that streams may name to their clients.
    pub(in crate::feed) fn as_of(&self) -> i64 {
        self.as_of
    }

    /// Marks a repair as under way; `false` if one is already.
    pub(in crate::feed) fn begin_repair(&mut self) -> bool {
        !std::mem::replace(&mut self.repairing, true)
    }

    /// Position after which the history is to be read now.
    pub(in crate::feed) fn begin_read(&mut self) -> Option<i64> {
        self.deferred_before_read = self.deferred.len();
        self.head
    }

    /// Applies a notification.
    pub(in crate::feed) fn apply(&mut self, notification: Notification) -> Applied {
        self.apply_at(notification, Instant::now())
    }

    pub(super) fn apply_at(&mut self, notification: Notification, now: Instant) -> Applied {
        if self.repairing || self.head.is_none() {
            if self.deferred.len() < MAX_DEFERRED {
                self.deferred.push(notification);
            }
            return Applied::Unchanged;
        }
        match notification.positions() {
            Some((_, position)) if self.head.is_some_and(|head| position <= head) => Applied::Unchanged,
            Some((previous, _)) if self.head != Some(previous) => {
                self.deferred.push(notification);
                Applied::Gap
            }
            _ => self.add(&notification, now),
        }
    }

    fn add(&mut self, notification: &Notification, now: Instant) -> Applied {
        let Some(frame) = Frame::from_notification(notification) else { return Applied::Unchanged };
        if let Some((_, position)) = notification.positions() {
            self.head = Some(position);
            self.as_of = self.as_of.max(position);
        }
        self.push(frame, now);
        Applied::Added
    }

    /// Adds a frame at the end, and evicts the first ones beyond the ring's bounds.
    pub(in crate::feed) fn push(&mut self, frame: Frame, now: Instant) {
        if let Some(position) = frame.position {
            self.index.push_back((position, self.end()));
        }
        self.bytes += frame_bytes(&frame);
        self.budget.add(frame_bytes(&frame));
        self.frames.push_back((now, Arc::new(frame)));
        while self.frames.len() > MAX_FRAMES || self.bytes > MAX_BYTES {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some((_, frame)) = self.frames.pop_front() else { return };
        self.bytes -= frame_bytes(&frame);
        self.budget.subtract(frame_bytes(&frame));
        if let Some(position) = frame.position {
            self.base = position;
            self.index.pop_front();
        }
        self.first += 1;
    }

    /// Evicts old frames; streams that still want them read from the history.
    pub(in crate::feed) fn evict_old(&mut self, now: Instant) {
        while self.frames.len() > MIN_FRAMES
            && self.frames.front().is_some_and(|(added, _)| now.duration_since(*added) > MAX_AGE)
        {
            self.pop();
        }
        self.shrink();
    }

    /// Evicts every frame older than `age`; returns how many.
    pub(in crate::feed) fn evict_older(&mut self, now: Instant, age: Duration) -> usize {
        let before = self.frames.len();
        while self.frames.front().is_some_and(|(added, _)| now.saturating_duration_since(*added) > age) {
            self.pop();
        }
        self.shrink();
        before - self.frames.len()
    }

    /// Returns capacity that few frames do not need.
    fn shrink(&mut self) {
        if self.frames.capacity() > 4 * self.frames.len().max(4) {
            self.frames.shrink_to(2 * self.frames.len());
            self.index.shrink_to(2 * self.index.len());
        }
    }

    /// Fills a gap with a page of the history that was read from [`Self::head`] on. Returns whether another page is
    /// needed.
    ///
    /// If the history cannot fill the gap, streams get `RESET_CURSOR`, and the ring continues from the latest position.
    pub(in crate::feed) fn repair(&mut self, replay: &Replay) -> bool {
        self.as_of = self.as_of.max(replay.position);
        // A notification that arrived before the history was read, and is not in it, was lost by Redis.
        let mut number = 0;
        let before_read = std::mem::take(&mut self.deferred_before_read);
        self.deferred.retain(|notification| {
            number += 1;
            number > before_read || notification.positions().is_none_or(|(_, position)| position <= replay.last)
        });
        let Some(head) = self.head else {
            self.head = Some(replay.last);
            self.base = self.as_of;
            return self.apply_deferred();
        };
        let mut reached = head;
        for notification in &replay.notifications {
            match notification.positions() {
                Some((_, position)) if position <= reached => {}
                Some((previous, position)) if previous == reached => {
                    self.add(notification, Instant::now());
                    reached = position;
                }
                _ => return self.reset(head, replay),
            }
        }
        if replay.has_more() {
            return true;
        }
        if reached != replay.last {
            return self.reset(head, replay);
        }
        self.apply_deferred()
    }

    /// Announces to the streams that events are missing for good.
    fn reset(&mut self, head: i64, replay: &Replay) -> bool {
        let lost = replay.last < head
            || replay
                .notifications
                .first()
                .and_then(Notification::positions)
                .is_some_and(|(previous, _)| previous < head);
        let reason = if lost { ResetReason::Lost } else { ResetReason::TooOld };
        self.head = Some(replay.last);
        self.push_reset(reason);
        self.lost_meanwhile = false;
        self.apply_deferred()
    }

    fn push_reset(&mut self, reason: ResetReason) {
        self.push(Frame::reset_cursor(reason, self.as_of), Instant::now());
        metrics::counter!("holdfast_stream_resets_total", "reason" => reason.name()).increment(1);
    }

    /// Announces to the streams that something is missing that is in no history. A repair that is under way comes first: the stream does not
    /// continue from [`Self::as_of`] before it.
    pub(in crate::feed) fn note_lost(&mut self) {
        if self.repairing {
            self.lost_meanwhile = true;
        } else if self.head.is_some() {
            self.push_reset(ResetReason::Lost);
        }
    }

    /// Ends the repair and applies what was deferred. Returns whether that shows another gap, whose repair then goes
    /// on.
    fn apply_deferred(&mut self) -> bool {
        self.repairing = false;
        if std::mem::take(&mut self.lost_meanwhile) {
            self.push_reset(ResetReason::Lost);
        }
        for notification in std::mem::take(&mut self.deferred) {
            if self.repairing {
                self.deferred.push(notification);
            } else if self.apply(notification) == Applied::Gap {
                self.repairing = true;
            }
        }
        self.repairing
    }

    /// Cursor of a stream that has everything up to `position`; `None`: the ring does not hold that position.
    pub(in crate::feed) fn seek(&self, position: i64) -> Option<u64> {
        let head = self.head?;
        if position == head || position == self.as_of {
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
        let index = self.index.binary_search_by(|(known, _)| known.cmp(&position)).ok()?;
        Some(self.index[index].1 + 1)
    }

    /// Puts frames of the history before the first one, if they join it and fit. `from` is the position before them.
    pub(in crate::feed) fn prepend(&mut self, from: i64, frames: &[Arc<Frame>]) -> bool {
        let Some(joint) = frames.iter().position(|frame| frame.position == Some(self.base)) else { return false };
        let frames = &frames[..=joint];
        let bytes: usize = frames.iter().map(|frame| frame_bytes(frame)).sum();
        let fits = self.frames.len() + frames.len() <= MAX_FRAMES
            && self.bytes + bytes <= MAX_BYTES
            && bytes <= self.budget.free_bytes();
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
        self.budget.add(bytes);
        self.base = from;
        true
    }

    /// The frames from a cursor on; `None`: the frame there was evicted.
    pub(in crate::feed) fn since(&self, cursor: u64) -> Option<impl Iterator<Item = &Arc<Frame>>> {
        let skipped = cursor.checked_sub(self.first)?;
        Some(self.frames.range((skipped as usize).min(self.frames.len())..).map(|(_, frame)| frame))
    }
}
