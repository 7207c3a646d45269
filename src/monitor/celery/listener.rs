//! Listener: subscribes to a Celery broker's event channels, and buffers messages until they are decoded.
//!
//! The buffer is bounded. Messages that do not fit are dropped, and the time of the first drop is returned, so that a gap can be reported.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::{
    domain::queue::connection::{BrokerError, ConnectionOptions},
    monitor::{
        broker::{Broker, BrokerConnection},
        glob,
    },
    sync::lock,
};

/// Maximum number of buffered messages: some seconds of a busy broker.
const MAX_BUFFERED_MESSAGES: usize = 50_000;
/// Maximum of buffered messages, in bytes.
const MAX_BUFFERED_BYTES: usize = 64 << 20;
/// Timeout of a reply on the subscription.
const REPLY_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval between pings of the broker. A pub/sub connection is silent by nature, so only a ping shows that it is lost.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which the ping loop checks for a disconnect that the connection itself reported.
const DISCONNECT_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Subscription to a broker's event channels.
pub(super) struct EventListener {
    buffer: Arc<MessageBuffer>,
}

struct MessageBuffer {
    state: Mutex<BufferState>,
    received: Notify,
}

struct BufferState {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    /// When the first message was dropped since the last [`ReceivedMessages::dropped_since`].
    dropped_since: Option<Instant>,
    disconnected: bool,
    /// When the broker last sent a message or answered a ping.
    last_seen: Instant,
}

/// Messages taken from the buffer.
pub(super) struct ReceivedMessages {
    pub(super) messages: Vec<Vec<u8>>,
    /// Since when messages were dropped, if any were.
    pub(super) dropped_since: Option<Instant>,
}

impl MessageBuffer {
    fn new() -> Self {
        let state = BufferState {
            messages: VecDeque::new(),
            bytes: 0,
            dropped_since: None,
            disconnected: false,
            last_seen: Instant::now(),
        };
        Self { state: Mutex::new(state), received: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, BufferState> {
        lock(&self.state)
    }

    fn on_push(&self, push: PushInfo) {
        match push.kind {
            PushKind::PMessage | PushKind::Message => {
                if let Some(Value::BulkString(message)) = push.data.into_iter().next_back() {
                    self.add(message);
                }
            }
            PushKind::Disconnection => self.state().disconnected = true,
            _ => return,
        }
        self.received.notify_one();
    }

    fn add(&self, message: Vec<u8>) {
        let mut state = self.state();
        state.last_seen = Instant::now();
        if state.messages.len() >= MAX_BUFFERED_MESSAGES || state.bytes + message.len() > MAX_BUFFERED_BYTES {
            state.dropped_since.get_or_insert_with(Instant::now);
            metrics::counter!("holdfast_queue_messages_dropped_total").increment(1);
            return;
        }
        state.bytes += message.len();
        state.messages.push_back(message);
    }

    fn take(&self, max: usize) -> Option<ReceivedMessages> {
        let mut state = self.state();
        if state.messages.is_empty() {
            return None;
        }
        let count = state.messages.len().min(max);
        let messages: Vec<_> = state.messages.drain(..count).collect();
        state.bytes -= messages.iter().map(Vec::len).sum::<usize>();
        // A gap is reported when the buffer is half empty again, so that a full buffer makes one gap and not hundreds.
        let has_room = state.messages.len() <= MAX_BUFFERED_MESSAGES / 2 && state.bytes <= MAX_BUFFERED_BYTES / 2;
        let dropped_since = if has_room { state.dropped_since.take() } else { None };
        Some(ReceivedMessages { messages, dropped_since })
    }
}

impl EventListener {
    /// Subscribes to the broker's event channels; beside the listener comes its connection, which has to be pinged.
    ///
    /// kombu appends the routing key to the channel's name if `fanout_patterns` is set. If the connection's options do not say, both forms are
    /// subscribed.
    pub(super) async fn subscribe(
        broker: &Broker,
        options: &ConnectionOptions,
        database: i64,
    ) -> Result<(Self, BrokerConnection), BrokerError> {
        let buffer = Arc::new(MessageBuffer::new());
        let pushes = buffer.clone();
        let mut connection = broker.pubsub_connection(move |push| pushes.on_push(push)).await?;
        let channel = options.channel(database, options.event_exchange());
        if options.fanout_patterns != Some(false) {
            let pattern = format!("{}/*", glob::escape(&channel));
            let deadline = connection.deadline.clone();
            deadline.wait(REPLY_TIMEOUT, "psubscribe", connection.connection.psubscribe(pattern)).await?;
        }
        if options.fanout_patterns != Some(true) {
            let deadline = connection.deadline.clone();
            deadline.wait(REPLY_TIMEOUT, "subscribe", connection.connection.subscribe(channel)).await?;
        }
        Ok((Self { buffer }, connection))
    }

    /// Waits for messages, and takes at most `max` of them.
    pub(super) async fn receive(&self, max: usize) -> ReceivedMessages {
        loop {
            let received = self.buffer.received.notified();
            if let Some(messages) = self.buffer.take(max) {
                return messages;
            }
            received.await;
        }
    }

    /// When the broker last sent a message or answered a ping.
    pub(super) fn last_seen(&self) -> Instant {
        self.buffer.state().last_seen
    }

    /// Pings the broker on the subscription's connection until that is lost.
    pub(super) async fn ping_until_lost(&self, connection: &mut BrokerConnection) -> BrokerError {
        loop {
            let sent = Instant::now();
            if let Err(error) = connection.query(REPLY_TIMEOUT, &redis::cmd("PING")).await {
                return error;
            }
            self.buffer.state().last_seen = sent;
            let next_ping = tokio::time::Instant::now() + PING_INTERVAL;
            while tokio::time::Instant::now() < next_ping {
                if self.buffer.state().disconnected {
                    return BrokerError::Broken;
                }
                tokio::time::sleep(DISCONNECT_CHECK_INTERVAL).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_beyond_the_bounds_are_dropped_and_noted() {
        let buffer = MessageBuffer::new();
        let message =
            |bytes: usize| PushInfo { kind: PushKind::PMessage, data: vec![Value::BulkString(vec![b'x'; bytes])] };
        for _ in 0..MAX_BUFFERED_MESSAGES {
            buffer.on_push(message(1));
        }
        assert!(buffer.state().dropped_since.is_none());
        buffer.on_push(message(1));
        assert!(buffer.state().dropped_since.is_some());
        assert_eq!(buffer.state().messages.len(), MAX_BUFFERED_MESSAGES);
        buffer.state().messages.clear();
        buffer.state().bytes = 0;
        buffer.state().dropped_since = None;
        buffer.on_push(message(MAX_BUFFERED_BYTES));
        buffer.on_push(message(1));
        assert!(buffer.state().dropped_since.is_some(), "bytes are bounded, too");
    }
}
