//! What the callers of a pipelined connection and its task share: the bytes to write, and who waits for replies.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use redis::Value;
use tokio::{
    net::{tcp, unix},
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    redis::resp::{Command, CommandBuffer, IDLE_CAPACITY},
    sync::lock,
};

/// Requests after which the buffer is flushed without waiting for the task, so that Redis starts while this thread still encodes.
const FLUSH_EVERY: usize = 8;
/// Backpressure: at most this many commands wait for a reply; further callers wait before they send.
const MAX_IN_FLIGHT: usize = 4_096;
/// Backpressure: at most this many bytes wait to be written, 8 MiB and the last command.
const MAX_UNWRITTEN_BYTES: usize = 8 << 20;

/// The shared half of a connection.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) outgoing: Outgoing,
    state: Mutex<State>,
    /// Wakes the task that reads replies, and writes what no caller has written.
    pub(super) task: AtomicWaker,
    /// Wakes callers that wait because of backpressure.
    pub(super) capacity: Notify,
}

/// The writing half of the socket.
#[derive(Debug)]
pub(super) enum Outgoing {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

/// What [`Shared::state`] guards.
#[derive(Debug, Default)]
pub(super) struct State {
    buffer: CommandBuffer,
    /// Encoded commands that are not written yet.
    out: Vec<u8>,
    /// Requests in `out`.
    unwritten: usize,
    /// Callers that wait for a reply, in the order of their commands, which is the order of the replies.
    pub(super) waiting: VecDeque<Waiter>,
    pub(super) is_closed: bool,
    /// Why the connection ended, if it failed.
    failure: Option<io::Error>,
}

/// A caller that waits for its reply.
#[derive(Debug)]
pub(super) struct Waiter {
    /// `None` after the timeout: the reply must still be read, to keep the order of those behind it.
    pub(super) reply: Option<oneshot::Sender<Value>>,
    pub(super) since: Instant,
}

/// Why a command was not enqueued.
pub(super) enum NotEnqueued {
    Full,
    Closed,
}

impl Outgoing {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(bytes),
            Self::Unix(half) => half.try_write(bytes),
        }
    }

    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(context),
            Self::Unix(half) => half.as_ref().poll_write_ready(context),
        }
    }
}

impl State {
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_IN_FLIGHT || self.out.len() >= MAX_UNWRITTEN_BYTES
    }

    /// Writes what the socket takes without waiting.
    pub(super) fn flush(&mut self, to: &Outgoing) -> io::Result<()> {
        while !self.out.is_empty() {
            match to.try_write(&self.out)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => drop(self.out.drain(..written)),
            }
        }
        self.unwritten = 0;
        self.out.shrink_to(IDLE_CAPACITY);
        Ok(())
    }
}

impl Shared {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        Self { outgoing, state: Mutex::default(), task: AtomicWaker::new(), capacity: Notify::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Encodes a command behind the others; the receiver gets its reply.
    pub(super) fn enqueue<C: Command + ?Sized>(
        &self,
        since: Instant,
        command: &C,
    ) -> Result<oneshot::Receiver<Value>, NotEnqueued> {
        let (reply, replied) = oneshot::channel();
        let mut state = self.state();
        if state.is_closed {
            return Err(NotEnqueued::Closed);
        }
        if state.is_full() {
            return Err(NotEnqueued::Full);
        }
        let State { buffer, out, unwritten, waiting, .. } = &mut *state;
        buffer.begin();
        command.write(buffer);
        out.extend_from_slice(buffer.end());
        waiting.push_back(Waiter { reply: Some(reply), since });
        let before = *unwritten;
        *unwritten += command.weight() as usize;
        let must_flush = *unwritten / FLUSH_EVERY > before / FLUSH_EVERY;
        // The task meets the same error when it writes.
        let failed = must_flush && state.flush(&self.outgoing).is_err();
        drop(state);
        if failed || before == 0 {
            self.task.wake();
        }
        Ok(replied)
    }

    /// Why the connection ended, if it failed. Told once.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.state().failure.take()
    }

    /// Closes a connection that failed.
    pub(super) fn fail(&self, error: io::Error) {
        self.state().failure = Some(error);
        self.close();
    }

    /// Closes the connection: those who wait get no reply.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.state();
            state.is_closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
        self.capacity.notify_waiters();
        self.task.wake();
    }
}
