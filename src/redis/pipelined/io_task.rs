//! The task of a pipelined connection: it writes what is left in the buffer, and hands each reply to its caller.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use redis::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, Sleep},
};

use super::{Push, shared::Shared};
use crate::redis::{
    TIMEOUT,
    resp::{IDLE_CAPACITY, MESSAGE_PREFIX, malformed, read, read_message},
};

/// Free bytes in the read buffer before each read, at least: 16 KiB.
const MIN_READ_BYTES: usize = 16 << 10;

/// The reading half of the socket.
pub(super) type Incoming = Box<dyn AsyncRead + Send + Unpin>;

/// Called with what arrives without a command.
pub(super) type PushCallback = Box<dyn Fn(Push<'_>) + Send>;

/// The task's own state.
pub(super) struct IoTask {
    incoming: Incoming,
    shared: Arc<Shared>,
    on_push: PushCallback,
    /// Bytes that were read and are not decoded yet.
    unread: Vec<u8>,
    /// The timer of the oldest waiter. Later waiters time out later, so one timer is enough.
    timer: Pin<Box<Sleep>>,
    is_timer_set: bool,
}

impl IoTask {
    /// Runs until the connection ends; then nobody waits any more, and `on_push` gets [`Push::Ended`].
    pub(super) async fn run(incoming: Incoming, shared: Arc<Shared>, on_push: PushCallback) {
        let mut task = Self {
            incoming,
            shared,
            on_push,
            unread: Vec::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            is_timer_set: false,
        };
        // Whichever way it ends, the callers learn the same: no reply will come.
        match std::future::poll_fn(|context| task.poll(context)).await {
            Ok(()) => task.shared.close(),
            Err(error) => task.shared.fail(error),
        }
        (task.on_push)(Push::Ended);
    }

    /// Ready when the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.task.register(context.waker());
        self.poll_write(context)?;
        if self.poll_read(context)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_timeouts(context);
        if self.shared.state().is_closed { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_write(&self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            match self.shared.state().flush(&self.shared.outgoing) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => return ended,
            }
            match self.shared.outgoing.poll_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Ready at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // The buffer doubles, so that a long reply is scanned a logarithmic number of times.
            self.unread.reserve(MIN_READ_BYTES.max(self.unread.len()));
            if ready!(pin!(self.incoming.read_buf(&mut self.unread)).poll(context))? == 0 {
                return Poll::Ready(Ok(()));
            }
            self.decode()?;
        }
    }

    /// Decodes every complete reply and message of the read buffer.
    fn decode(&mut self) -> io::Result<()> {
        let mut decoded = 0;
        loop {
            let unread = &self.unread[decoded..];
            if unread.starts_with(MESSAGE_PREFIX) {
                let Some((message, size)) = read_message(unread)? else { break };
                (self.on_push)(Push::Message(message));
                decoded += size;
            } else {
                let Some((value, size)) = read(unread)? else { break };
                self.hand_over(value)?;
                decoded += size;
            }
        }
        self.unread.drain(..decoded);
        if self.unread.is_empty() {
            self.unread.shrink_to(IDLE_CAPACITY);
        }
        Ok(())
    }

    /// Hands a reply to the caller that has waited longest.
    fn hand_over(&self, value: Value) -> io::Result<()> {
        let mut state = self.shared.state();
        let was_full = state.is_full();
        let waiter = state.waiting.pop_front().ok_or_else(|| malformed("a reply that nobody waits for"))?;
        drop(state);
        if let Some(reply) = waiter.reply {
            // A caller that was dropped needs no reply.
            let _ = reply.send(value);
        }
        if was_full {
            self.shared.capacity.notify_waiters();
        }
        Ok(())
    }

    /// Drops the senders of waiters that are past [`TIMEOUT`], and sets the timer for the next one.
    fn poll_timeouts(&mut self, context: &mut Context<'_>) {
        loop {
            if self.is_timer_set && self.timer.as_mut().poll(context).is_pending() {
                return;
            }
            let now = Instant::now();
            let mut state = self.shared.state();
            let late = state.waiting.iter().take_while(|waiter| now.duration_since(waiter.since) >= TIMEOUT).count();
            state.waiting.iter_mut().take(late).for_each(|waiter| waiter.reply = None);
            let next = state.waiting.get(late).map(|waiter| waiter.since + TIMEOUT);
            drop(state);
            self.is_timer_set = next.is_some();
            match next {
                Some(next) => self.timer.as_mut().reset(next),
                None => return,
            }
        }
    }
}
