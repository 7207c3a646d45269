//! Asks Celery's workers what they consume, by their remote control. The one thing here that writes to a broker, and only where a connection
//! asks for it: a binding for the answers, and the list that they come in; both are taken away again.

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
        connection::{BrokerError, Options},
    },
    monitor::{broker::Broker, celery::decode::body_of},
};

/// How long workers may take to answer; and how long to wait for more when all that are known have.
const TIMEOUT: Duration = Duration::from_millis(2_000);
const LOOK: Duration = Duration::from_millis(50);
/// What is left of the answers if we are killed before we take them away.
const REPLIES_LAST_S: u32 = 60;
/// The most answers of one question.
const REPLIES: usize = 10_000;

/// What a worker says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) queues: Vec<String>,
    pub(super) concurrency: Option<u32>,
}

/// The questioner: a mailbox of its own on the broker.
pub(super) struct Pidbox {
    channel: String,
    /// Where answers are sent: the exchange's bindings, our member there, and our list.
    bindings: String,
    member: String,
    routing_key: String,
    replies: String,
}

#[derive(Deserialize)]
struct QueueNamed {
    name: String,
}

impl Pidbox {
    pub(super) fn new(options: &Options, database: i64, connection: Uuid) -> Self {
        let (prefix, separator) = (options.prefix(Framework::Celery), options.separator());
        // The same at every watcher of the connection, so that whoever takes over takes away what a killed one has left.
        let routing_key = Uuid::new_v5(&connection, b"mailbox").to_string();
        let queue = format!("{routing_key}.reply.celery.pidbox");
        Self {
            channel: format!("{}celery.pidbox", options.channel_prefix(database)),
            bindings: format!("{prefix}_kombu.binding.reply.celery.pidbox"),
            member: format!("{routing_key}{separator}{separator}{queue}"),
            replies: format!("{prefix}{queue}"),
            routing_key,
        }
    }

    /// Asks all workers; `expected` is how many are known to live, for whom it waits, but not longer than two seconds.
    pub(super) async fn ask(&self, broker: &Broker, expected: usize) -> Result<BTreeMap<String, Answer>, BrokerError> {
        broker.ask(redis::cmd("SADD").arg(&self.bindings).arg(&self.member)).await?;
        broker.ask(redis::cmd("DEL").arg(&self.replies)).await?;
        for method in ["active_queues", "stats"] {
            broker.ask(redis::cmd("PUBLISH").arg(&self.channel).arg(self.question(method))).await?;
        }
        let (begun, mut answers, mut heard) = (Instant::now(), BTreeMap::new(), 0_usize);
        let mut complete: HashMap<String, u8> = HashMap::new();
        while begun.elapsed() < TIMEOUT && heard < REPLIES {
            match redis::from_redis_value::<Option<Vec<u8>>>(broker.ask(redis::cmd("RPOP").arg(&self.replies)).await?) {
                Ok(Some(reply)) => {
                    heard += 1;
                    for (worker, said) in read(&reply) {
                        *complete.entry(worker.clone()).or_default() += 1;
                        note(answers.entry(worker).or_default(), &said);
                    }
                }
                _ if complete.len() >= expected.max(1) && complete.values().all(|count| *count >= 2) => break,
                _ => tokio::time::sleep(LOOK).await,
            }
        }
        broker.ask(redis::cmd("EXPIRE").arg(&self.replies).arg(REPLIES_LAST_S)).await?;
        Ok(answers)
    }

    /// Takes away what the questions left behind.
    pub(super) async fn clear(&self, broker: &Broker) -> Result<(), BrokerError> {
        broker.ask(redis::cmd("SREM").arg(&self.bindings).arg(&self.member)).await?;
        broker.ask(redis::cmd("DEL").arg(&self.replies)).await.map(|_| ())
    }

    fn question(&self, method: &str) -> String {
        let body = json!({
            "method": method, "arguments": {}, "destination": null, "pattern": null, "matcher": null, "ticket": Uuid::new_v4().to_string(),
            "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": self.routing_key},
        });
        json!({
            "body": STANDARD.encode(body.to_string()), "content-encoding": "utf-8", "content-type": "application/json",
            "headers": {"clock": 1, "expires": null},
            "properties": {
                "delivery_mode": 2, "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""}, "priority": 0, "body_encoding": "base64",
                "delivery_tag": Uuid::new_v4().to_string(),
            },
        })
        .to_string()
    }
}

/// The workers of an answer, and what each says.
fn read(reply: &[u8]) -> Vec<(String, Value)> {
    let body = body_of(reply).ok();
    let said: Option<serde_json::Map<String, Value>> = body.and_then(|body| serde_json::from_slice(&body).ok());
    said.into_iter().flatten().collect()
}

/// A list names queues; a map has numbers.
fn note(answer: &mut Answer, said: &Value) {
    if let Ok(queues) = Vec::<QueueNamed>::deserialize(said) {
        answer.queues = queues.into_iter().map(|queue| queue.name).collect();
    } else if let Some(most) = said.pointer("/pool/max-concurrency").and_then(Value::as_u64) {
        answer.concurrency = u32::try_from(most).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let mut answer = Answer::default();
        note(&mut answer, &json!([{"name": "celery", "exchange": {}}, {"name": "emails"}]));
        note(&mut answer, &json!({"pool": {"max-concurrency": 4}}));
        note(&mut answer, &json!({"error": "unknown"}));
        assert_eq!(answer, Answer { queues: vec!["celery".into(), "emails".into()], concurrency: Some(4) });
    }
}
