//! Queues of a Celery broker: their names, their depths, and the bound workers. All of it by reading.
//!
//! Names come from kombu's bindings, found by a key scan, and from the tracker. A queue that was never bound, and to which no task was sent
//! while the broker was watched, is not found; the connection must name it.

use std::collections::{BTreeSet, HashSet};

use redis::{Pipeline, Value};

use crate::{
    domain::queue::{
        Framework,
        connection::{BrokerError, ConnectionOptions},
    },
    monitor::{broker::Broker, glob, key_scan::KeyScan},
};

/// Maximum number of queues whose depths are polled.
const MAX_QUEUES: usize = 1_000;
/// Number of members of one binding after which no more are read.
const MAX_BINDING_MEMBERS: usize = 5_000;
/// `COUNT` of one `SSCAN` of a binding.
const SSCAN_COUNT: usize = 500;

/// Queues found so far.
pub(super) struct CeleryQueues {
    options: ConnectionOptions,
    /// Queues found by the last complete pass of the scan.
    bound: BTreeSet<String>,
    /// Queues found by the present pass. They replace `bound` at its end, so that queues that are gone are dropped.
    found: BTreeSet<String>,
    /// Whether the last complete pass, and the present one, found workers that are bound to another control exchange.
    has_others: bool,
    found_others: bool,
    scan: KeyScan,
    has_complete_pass: bool,
}

impl CeleryQueues {
    pub(super) fn new(options: ConnectionOptions) -> Self {
        // Matches `_kombu.binding.<exchange>` and `_kombu.binding_permanent.<exchange>`.
        let pattern = format!("{}_kombu.binding*", glob::escape(options.prefix(Framework::Celery)));
        let scan = KeyScan::new(pattern, "set");
        Self {
            options,
            bound: BTreeSet::new(),
            found: BTreeSet::new(),
            has_others: false,
            found_others: false,
            scan,
            has_complete_pass: false,
        }
    }

    fn prefix(&self) -> &str {
        self.options.prefix(Framework::Celery)
    }

    /// Makes the next steps of the scan for bindings. Does nothing where the connection names its queues.
    pub(super) async fn discover(&mut self, broker: &Broker) -> Result<(), BrokerError> {
        if !self.options.queues.is_empty() {
            return Ok(());
        }
        let scanned = self.scan.advance(broker).await?;
        for key in scanned.keys {
            self.read_binding(broker, &key).await?;
        }
        if scanned.pass_ended {
            self.bound = std::mem::take(&mut self.found);
            self.has_others = std::mem::take(&mut self.found_others);
            self.has_complete_pass = true;
        }
        Ok(())
    }

    async fn read_binding(&mut self, broker: &Broker, key: &str) -> Result<(), BrokerError> {
        let name = key.strip_prefix(self.prefix()).unwrap_or(key);
        let Some(exchange) =
            name.strip_prefix("_kombu.binding.").or_else(|| name.strip_prefix("_kombu.binding_permanent."))
        else {
            return Ok(());
        };
        if exchange.starts_with("reply.") || exchange == self.options.event_exchange() {
            return Ok(());
        }
        if exchange.ends_with(".pidbox") {
            self.found_others |= exchange != self.options.pidbox();
            return Ok(());
        }
        for member in binding_members(broker, key).await? {
            if let Some(queue) = job_queue_of(&member, self.options.separator())
                && self.found.len() < MAX_QUEUES
            {
                self.found.insert(queue.to_owned());
            }
        }
        Ok(())
    }

    /// Node names that are bound to Celery's remote control: live workers, and workers that were killed.
    pub(super) async fn bound_workers(&self, broker: &Broker) -> Result<HashSet<String>, BrokerError> {
        let pidbox = self.options.pidbox();
        let members = binding_members(broker, &self.options.bindings_key(&pidbox)).await?;
        let node_name = |member: &String| {
            let queue = queue_of(member, self.options.separator())?;
            Some(queue.strip_suffix(&pidbox)?.strip_suffix('.')?.to_owned())
        };
        Ok(members.iter().filter_map(node_name).collect())
    }

