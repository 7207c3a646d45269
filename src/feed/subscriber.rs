//! One stream's cursor into its tenant's ring.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use crate::feed::{
    Filter,
    ring::{Found, Ring},
};

/// After this long without a byte the stream says that it lives: proxies cut what is silent for longer.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The most that is written at once.
const PIECE_BYTES: usize = 64 << 10;

/// A stream that was let in. Dropping it leaves.
#[derive(Debug)]
pub struct Subscriber {
    ring: Arc<Ring>,
    credential: Option<String>,
    filter: Filter,
    cursor: u64,
    ended_before: u64,
    /// The highest position written or filtered out: what the next keepalive may name.
    position: i64,
    spoke: Instant,
}

/// What a stream writes next.
#[derive(Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing more: the stream ends, and its reader resumes where it stopped.
    End,
}

impl Subscriber {
    pub(super) fn new(ring: Arc<Ring>, credential: Option<String>, filter: Filter) -> Self {
        let (cursor, ended_before) = ring.enter();
        Self { ring, credential, filter, cursor, ended_before, position: 0, spoke: Instant::now() }
    }

    /// Sets where the stream starts: what is at or before `position` is known to its reader and left out.
    pub fn start_at(&mut self, position: i64) {
        self.position = position;
        self.spoke = Instant::now();
    }

    /// Waits for something to write: events, or a sign of life.
    pub async fn next(&mut self) -> Piece {
        loop {
            let ring = self.ring.clone();
            let bell = ring.bell();
            tokio::pin!(bell);
            bell.as_mut().enable();
            let frames = match ring.from(self.cursor, PIECE_BYTES, self.credential.as_deref(), self.ended_before) {
                Found::Frames(frames) => frames,
                Found::Lapped | Found::Ended => return Piece::End,
            };
            let mut piece = BytesMut::new();
            for frame in &frames {
                self.cursor += 1;
                if let Some(position) = frame.position {
                    if position <= self.position {
                        continue;
                    }
                    self.position = position;
                }
                if self.filter.passes(frame) {
                    piece.extend_from_slice(&frame.bytes);
                }
            }
            if !piece.is_empty() {
                self.spoke = Instant::now();
                return Piece::Bytes(piece.freeze());
            }
            if !frames.is_empty() {
                continue;
            }
            let silent = self.spoke + KEEPALIVE;
            if tokio::time::timeout_at(silent.into(), bell).await.is_err() {
                self.spoke = Instant::now();
                return Piece::Bytes(Bytes::from(format!(": keepalive\nid: {}\n\n", self.position)));
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.ring.leave();
    }
}
