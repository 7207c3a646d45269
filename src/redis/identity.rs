//! The identity of our Redis: the names and addresses by which it is recognised. A connection of the queue monitor must not watch it as a broker.

use std::{collections::HashSet, net::SocketAddr};

use redis::{ConnectionAddr, Value};

use crate::redis::{Address, CommandError, RedisHandle};

/// The lines of INFO that name a server, and the primary that it copies: a replica of our Redis is ours, too.
const NAMES: [&str; 3] = ["run_id", "master_replid", "master_replid2"];
/// The value of `master_replid2` where there was no other primary before.
const NONE: &str = "0000000000000000000000000000000000000000";

/// The names that a Redis gives itself in its INFO.
#[must_use]
pub fn names_in(info: &str) -> Vec<&str> {
    let named = |line: &str| NAMES.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
    info.lines()
        .filter(|line| named(line))
        .filter_map(|line| line.split_once(':'))
        .map(|(_, name)| name.trim())
        .filter(|name| *name != NONE)
        .collect()
}

impl RedisHandle {
    /// The names that our own Redis gives itself; of a cluster, those of all its nodes.
    ///
    /// # Errors
    /// As [`CommandError`] says; a read changes nothing.
    pub async fn own_names(&self) -> Result<HashSet<String>, CommandError> {
        let mut names = HashSet::new();
        for section in ["server", "replication"] {
            collect(&self.send(redis::cmd("INFO").arg(section)).await?, &mut names);
        }
        if names.is_empty() {
            return Err(CommandError::Failed { code: "INFO".into(), detail: "without a name of the server".into() });
        }
        Ok(names)
    }

    /// The network addresses under which our own Redis is reached; none for a unix socket.
    pub async fn own_addresses(&self) -> HashSet<SocketAddr> {
        let given: Vec<&ConnectionAddr> = match self.address() {
            Address::One(server) => vec![server.addr()],
            Address::Sentinel { sentinels, .. } => sentinels.iter().collect(),
            Address::Cluster(nodes) => nodes.iter().map(redis::ConnectionInfo::addr).collect(),
        };
        let mut addresses = HashSet::new();
        for address in given {
            if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = address
                && let Ok(found) = tokio::net::lookup_host((host.as_str(), *port)).await
            {
                addresses.extend(found);
            }
        }
        addresses
    }
}

/// Collects the names in the reply of INFO: a text of one server, a list or map of nodes and their texts of a cluster.
fn collect(value: &Value, names: &mut HashSet<String>) {
    match value {
        Value::BulkString(bytes) => {
            names.extend(names_in(&String::from_utf8_lossy(bytes)).into_iter().map(str::to_owned))
        }
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => {
            names.extend(names_in(text).into_iter().map(str::to_owned))
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        Value::Map(pairs) => pairs.iter().for_each(|(_, value)| collect(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_names() {
        let info = "# Server\r\nrun_id:abc\r\ntcp_port:6379\r\nmaster_replid:def\r\nmaster_replid2:0000000000000000000000000000000000000000\r\n";
        assert_eq!(names_in(info), ["abc", "def"]);
    }
}
