//! Finds keys of a broker, a few at a time, so that a large broker is not held up.

use crate::{domain::queue::connection::BrokerError, monitor::broker::Broker};

/// How many keys one step looks at, and how many steps are made at once: on the first walk, and later.
const KEYS_AT_ONCE: usize = 500;
const STEPS_FIRST: usize = 200;
const STEPS: usize = 4;

/// A walk over all keys of a pattern and a type, begun anew each time it comes to its end.
pub(super) struct KeyScan {
    pattern: String,
    kind: &'static str,
    cursor: u64,
    walked: bool,
}

/// What some steps found.
pub(super) struct Found {
    pub(super) keys: Vec<String>,
    /// Whether every key that there was all the time has been found since the last end.
    pub(super) end: bool,
}

impl KeyScan {
    pub(super) fn new(pattern: String, kind: &'static str) -> Self {
        Self { pattern, kind, cursor: 0, walked: false }
    }

    /// Goes on with the walk. A key may be found twice; one whose name is no text is left out.
    pub(super) async fn go_on(&mut self, broker: &Broker) -> Result<Found, BrokerError> {
        let steps = if self.walked { STEPS } else { STEPS_FIRST };
        let mut found = Found { keys: Vec::new(), end: false };
        for _ in 0..steps {
            let mut scan = redis::cmd("SCAN");
            scan.arg(self.cursor)
                .arg("MATCH")
                .arg(&self.pattern)
                .arg("COUNT")
                .arg(KEYS_AT_ONCE)
                .arg("TYPE")
                .arg(self.kind);
            let (cursor, keys): (u64, Vec<Vec<u8>>) =
                redis::from_redis_value(broker.ask(&scan).await?).map_err(|_| BrokerError::Protocol)?;
            found.keys.extend(keys.into_iter().filter_map(|key| String::from_utf8(key).ok()));
            self.cursor = cursor;
            if cursor == 0 {
                (self.walked, found.end) = (true, true);
                break;
            }
        }
        Ok(found)
    }
}
