//! What a server must be before it is used: new enough, keeping what it is given, and its user allowed what the service does.

use redis::{RedisError, Value};
use tokio::time::Instant;

use crate::redis::{
    error::cause_of,
    transport::{Transport, TransportError},
};

/// The oldest Redis, and the oldest Valkey, that has what the functions need.
const OLDEST_REDIS: (u32, u32) = (7, 0);
/// As [`OLDEST_REDIS`].
const OLDEST_VALKEY: (u32, u32) = (7, 2);
/// The only `maxmemory-policy` under which a server forgets nothing by itself.
const KEEPS_ALL: &str = "noeviction";

/// What a look at a server found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inspection {
    /// It can be used.
    Fit,
    /// It must not be used; why, and how to mend it.
    Unfit(String),
    /// It did not answer, or wants a password: why.
    Failed(String),
}

/// What the nodes behind a connection say of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The text of INFO, of each node.
    texts: Vec<String>,
}

/// How much of its memory a node uses, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// What it uses.
    pub used: u64,
    /// Its `maxmemory`; 0: it has no limit.
    pub limit: u64,
}

impl ServerInfo {
    /// Reads the reply of INFO: a text of one server, a list or map of nodes and their texts of a cluster.
    pub(super) fn of(value: &Value) -> Self {
        let mut info = Self::default();
        info.collect(value);
        info
    }

    fn collect(&mut self, value: &Value) {
        match value {
            Value::BulkString(bytes) => self.texts.push(String::from_utf8_lossy(bytes).into_owned()),
            Value::VerbatimString { text, .. } | Value::SimpleString(text) => self.texts.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| self.collect(value)),
            Value::Map(pairs) => pairs.iter().for_each(|(_, value)| self.collect(value)),
            _ => {}
        }
    }

    /// The memory of each node.
    #[must_use]
    pub fn memory(&self) -> Vec<MemoryUse> {
        let number = |text: &str, name: &str| field(text, name).and_then(|value| value.parse().ok());
        let of = |text: &String| {
            Some(MemoryUse { used: number(text, "used_memory")?, limit: number(text, "maxmemory").unwrap_or(0) })
        };
        self.texts.iter().filter_map(of).collect()
    }

    /// What makes one of the nodes unfit, and how to mend it.
    pub(super) fn fault(&self) -> Option<String> {
        self.texts.iter().find_map(|text| version_fault(text).or_else(|| policy_fault(text)))
    }
}

/// A field of INFO.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn version_fault(text: &str) -> Option<String> {
    let (product, version, oldest) = match (field(text, "valkey_version"), field(text, "redis_version")) {
        (Some(version), _) => ("Valkey", version, OLDEST_VALKEY),
        (None, Some(version)) => ("Redis", version, OLDEST_REDIS),
        (None, None) => return Some("its INFO names no version: Redis 7.0 or later is needed, or Valkey 7.2".into()),
    };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    (found < oldest)
        .then(|| format!("it is {product} {version}, and Redis 7.0 or later is needed, or Valkey 7.2 or later"))
}

fn policy_fault(text: &str) -> Option<String> {
    let policy = field(text, "maxmemory_policy").filter(|policy| *policy != KEEPS_ALL)?;
    Some(format!(
        "its maxmemory-policy is {policy}: when its memory is full it would forget what is held, and grant it twice; \
         CONFIG SET maxmemory-policy {KEEPS_ALL}, and the same in its configuration, mends that"
    ))
}

/// Looks at the server of a new connection, in a cluster at every node.
pub(super) async fn inspect(transport: &mut Transport) -> Inspection {
    let error = match transport.send(Instant::now(), &["INFO"][..]).await {
        Ok(Value::ServerError(error)) => RedisError::from(error),
        Ok(info) => return ServerInfo::of(&info).fault().map_or(Inspection::Fit, Inspection::Unfit),
        Err(TransportError::Redis(error)) => error,
        Err(TransportError::Send(_)) => return Inspection::Failed("it does not answer".into()),
    };
    let cause = cause_of(&error);
    match error.code() {
        Some("NOAUTH") => Inspection::Failed(cause),
        // Whatever it refuses now, it answers INFO when it can.
        Some("LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN") => Inspection::Fit,
        Some(_) => Inspection::Unfit(format!(
            "it does not say which version it is: {cause}; let its user call INFO (ACL rule +info)"
        )),
        None => Inspection::Failed(cause),
    }
}

/// What is said of a user that lacks rights: `missing` are ACL rules that would give them.
pub(super) fn lacks(missing: &str) -> String {
    format!("its user lacks rights; ACL SETUSER with {missing} gives them")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<String> {
        ServerInfo::of(&Value::BulkString(text.as_bytes().to_vec())).fault()
    }

    #[test]
    fn a_server_must_be_new_enough_and_keep_what_it_is_given() {
        for fit in [
            "redis_version:7.0.0\r\nmaxmemory_policy:noeviction\r\n",
            "redis_version:8.2.1\r\n",
            "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.0.1\r\nmaxmemory_policy:noeviction\r\n",
        ] {
            assert_eq!(fault(fit), None, "{fit}");
        }
        for (text, word) in [
            ("redis_version:6.2.14\r\n", "Redis 6.2.14"),
            ("redis_version:255.255.255\r\nvalkey_version:7.1.0\r\n", "Valkey 7.1.0"),
            ("redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lru\r\n", "allkeys-lru"),
            ("redis_version:7.0.15\r\nmaxmemory_policy:volatile-ttl\r\n", "noeviction"),
            ("PONG", "no version"),
        ] {
            assert!(fault(text).is_some_and(|fault| fault.contains(word)), "{text}: {:?}", fault(text));
        }
    }

    #[test]
    fn of_a_cluster_each_node_is_looked_at() {
        let node = |text: &str| (Value::Nil, Value::BulkString(text.as_bytes().to_vec()));
        let info = ServerInfo::of(&Value::Map(vec![
            node("redis_version:7.0.15\r\nused_memory:5\r\nmaxmemory:10\r\n"),
            node("redis_version:7.0.15\r\nused_memory:7\r\nmaxmemory_policy:allkeys-lfu\r\n"),
        ]));
        assert!(info.fault().is_some_and(|fault| fault.contains("allkeys-lfu")));
        assert_eq!(info.memory(), [MemoryUse { used: 5, limit: 10 }, MemoryUse { used: 7, limit: 0 }]);
    }
}
