//! Queues of a BullMQ broker: their names, their depths, and the connected workers. All of it by reading.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use redis::{Pipeline, Value};

use crate::{
    domain::queue::{
        Framework,
        connection::{BrokerError, ConnectionOptions},
    },
    monitor::{broker::Broker, bullmq::mapping::queue_of_stream, glob, key_scan::KeyScan},
};

/// Maximum number of queues that are watched.
const MAX_QUEUES: usize = 1_000;

/// Queues found so far. A queue that is gone stays: its stream is empty then.
pub(super) struct BullMqQueues {
    prefix: String,
    /// Whether the connection names its queues: no others are looked for.
    are_named: bool,
    names: BTreeSet<String>,
    scan: KeyScan,
}

/// Workers that are connected to the broker.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectedWorkers {
    /// Queues of each worker.
    pub(super) queues: BTreeMap<String, BTreeSet<String>>,
    /// Number of connections that consume each queue.
    pub(super) consumers: BTreeMap<String, u32>,
}

impl BullMqQueues {
    pub(super) fn new(options: &ConnectionOptions) -> Self {
        let prefix = options.prefix(Framework::BullMq).to_owned();
        let scan = KeyScan::new(format!("{}:*:events", glob::escape(&prefix)), "stream");
        Self { prefix, are_named: !options.queues.is_empty(), names: options.queues.iter().cloned().collect(), scan }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }

    fn add(&mut self, name: &str) {
        if self.names.len() < MAX_QUEUES && !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
    }

    /// Makes the next steps of the scan for event streams. Does nothing where the connection names its queues.
    pub(super) async fn discover(&mut self, broker: &Broker) -> Result<(), BrokerError> {
        if self.are_named {
            return Ok(());
        }
        for key in self.scan.advance(broker).await?.keys {
            if let Some(name) = queue_of_stream(&self.prefix, &key) {
                self.add(name);
            }
        }
        Ok(())
    }

    /// Number of waiting jobs in each queue.
    pub(super) async fn depths(&self, broker: &Broker, queues: &[String]) -> Result<Vec<u64>, BrokerError> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        // Before version 6 of BullMQ the jobs of a paused queue were in a list of their own.
        const PARTS: [(&str, &str); 3] = [("LLEN", "wait"), ("ZCARD", "prioritized"), ("LLEN", "paused")];
        let mut pipeline = Pipeline::new();
        for queue in queues {
            for (command, part) in PARTS {
                pipeline.cmd(command).arg(format!("{}:{queue}:{part}", self.prefix));
            }
        }
        let replies = broker.query_all(&mut pipeline).await?;
        // A key of another type fails alone, and counts as empty.
        let length = |reply: &Value| if let Value::Int(length) = reply { (*length).max(0) as u64 } else { 0 };
        Ok(replies.chunks(PARTS.len()).map(|parts| parts.iter().map(length).sum()).collect())
    }

    /// Connected workers; `None` where the broker's user has no right to `CLIENT LIST`.
    ///
    /// Adds their queues: a worker may wait for the first job of a queue that has no stream yet.
    pub(super) async fn workers(&mut self, broker: &Broker) -> Result<Option<ConnectedWorkers>, BrokerError> {
        let clients = match broker.query(redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("NORMAL")).await {
            Ok(clients) => redis::from_redis_value::<String>(clients).map_err(|_| BrokerError::Protocol)?,
            // Without the right to it, or with more clients than a reply may have.
            Err(BrokerError::Auth | BrokerError::Protocol | BrokerError::TooLarge) => return Ok(None),
            Err(error) => return Err(error),
        };
        let workers = parse_client_list(&self.prefix, &clients);
        if !self.are_named {
            for queue in workers.consumers.keys() {
                self.add(queue);
            }
        }
        Ok(Some(workers.only_of(&self.names)))
    }
}

impl ConnectedWorkers {
    /// The workers that consume any of these queues.
    fn only_of(mut self, queues: &BTreeSet<String>) -> Self {
        self.consumers.retain(|queue, _| queues.contains(queue));
        self.queues.values_mut().for_each(|consumed| consumed.retain(|queue| queues.contains(queue)));
        self.queues.retain(|_, consumed| !consumed.is_empty());
        self
    }
}

/// Finds workers among the clients of `CLIENT LIST`.
///
/// BullMQ names a worker's connection `<prefix>:<base64 of the queue>`, and appends `:w:<worker>` if the worker has a name.
pub(super) fn parse_client_list(prefix: &str, clients: &str) -> ConnectedWorkers {
    let mut workers = ConnectedWorkers::default();
    for line in clients.lines() {
        let attribute = |name: &str| line.split(' ').find_map(|part| part.strip_prefix(name));
        let Some(client) = attribute("name=").and_then(|name| name.strip_prefix(prefix)?.strip_prefix(':')) else {
            continue;
        };
        let (encoded_queue, worker) = match client.split_once(":w:") {
            Some((encoded_queue, worker)) => (encoded_queue, Some(worker)),
            None => (client, None),
        };
        let queue = STANDARD.decode(encoded_queue).ok().and_then(|queue| String::from_utf8(queue).ok());
        let Some(queue) = queue.filter(|queue| !queue.is_empty()) else { continue };
        let worker = worker.map_or_else(|| format!("{queue}@{}", attribute("addr=").unwrap_or("")), str::to_owned);
        workers.queues.entry(worker).or_default().insert(queue.clone());
        *workers.consumers.entry(queue).or_default() += 1;
    }
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_found_by_the_names_of_their_connections() {
        let name = STANDARD.encode("emails");
        let clients = format!(
            "id=1 addr=127.0.0.1:1 laddr=x name=bull:{name} age=1 cmd=bzpopmin\n\
             id=2 addr=127.0.0.1:2 name=bull:{name}:w:anna age=1\n\
             id=3 addr=127.0.0.1:3 name=bull:{name}:qe age=1\n\
             id=4 addr=127.0.0.1:4 name= age=1\n\
             id=5 addr=127.0.0.1:5 name=other:{name} age=1\n"
        );
        let workers = parse_client_list("bull", &clients);
        assert_eq!(workers.queues.keys().collect::<Vec<_>>(), ["anna", "emails@127.0.0.1:1"]);
        assert_eq!(workers.consumers, BTreeMap::from([("emails".to_owned(), 2)]));
        assert_eq!(workers.only_of(&BTreeSet::from(["other".to_owned()])), ConnectedWorkers::default());
    }
}
