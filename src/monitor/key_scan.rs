//! Scan of a broker's keys (`SCAN`) in bounded steps, so that a large broker is not blocked.

use crate::{domain::queue::connection::BrokerError, monitor::broker::Broker};

/// `COUNT` of one `SCAN`: keys that the broker examines per call.
const SCAN_COUNT: usize = 500;
/// Calls per [`KeyScan::advance`] during the first pass, when nothing is known yet.
const FIRST_PASS_STEPS: usize = 200;
/// Calls per [`KeyScan::advance`] in later passes, which only look for new keys.
const LATER_PASS_STEPS: usize = 4;

/// An endless scan over the keys of a pattern and a type: after one pass the next begins.
pub(super) struct KeyScan {
    pattern: String,
    key_type: &'static str,
    cursor: u64,
    first_pass: bool,
}

/// Keys found by one [`KeyScan::advance`].
pub(super) struct ScannedKeys {
    pub(super) keys: Vec<String>,
    /// Whether a pass ended: every key that existed during the whole pass has been returned.
    pub(super) pass_ended: bool,
}

impl KeyScan {
    /// `key_type` is a type of Redis' `TYPE` command, for example `set`.
    pub(super) fn new(pattern: String, key_type: &'static str) -> Self {
        Self { pattern, key_type, cursor: 0, first_pass: true }
    }

    /// Makes the next steps of the scan. A key may be returned twice; keys that are not UTF-8 are left out.
    pub(super) async fn advance(&mut self, broker: &Broker) -> Result<ScannedKeys, BrokerError> {
        let steps = if self.first_pass { FIRST_PASS_STEPS } else { LATER_PASS_STEPS };
        let mut scanned = ScannedKeys { keys: Vec::new(), pass_ended: false };
        for _ in 0..steps {
            let mut scan = redis::cmd("SCAN");
            scan.arg(self.cursor).arg("MATCH").arg(&self.pattern);
            scan.arg("COUNT").arg(SCAN_COUNT).arg("TYPE").arg(self.key_type);
            let (cursor, keys): (u64, Vec<Vec<u8>>) =
                redis::from_redis_value(broker.query(&scan).await?).map_err(|_| BrokerError::Protocol)?;
            scanned.keys.extend(keys.into_iter().filter_map(|key| String::from_utf8(key).ok()));
            self.cursor = cursor;
            if cursor == 0 {
                self.first_pass = false;
                scanned.pass_ended = true;
                break;
            }
        }
        Ok(scanned)
    }
}