    /// Whether workers are bound to a control exchange that is not the connection's. Never where the connection names its queues.
    pub(super) fn has_other_workers(&self) -> bool {
        self.has_others || self.found_others
    }

    /// Queues to poll: those that the connection names, else those that are bound and those of the tracker.
    pub(super) fn names<'a>(&'a self, tracked: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        if !self.options.queues.is_empty() {
            return self.options.queues.iter().map(String::as_str).collect();
        }
        let bound = if self.has_complete_pass { &self.bound } else { &self.found };
        bound.iter().map(String::as_str).chain(tracked.filter(|queue| is_job_queue(queue))).take(MAX_QUEUES).collect()
    }

    /// Number of waiting jobs in each queue, over all priority steps.
    pub(super) async fn depths(&self, broker: &Broker, queues: &[String]) -> Result<Vec<u64>, BrokerError> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Vec<String>> = queues.iter().map(|queue| self.options.list_keys(queue)).collect();
        let mut pipeline = Pipeline::new();
        for key in keys.iter().flatten() {
            pipeline.cmd("LLEN").arg(key);
        }
        let replies = broker.query_all(&mut pipeline).await?;
        // A key of another type fails alone, and counts as empty.
        let length = |reply: Value| if let Value::Int(length) = reply { length.max(0) as u64 } else { 0 };
        let mut lengths = replies.into_iter().map(length);
        Ok(keys.iter().map(|keys| lengths.by_ref().take(keys.len()).sum()).collect())
    }
}

/// Members of a binding's set, at most about [`MAX_BINDING_MEMBERS`].
async fn binding_members(broker: &Broker, key: &str) -> Result<Vec<String>, BrokerError> {
    let (mut cursor, mut all) = (0_u64, Vec::new());
    loop {
        let reply = broker.query(redis::cmd("SSCAN").arg(key).arg(cursor).arg("COUNT").arg(SSCAN_COUNT)).await?;
        let (next, members): (u64, Vec<Vec<u8>>) = redis::from_redis_value(reply).map_err(|_| BrokerError::Protocol)?;
        all.extend(members.into_iter().filter_map(|member| String::from_utf8(member).ok()));
        cursor = next;
        if cursor == 0 || all.len() >= MAX_BINDING_MEMBERS {
            return Ok(all);
        }
    }
}

/// Queue of a binding's member (`routing key, pattern, queue`), if it holds jobs.
fn job_queue_of<'a>(member: &'a str, separator: &str) -> Option<&'a str> {
    queue_of(member, separator).filter(|queue| is_job_queue(queue))
}

fn queue_of<'a>(member: &'a str, separator: &str) -> Option<&'a str> {
    member.rsplit(separator).next().filter(|queue| !queue.is_empty())
}

/// Whether a queue holds jobs. Celery has further queues for events and remote control.
fn is_job_queue(name: &str) -> bool {
    !name.is_empty() && !name.ends_with(".pidbox") && !name.starts_with("celeryev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_member_is_the_queue() {
        let separator = "\u{6}\u{16}";
        assert_eq!(job_queue_of("celery\u{6}\u{16}\u{6}\u{16}emails", separator), Some("emails"));
        assert_eq!(job_queue_of("celery::emails", ":"), Some("emails"));
        for internal in ["\u{6}\u{16}\u{6}\u{16}w@h.celery.pidbox", "worker.#\u{6}\u{16}\u{6}\u{16}celeryev.1b2c"] {
            assert_eq!(job_queue_of(internal, separator), None, "{internal}");
        }
        assert_eq!(
            job_queue_of("\u{6}\u{16}\u{6}\u{16}w@h.shop.pidbox", separator),
            None,
            "of another control exchange"
        );
    }
}
