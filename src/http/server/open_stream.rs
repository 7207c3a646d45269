//! An open event stream on the side of HTTP: the bytes that it begins with, its source in the feed, and when it ends.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::feed::{Chunk, ChunkSink, LiveStream, TenantStream};

/// Reconnection times given to clients, in milliseconds. They are random, so that clients do not reconnect all at once.
const RETRY_MS: RangeInclusive<u64> = 1_000..=5_000;

/// The block that says when to reconnect and nothing else.
pub(in crate::http) fn retry_block() -> String {
    format!("{}\n", retry_field())
}

/// The line that says when to reconnect, with a random time.
fn retry_field() -> String {
    let [first, second, ..] = *uuid::Uuid::new_v4().as_bytes();
    let span_ms = RETRY_MS.end() - RETRY_MS.start() + 1;
    let retry_ms = RETRY_MS.start() + u64::from(u16::from_be_bytes([first, second])) % span_ms;
    format!("retry: {retry_ms}\n")
}

/// Source of a stream's chunks.
pub(in crate::http) enum Source {
    /// A tenant's events.
    Tenant(Box<TenantStream>),
    /// Live changes of a connection.
    Live(Box<LiveStream>),
}

impl Source {
    async fn next(&mut self) -> Chunk {
        match self {
            Self::Tenant(stream) => stream.next().await,
            Self::Live(stream) => stream.next().await,
        }
    }
}

/// An open stream.
pub(in crate::http) struct OpenStream {
    /// Bytes before the first chunk of the source; empty once they were written.
    head: Bytes,
    source: Source,
    /// When the credential expires, and the stream with it.
    expires: Option<Instant>,
}

/// A chunk of a stream.
pub(super) struct StreamChunk {
    pub(super) bytes: Bytes,
    /// Whether the stream ends after it.
    pub(super) is_last: bool,
}

impl OpenStream {
    /// A stream that begins with a reconnection time, as the first line of the first block of `head`. `lifetime`: how long its credential is valid; `None`:
    /// without an end.
    pub(in crate::http) fn new(head: &[u8], source: Source, lifetime: Option<Duration>) -> Self {
        let head = [retry_field().as_bytes(), head].concat();
        Self { head: head.into(), source, expires: lifetime.map(|lifetime| Instant::now() + lifetime) }
    }

    /// The next chunk; `None`: the stream ends. Its bytes are empty if only [`Self::take_unsent`] is to be written.
    pub(super) async fn next(&mut self) -> Option<StreamChunk> {
        if !self.head.is_empty() {
            return Some(StreamChunk { bytes: std::mem::take(&mut self.head), is_last: false });
        }
        let chunk = match self.expires {
            Some(expires) => timeout_at(expires, self.source.next()).await.unwrap_or(Chunk::End),
            None => self.source.next().await,
        };
        match chunk {
            Chunk::Bytes(bytes) => Some(StreamChunk { bytes, is_last: false }),
            Chunk::End => None,
            Chunk::Leave => Some(StreamChunk { bytes: retry_block().into(), is_last: true }),
        }
    }

    /// Lets broadcasts write to the socket while [`Self::next`] waits, if the source has broadcasts.
    pub(super) fn set_sink(&self, sink: Arc<dyn ChunkSink>) {
        if let Source::Tenant(stream) = &self.source {
            stream.set_sink(sink);
        }
    }

    /// Takes the part of a broadcast's chunk that the socket did not take; mostly empty.
    pub(super) fn take_unsent(&self) -> Bytes {
        match &self.source {
            Source::Tenant(stream) => stream.take_unsent(),
            Source::Live(_) => Bytes::new(),
        }
    }
}
