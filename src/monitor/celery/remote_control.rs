//! Remote control: asks Celery's workers which queues they consume.
//!
//! Only for connections that request exact consumers, because it writes to the broker: a binding for the replies, and the list in which they
//! arrive. Both are removed afterwards.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    domain::queue::{
        Framework,
        connection::{BrokerError, ConnectionOptions},
    },
    monitor::{broker::Broker, celery::decode::decode_body},
};

/// Timeout for the replies of all workers.
const TIMEOUT: Duration = Duration::from_millis(2_000);
/// Interval at which the list of replies is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Expiry of the list of replies, in seconds, for a watcher that is killed before it removes the list.
const REPLIES_EXPIRE_S: u32 = 60;
/// Maximum number of replies that are read.
const MAX_REPLIES: usize = 10_000;
/// Remote control commands sent to every worker; each worker replies once to each.
const METHODS: [&str; 2] = ["active_queues", "stats"];

/// What a worker replied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WorkerReply {
    pub(super) queues: Vec<String>,
    pub(super) concurrency: Option<u32>,
}

/// Our mailbox on the broker (a "pidbox" in kombu's words).
pub(super) struct Pidbox {
    /// Exchange to which workers listen for commands, and the channel of that.
    exchange: String,
    channel: String,
    /// Exchange of the replies.
    reply_exchange: String,
    /// Key of the reply exchange's bindings.
    bindings: String,
    /// Our member of the bindings.
    binding_member: String,
    routing_key: String,
    /// Key of the list of replies.
    replies: String,
}

#[derive(Deserialize)]
struct ActiveQueue {
    name: String,
}

impl Pidbox {
    pub(super) fn new(options: &ConnectionOptions, database: i64, connection: Uuid) -> Self {
        let (prefix, separator) = (options.prefix(Framework::Celery), options.separator());
        let exchange = options.pidbox();
        let reply_exchange = format!("reply.{exchange}");
        // The same for every watcher of a connection, so that the next one removes what a killed one left.
        let routing_key = Uuid::new_v5(&connection, b"mailbox").to_string();
        let queue = format!("{routing_key}.{reply_exchange}");
        Self {
            channel: options.channel(database, &exchange),
            bindings: options.bindings_key(&reply_exchange),
            binding_member: format!("{routing_key}{separator}{separator}{queue}"),
            replies: format!("{prefix}{queue}"),
            routing_key,
            exchange,
            reply_exchange,
        }
    }

    /// Asks all workers, and removes what that left on the broker. `None`: the broker's user has no right to it.
    ///
    /// Waits until each of at least `expected` workers has replied to every command, but no longer than [`TIMEOUT`].
    pub(super) async fn query_workers(
        &self,
        broker: &Broker,
        expected: usize,
    ) -> Result<Option<BTreeMap<String, WorkerReply>>, BrokerError> {
        match broker.query(redis::cmd("SADD").arg(&self.bindings).arg(&self.binding_member)).await {
            Err(BrokerError::Auth) => return Ok(None),
            bound => bound?,
        };
        let asked = self.ask(broker, expected).await;
        // Whatever came of it.
        let removed = self.remove(broker).await;
        match (asked, removed) {
            (Ok(workers), Ok(())) => Ok(Some(workers)),
            (Ok(_) | Err(BrokerError::Auth), Ok(()) | Err(BrokerError::Auth)) => Ok(None),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn ask(&self, broker: &Broker, expected: usize) -> Result<BTreeMap<String, WorkerReply>, BrokerError> {
        broker.query(redis::cmd("DEL").arg(&self.replies)).await?;
        for method in METHODS {
            broker.query(redis::cmd("PUBLISH").arg(&self.channel).arg(self.command(method))).await?;
        }
        self.collect_replies(broker, expected).await
    }

    async fn remove(&self, broker: &Broker) -> Result<(), BrokerError> {
        broker.query(redis::cmd("EXPIRE").arg(&self.replies).arg(REPLIES_EXPIRE_S)).await?;
        broker.query(redis::cmd("SREM").arg(&self.bindings).arg(&self.binding_member)).await?;
        broker.query(redis::cmd("DEL").arg(&self.replies)).await?;
        Ok(())
    }

    async fn collect_replies(
        &self,
        broker: &Broker,
        expected: usize,
    ) -> Result<BTreeMap<String, WorkerReply>, BrokerError> {
        let (began, mut workers, mut read) = (Instant::now(), BTreeMap::new(), 0_usize);
        let mut replies_of: HashMap<String, usize> = HashMap::new();
        while began.elapsed() < TIMEOUT && read < MAX_REPLIES {
            let reply = broker.query(redis::cmd("RPOP").arg(&self.replies)).await?;
            match redis::from_redis_value::<Option<Vec<u8>>>(reply) {
                Ok(Some(message)) => {
                    read += 1;
                    for (worker, reply) in decode_reply(&message) {
                        *replies_of.entry(worker.clone()).or_default() += 1;
                        merge(workers.entry(worker).or_default(), &reply);
                    }
                }
                _ if replies_of.len() >= expected.max(1)
                    && replies_of.values().all(|replies| *replies >= METHODS.len()) =>
                {
                    break;
                }
                _ => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
        Ok(workers)
    }

    /// A remote control command, as kombu publishes it.
    fn command(&self, method: &str) -> String {
        let body = json!({
            "method": method, "arguments": {}, "destination": null, "pattern": null, "matcher": null,
            "ticket": Uuid::new_v4().to_string(),
            "reply_to": {"exchange": self.reply_exchange, "routing_key": self.routing_key},
        });
        json!({
            "body": STANDARD.encode(body.to_string()),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"clock": 1, "expires": null},
            "properties": {
                "delivery_mode": 2,
                "delivery_info": {"exchange": self.exchange, "routing_key": ""},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": Uuid::new_v4().to_string(),
            },
        })
        .to_string()
    }
}

/// Replies of one message, by worker. Empty if the message cannot be decoded.
fn decode_reply(message: &[u8]) -> Vec<(String, Value)> {
    let body = decode_body(message).ok();
    let by_worker: Option<serde_json::Map<String, Value>> = body.and_then(|body| serde_json::from_slice(&body).ok());
    by_worker.into_iter().flatten().collect()
}

/// Merges one reply of a worker: `active_queues` is a list, `stats` an object. Errors of a worker are ignored.
fn merge(worker: &mut WorkerReply, reply: &Value) {
    if let Ok(queues) = Vec::<ActiveQueue>::deserialize(reply) {
        worker.queues = queues.into_iter().map(|queue| queue.name).collect();
    } else if let Some(concurrency) = reply.pointer("/pool/max-concurrency").and_then(Value::as_u64) {
        worker.concurrency = u32::try_from(concurrency).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_a_worker_are_merged() {
        let mut worker = WorkerReply::default();
        merge(&mut worker, &json!([{"name": "celery", "exchange": {}}, {"name": "emails"}]));
        merge(&mut worker, &json!({"pool": {"max-concurrency": 4}}));
        merge(&mut worker, &json!({"error": "unknown"}));
        assert_eq!(worker, WorkerReply { queues: vec!["celery".into(), "emails".into()], concurrency: Some(4) });
    }
}
