//! Hears a Celery broker's event channels, and holds what came until it is taken in. What does not fit is dropped, and that is told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::sync::Notify;

use crate::{
    domain::queue::connection::{BrokerError, Options},
    monitor::{broker::Broker, glob::literal, reporter::Reporter},
};

/// The most messages and bytes that wait to be taken in: some seconds of a busy broker.
const MESSAGES: usize = 50_000;
const BYTES: usize = 64 << 20;
/// How often the broker is asked whether it is still there.
const BEAT: Duration = Duration::from_secs(1);

/// A broker's event channels, heard.
pub(super) struct EventListener {
    connection: MultiplexedConnection,
    held: Arc<Held>,
}

struct Held {
    state: Mutex<State>,
    came: Notify,
}

struct State {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    /// When the first message was dropped of those that nobody was told about.
    dropped: Option<Instant>,
    broken: bool,
    /// When the broker last showed that it is there.
    heard: Instant,
}

/// What was heard.
pub(super) struct Heard {
    pub(super) messages: Vec<Vec<u8>>,
    /// Since when messages were dropped, if any were.
    pub(super) dropped: Option<Instant>,
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, push: PushInfo) {
        match push.kind {
            PushKind::PMessage | PushKind::Message => {
                if let Some(Value::BulkString(message)) = push.data.into_iter().next_back() {
                    self.keep(message);
                }
            }
            PushKind::Disconnection => self.state().broken = true,
            _ => return,
        }
        self.came.notify_one();
    }

    fn keep(&self, message: Vec<u8>) {
        let mut state = self.state();
        state.heard = Instant::now();
        if state.messages.len() >= MESSAGES || state.bytes + message.len() > BYTES {
            state.dropped.get_or_insert_with(Instant::now);
            metrics::counter!("holdfast_queue_messages_dropped_total").increment(1);
            return;
        }
        state.bytes += message.len();
        state.messages.push_back(message);
    }
}

impl EventListener {
    /// Subscribes the channels in the forms that the connection's options leave open.
    pub(super) async fn open(broker: &Broker, options: &Options, database: i64) -> Result<Self, BrokerError> {
        let state = State { messages: VecDeque::new(), bytes: 0, dropped: None, broken: false, heard: Instant::now() };
        let held = Arc::new(Held { state: Mutex::new(state), came: Notify::new() });
        let hears = held.clone();
        let mut connection = broker.listen(move |push| hears.hear(push)).await?;
        let channel = format!("{}celeryev", options.channel_prefix(database));
        // With patterns the routing key follows the name, without them nothing does. Where nobody says which, both are heard.
        if options.fanout_patterns != Some(false) {
            connection.psubscribe(format!("{}/*", literal(&channel))).await.map_err(|error| broker.trouble(&error))?;
        }
        if options.fanout_patterns != Some(true) {
            connection.subscribe(channel).await.map_err(|error| broker.trouble(&error))?;
        }
        Ok(Self { connection, held })
    }

    /// Waits for messages; at most so many of them.
    pub(super) async fn take(&self, most: usize) -> Heard {
        loop {
            let came = self.held.came.notified();
            {
                let mut state = self.held.state();
                if !state.messages.is_empty() {
                    let count = state.messages.len().min(most);
                    let messages: Vec<_> = state.messages.drain(..count).collect();
                    state.bytes -= messages.iter().map(Vec::len).sum::<usize>();
                    // The gap is told once there is room again, so that one is told and not a hundred.
                    let dropped = if state.messages.len() <= MESSAGES / 2 && state.bytes <= BYTES / 2 {
                        state.dropped.take()
                    } else {
                        None
                    };
                    return Heard { messages, dropped };
                }
            }
            came.await;
        }
    }

    /// When the broker last showed that it is there, in milliseconds of Redis' clock.
    pub(super) fn heard_ms(&self, outlet: &Reporter) -> i64 {
        let ago = self.held.state().heard.elapsed();
        (outlet.now_us() - ago.as_micros() as i64) / 1000
    }

    /// Asks again and again whether the broker is still there; returns when it is not.
    pub(super) async fn beat(&self, broker: &Broker) -> BrokerError {
        let mut connection = self.connection.clone();
        loop {
            let asked = Instant::now();
            let answer: Result<Value, _> = redis::cmd("PING").query_async(&mut connection).await;
            if let Err(error) = answer {
                return broker.trouble(&error);
            }
            self.held.state().heard = asked;
            let until = tokio::time::Instant::now() + BEAT;
            while tokio::time::Instant::now() < until {
                if self.held.state().broken {
                    return BrokerError::Broken;
                }
                tokio::time::sleep(BEAT / 10).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_known() {
        let state = State { messages: VecDeque::new(), bytes: 0, dropped: None, broken: false, heard: Instant::now() };
        let held = Held { state: Mutex::new(state), came: Notify::new() };
        let message =
            |bytes: usize| PushInfo { kind: PushKind::PMessage, data: vec![Value::BulkString(vec![b'x'; bytes])] };
        for _ in 0..MESSAGES {
            held.hear(message(1));
        }
        assert!(held.state().dropped.is_none());
        held.hear(message(1));
        assert!(held.state().dropped.is_some());
        assert_eq!(held.state().messages.len(), MESSAGES);
        held.state().messages.clear();
        held.state().bytes = 0;
        held.state().dropped = None;
        held.hear(message(BYTES));
        held.hear(message(1));
        assert!(held.state().dropped.is_some(), "bytes count, too");
    }
}
