//! The latest frames of one tenant, in order, and a bell that rings when there are more.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::feed::Frame;

/// The most frames a ring holds: how far a subscriber may lag before it is closed.
const FRAMES: usize = 4_096;
/// The most bytes a ring holds, which bounds what a tenant with large events costs.
const BYTES: usize = 4 << 20;

/// A tenant's ring.
#[derive(Debug, Default)]
pub(super) struct Ring {
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// How many frames have left the ring: the number of its first one.
    first: u64,
    subscribers: usize,
    /// How often all streams were ended.
    ended_all: u64,
    /// The credentials that ended while somebody may still listen with them.
    ended: Vec<String>,
}

/// What a subscriber finds at its cursor.
pub(super) enum Found {
    /// These, from its cursor on.
    Frames(Vec<Arc<Frame>>),
    /// The frame at its cursor has left the ring: it was too slow.
    Lapped,
    /// Its credential has ended, or messages may have been lost.
    Ended,
}

impl Ring {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame and rings the bell.
    pub(super) fn push(&self, frame: Frame) {
        let mut state = self.state();
        state.bytes += frame.bytes.len();
        state.frames.push_back(Arc::new(frame));
        while state.frames.len() > FRAMES || state.bytes > BYTES {
            let Some(old) = state.frames.pop_front() else { break };
            state.bytes -= old.bytes.len();
            state.first += 1;
        }
        drop(state);
        self.bell.notify_waiters();
    }

    /// Ends the streams of one credential, or all.
    pub(super) fn end(&self, credential: Option<String>) {
        match credential {
            Some(credential) => self.state().ended.push(credential),
            None => self.state().ended_all += 1,
        }
        self.bell.notify_waiters();
    }

    /// Lets a subscriber in; its cursor is the number of the next frame, beside how often all streams were ended before.
    pub(super) fn enter(&self) -> (u64, u64) {
        let mut state = self.state();
        state.subscribers += 1;
        (state.first + state.frames.len() as u64, state.ended_all)
    }

    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.subscribers -= 1;
        if state.subscribers == 0 {
            state.ended.clear();
        }
    }

    pub(super) fn subscribers(&self) -> usize {
        self.state().subscribers
    }

    /// What there is from `cursor` on, at most `limit` bytes of it (but one frame always).
    pub(super) fn from(&self, cursor: u64, limit: usize, credential: Option<&str>, ended_before: u64) -> Found {
        let state = self.state();
        if state.ended_all != ended_before || credential.is_some_and(|credential| state.ended.iter().any(|ended| ended == credential)) {
            return Found::Ended;
        }
        let Some(skip) = cursor.checked_sub(state.first) else { return Found::Lapped };
        let mut bytes = 0;
        let frames = state.frames.iter().skip(skip as usize).take_while(|frame| {
            let fits = bytes == 0 || bytes + frame.bytes.len() <= limit;
            bytes += frame.bytes.len();
            fits
        });
        Found::Frames(frames.cloned().collect())
    }

    /// Rings at the next change. Taken before looking, so that no change is missed.
    pub(super) fn bell(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }
}
