//! How much of the streams is asked for at once: less where a reply was too large or too slow, more where it was small.

use std::time::{Duration, Instant};

/// Maximum number of entries of one stream per `XREAD`.
const MAX_ENTRIES: usize = 200;
/// Maximum number of streams per `XREAD` that does not block.
const MAX_STREAMS: usize = 100;
/// How long no more is asked for after a reply that was too large or too slow, 60 s: each attempt that fails costs a connection, and seconds.
const CAUTION: Duration = Duration::from_secs(60);
/// Bytes of a reply below which twice as much is asked for the next time: a quarter of the largest.
const SMALL_REPLY_BYTES: usize = 2 << 20;
/// By how much less is asked for where a reply was too large or too slow: few attempts, since each costs a connection.
pub(super) const SHRINK: usize = 8;

/// How much is asked for at once.
pub(super) struct Piece {
    /// Streams.
    pub(super) streams: usize,
    /// Entries of each.
    pub(super) entries: usize,
    /// Until when no more is asked for.
    cautious_until: Option<Instant>,
}

impl Default for Piece {
    fn default() -> Self {
        Self { streams: MAX_STREAMS, entries: MAX_ENTRIES, cautious_until: None }
    }
}

impl Piece {
    /// Asks for less than of `asked` streams, of which the reply was too large or too slow; `false` where it was one entry of one stream already.
    pub(super) fn shrink(&mut self, asked: usize, now: Instant) -> bool {
        self.cautious_until = Some(now + CAUTION);
        self.streams = self.streams.min(asked);
        match (self.entries, self.streams) {
            (1, 1) => return false,
            (1, streams) => self.streams = streams.div_ceil(SHRINK),
            (entries, _) => self.entries = entries.div_ceil(SHRINK),
        }
        true
    }

    /// Asks for more where the last reply was small.
    pub(super) fn note_size(&mut self, bytes: usize, now: Instant) {
        if bytes < SMALL_REPLY_BYTES && self.cautious_until.is_none_or(|until| until <= now) {
            if self.streams < MAX_STREAMS {
                self.streams = (self.streams * 2).min(MAX_STREAMS);
            } else {
                self.entries = (self.entries * 2).min(MAX_ENTRIES);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_get_smaller_until_one_entry_is_left_and_grow_when_it_is_quick_again() {
        let now = Instant::now();
        let mut piece = Piece::default();
        let mut asked = Vec::new();
        while piece.shrink(2, now) {
            asked.push((piece.streams, piece.entries));
        }
        assert_eq!(asked, [(2, 25), (2, 4), (2, 1), (1, 1)]);
        piece.note_size(10, now + CAUTION / 2);
        assert_eq!((piece.streams, piece.entries), (1, 1), "what failed a moment ago is not tried again");
        for _ in 0..20 {
            piece.note_size(10, now + CAUTION);
        }
        assert_eq!((piece.streams, piece.entries), (MAX_STREAMS, MAX_ENTRIES));
        assert!(piece.shrink(100, now));
        piece.note_size(SMALL_REPLY_BYTES, now + 2 * CAUTION);
        assert_eq!(piece.entries, 25, "it is great enough");
    }
}
