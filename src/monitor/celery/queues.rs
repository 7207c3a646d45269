//! Which queues a Celery broker has, how many jobs wait in them, and which nodes are bound: all by reading.
//!
//! Queues are found by the bindings that kombu keeps (a few keys of a walk over all keys at a time, so that a large broker is not held up)
//! and by the events that name one. A queue that is declared but never bound nor sent to under our eyes is not found: name it in the connection.

use std::collections::{BTreeSet, HashSet};

use redis::{Pipeline, Value};

use crate::{
    domain::queue::{
        Framework,
        connection::{BrokerError, Options},
    },
    monitor::{broker::Broker, glob::literal, key_scan::KeyScan},
};

/// The most queues whose depth is asked for.
const QUEUES: usize = 1_000;
/// The most members of one binding that are read, and how many at once.
const BINDINGS: usize = 5_000;
const BINDINGS_AT_ONCE: usize = 500;

/// What was found so far.
pub(super) struct Queues {
    options: Options,
    bound: BTreeSet<String>,
    /// What the present walk has found; it replaces `bound` when the walk is through, so that what is gone goes.
    finding: BTreeSet<String>,
    walk: KeyScan,
    walked: bool,
}

impl Queues {
    pub(super) fn new(options: Options) -> Self {
        // Both `_kombu.binding.<exchange>` and `_kombu.binding_permanent.<exchange>`.
        let walk = KeyScan::new(format!("{}_kombu.binding*", literal(options.prefix(Framework::Celery))), "set");
        Self { options, bound: BTreeSet::new(), finding: BTreeSet::new(), walk, walked: false }
    }

    fn prefix(&self) -> &str {
        self.options.prefix(Framework::Celery)
    }

    /// Goes on with the walk over the broker's keys.
    pub(super) async fn walk(&mut self, broker: &Broker) -> Result<(), BrokerError> {
        if !self.options.queues.is_empty() {
            return Ok(());
        }
        let found = self.walk.go_on(broker).await?;
        for key in found.keys {
            self.read_binding(broker, &key).await?;
        }
        if found.end {
            self.bound = std::mem::take(&mut self.finding);
            self.walked = true;
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
        if exchange == "celeryev" || exchange.ends_with(".pidbox") || exchange.starts_with("reply.") {
            return Ok(());
        }
        for member in members(broker, key).await? {
            if let Some(queue) = queue_of(&member, self.options.separator())
                && self.finding.len() < QUEUES
            {
                self.finding.insert(queue.to_owned());
            }
        }
        Ok(())
    }

    /// The nodes that are bound to remote control: live workers, and those that died without a word.
    pub(super) async fn nodes(&self, broker: &Broker) -> Result<HashSet<String>, BrokerError> {
        let members = members(broker, &format!("{}_kombu.binding.celery.pidbox", self.prefix())).await?;
        let node = |member: &String| {
            Some(queue_of_any(member, self.options.separator())?.strip_suffix(".celery.pidbox")?.to_owned())
        };
        Ok(members.iter().filter_map(node).collect())
    }

    /// The queues to look at: those that the connection names, or those bound and those that tasks were `sent` to.
    pub(super) fn names<'a>(&'a self, sent: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        if !self.options.queues.is_empty() {
            return self.options.queues.iter().map(String::as_str).collect();
        }
        // Before the first walk is through, what it has found so far is better than nothing.
        let bound = if self.walked { &self.bound } else { &self.finding };
        bound.iter().map(String::as_str).chain(sent.filter(|queue| is_a_queue(queue))).take(QUEUES).collect()
    }

    /// How many jobs wait in each queue, over all steps of priority.
    pub(super) async fn depths(&self, broker: &Broker, queues: &[String]) -> Result<Vec<u64>, BrokerError> {
        let lists: Vec<Vec<String>> = queues.iter().map(|queue| self.options.lists(queue)).collect();
        let mut ask = Pipeline::new();
        // A key of that name may be something else: one wrong kind must not hide the others.
        ask.ignore_errors();
        lists.iter().flatten().for_each(|list| {
            ask.cmd("LLEN").arg(list);
        });
        if lists.is_empty() {
            return Ok(Vec::new());
        }
        let lengths: Vec<Value> = broker.ask_all(&ask).await?;
        let mut lengths =
            lengths.into_iter().map(|length| if let Value::Int(length) = length { length.max(0) as u64 } else { 0 });
        Ok(lists.iter().map(|lists| lengths.by_ref().take(lists.len()).sum()).collect())
    }
}

/// The members of a set, within bounds.
async fn members(broker: &Broker, key: &str) -> Result<Vec<String>, BrokerError> {
    let (mut cursor, mut all) = (0_u64, Vec::new());
    loop {
        let reply = broker.ask(redis::cmd("SSCAN").arg(key).arg(cursor).arg("COUNT").arg(BINDINGS_AT_ONCE)).await?;
        let (next, members): (u64, Vec<Vec<u8>>) = redis::from_redis_value(reply).map_err(|_| BrokerError::Protocol)?;
        all.extend(members.into_iter().filter_map(|member| String::from_utf8(member).ok()));
        cursor = next;
        if cursor == 0 || all.len() >= BINDINGS {
            return Ok(all);
        }
    }
}

/// The queue of a binding (`routing key, pattern, queue`), if it is one of jobs.
fn queue_of<'a>(member: &'a str, separator: &str) -> Option<&'a str> {
    queue_of_any(member, separator).filter(|queue| is_a_queue(queue))
}

fn queue_of_any<'a>(member: &'a str, separator: &str) -> Option<&'a str> {
    member.rsplit(separator).next().filter(|queue| !queue.is_empty())
}

/// What Celery makes for itself is no queue of jobs.
fn is_a_queue(name: &str) -> bool {
    !name.is_empty() && !name.ends_with(".celery.pidbox") && !name.starts_with("celeryev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_binding_is_the_queue() {
        let separator = "\u{6}\u{16}";
        assert_eq!(queue_of("celery\u{6}\u{16}\u{6}\u{16}emails", separator), Some("emails"));
        assert_eq!(queue_of("celery::emails", ":"), Some("emails"));
        for own in ["\u{6}\u{16}\u{6}\u{16}w@h.celery.pidbox", "worker.#\u{6}\u{16}\u{6}\u{16}celeryev.1b2c"] {
            assert_eq!(queue_of(own, separator), None, "{own}");
        }
    }
}
