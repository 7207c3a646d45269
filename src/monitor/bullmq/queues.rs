//! Which queues a BullMQ broker has, how many jobs wait in them, and which workers are connected: all by reading.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use redis::{Pipeline, Value};

use crate::{
    domain::queue::{
        Framework,
        connection::{BrokerError, Options},
    },
    monitor::{broker::Broker, glob::literal, key_scan::KeyScan},
};

/// The most queues that are followed.
const QUEUES: usize = 1_000;

/// What was found so far.
pub(super) struct Queues {
    prefix: String,
    /// Those that the connection names; empty: all that are found.
    named: Vec<String>,
    found: BTreeSet<String>,
    walk: KeyScan,
}

/// The workers that are connected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Workers {
    /// Each worker's queues.
    pub(super) queues: BTreeMap<String, BTreeSet<String>>,
    /// How many connections take from each queue.
    pub(super) consumers: BTreeMap<String, u32>,
}

impl Queues {
    pub(super) fn new(options: &Options) -> Self {
        let prefix = options.prefix(Framework::BullMq).to_owned();
        let walk = KeyScan::new(format!("{}:*:events", literal(&prefix)), "stream");
        Self { walk, found: options.queues.iter().cloned().collect(), named: options.queues.clone(), prefix }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.found.iter().cloned().collect()
    }

    /// Goes on looking for queues. One that is gone stays known: its stream then has nothing to say.
    pub(super) async fn walk(&mut self, broker: &Broker) -> Result<(), BrokerError> {
        if !self.named.is_empty() {
            return Ok(());
        }
        for key in self.walk.go_on(broker).await?.keys {
            let name = key
                .strip_prefix(&self.prefix)
                .and_then(|rest| rest.strip_prefix(':'))
                .and_then(|rest| rest.strip_suffix(":events"));
            if let Some(name) = name
                && self.found.len() < QUEUES
            {
                self.found.insert(name.to_owned());
            }
        }
        Ok(())
    }

    /// A key of a queue.
    pub(super) fn key(&self, queue: &str, part: &str) -> String {
        format!("{}:{queue}:{part}", self.prefix)
    }

    /// How many jobs wait in each queue.
    pub(super) async fn depths(&self, broker: &Broker, queues: &[String]) -> Result<Vec<u64>, BrokerError> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = Pipeline::new();
        ask.ignore_errors();
        for queue in queues {
            // Before version 6 a paused queue's jobs lay in a list of their own.
            ask.cmd("LLEN")
                .arg(self.key(queue, "wait"))
                .cmd("ZCARD")
                .arg(self.key(queue, "prioritized"))
                .cmd("LLEN")
                .arg(self.key(queue, "paused"));
        }
        let lengths: Vec<Value> = broker.ask_all(&ask).await?;
        let length = |value: &Value| if let Value::Int(length) = value { (*length).max(0) as u64 } else { 0 };
        Ok(lengths.chunks(3).map(|parts| parts.iter().map(length).sum()).collect())
    }

    /// The workers that are connected; `None` where the broker's users may not know.
    ///
    /// Their queues are found by it, too: a worker may wait for the first job of a queue that has no key yet.
    pub(super) async fn workers(&mut self, broker: &Broker) -> Result<Option<Workers>, BrokerError> {
        match broker.ask(&redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("NORMAL").clone()).await {
            Ok(list) => {
                let list: String = redis::from_redis_value(list).map_err(|_| BrokerError::Protocol)?;
                let all = workers_in(&self.prefix, &list);
                if self.named.is_empty() {
                    let room = QUEUES.saturating_sub(self.found.len());
                    let new: Vec<_> =
                        all.consumers.keys().filter(|queue| !self.found.contains(*queue)).take(room).cloned().collect();
                    self.found.extend(new);
                }
                Ok(Some(all.of(&self.found)))
            }
            Err(BrokerError::Auth | BrokerError::Protocol) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }
}

impl Workers {
    /// Those that take from these queues.
    fn of(mut self, queues: &BTreeSet<String>) -> Self {
        self.consumers.retain(|queue, _| queues.contains(queue));
        self.queues.values_mut().for_each(|taken| taken.retain(|queue| queues.contains(queue)));
        self.queues.retain(|_, taken| !taken.is_empty());
        self
    }
}

/// Connections of workers are named `<prefix>:<base64 of the queue>`, with `:w:<worker>` behind where the worker has a name.
fn workers_in(prefix: &str, list: &str) -> Workers {
    let mut workers = Workers::default();
    for line in list.lines() {
        let part = |name: &str| line.split(' ').find_map(|part| part.strip_prefix(name));
        let Some(client) = part("name=").and_then(|name| name.strip_prefix(prefix)?.strip_prefix(':')) else {
            continue;
        };
        let (encoded, worker) = match client.split_once(":w:") {
            Some((encoded, worker)) => (encoded, Some(worker)),
            None => (client, None),
        };
        let Some(queue) = STANDARD
            .decode(encoded)
            .ok()
            .and_then(|queue| String::from_utf8(queue).ok())
            .filter(|queue| !queue.is_empty())
        else {
            continue;
        };
        let worker = worker.map_or_else(|| format!("{queue}@{}", part("addr=").unwrap_or("")), str::to_owned);
        workers.queues.entry(worker).or_default().insert(queue.clone());
        *workers.consumers.entry(queue).or_default() += 1;
    }
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_known_by_their_connections_names() {
        let name = STANDARD.encode("emails");
        let list = format!(
            "id=1 addr=127.0.0.1:1 laddr=x name=bull:{name} age=1 cmd=bzpopmin\nid=2 addr=127.0.0.1:2 name=bull:{name}:w:anna age=1\n\
             id=3 addr=127.0.0.1:3 name=bull:{name}:qe age=1\nid=4 addr=127.0.0.1:4 name= age=1\nid=5 addr=127.0.0.1:5 name=other:{name} age=1\n"
        );
        let workers = workers_in("bull", &list);
        assert_eq!(workers.queues.keys().collect::<Vec<_>>(), ["anna", "emails@127.0.0.1:1"]);
        assert_eq!(workers.consumers, BTreeMap::from([("emails".to_owned(), 2)]));
        assert_eq!(workers.of(&BTreeSet::from(["other".to_owned()])), Workers::default());
    }
}
