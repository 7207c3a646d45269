//! What tells our own Redis from any other: it must not be watched as a broker.

use std::{collections::HashSet, net::SocketAddr};

use redis::{ConnectionAddr, Value};

use crate::store::{Address, Store, StoreError};

/// The lines of INFO that name a server, and what it copies: a replica of our Redis is ours, too.
const NAMES: [&str; 3] = ["run_id", "master_replid", "master_replid2"];
/// What `master_replid2` is where there was no other before.
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

impl Store {
    /// The names that our own Redis gives itself; of a cluster, those of all its nodes.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn own_names(&self) -> Result<HashSet<String>, StoreError> {
        let mut names = HashSet::new();
        for section in ["server", "replication"] {
            collect(&self.link().send(redis::cmd("INFO").arg(section)).await?, &mut names);
        }
        if names.is_empty() {
            return Err(StoreError::UnexpectedReply { script: "INFO", got: "no name of the server".into() });
        }
        Ok(names)
    }

    /// The addresses under which our own Redis is reached, as far as they are addresses of the network.
    pub async fn own_addresses(&self) -> HashSet<SocketAddr> {
        let given: Vec<&ConnectionAddr> = match self.link().address() {
            Address::One(info) => vec![info.addr()],
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

/// A cluster answers with a list of nodes and their texts, one server with a text.
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
