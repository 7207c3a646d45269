//! Address of a broker: parsing of `redis://` and `rediss://` URLs.

use std::net::IpAddr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::domain::queue::connection::BrokerHost;

/// Checks that a broker's address is well-formed, and that the operator allows its host and port.
///
/// # Errors
/// A sentence about the fault. It never contains the address, which may hold a password.
pub fn check_url(url: &str, allowed: &[BrokerHost]) -> Result<(), String> {
    let address =
        BrokerAddress::parse(url).ok_or("must be an address like redis://user:password@host:6379/0 or rediss://...")?;
    if allowed.contains(&address.host) {
        return Ok(());
    }
    Err("names a host and port that the operator of this service does not allow; they are listed in its setting HOLDFAST_BROKER_HOSTS".into())
}

/// A parsed address of a broker.
#[derive(Clone)]
pub(in crate::monitor) struct BrokerAddress {
    pub(super) info: ConnectionInfo,
    pub(super) host: BrokerHost,
}

impl BrokerAddress {
    pub(in crate::monitor) fn parse(url: &str) -> Option<Self> {
        // The query string (`?ssl_cert_reqs=...`) holds settings of kombu's own; certificates are always verified here.
        let base = url.split_once('?').map_or(url, |(base, _)| base);
        if base.contains('#') || !(base.starts_with("redis://") || base.starts_with("rediss://")) {
            return None;
        }
        let info = base.into_connection_info().ok()?;
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
            _ => return None,
        };
        let name = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let host = BrokerHost { host: name.parse::<IpAddr>().map_or(name, |address| address.to_string()), port };
        Some(Self { info, host })
    }

    /// Number of the database.
    pub(in crate::monitor) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    pub(super) fn uses_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_their_hosts_checked() {
        let allowed = [BrokerHost::parse("redis.example:6379").unwrap(), BrokerHost::parse("[::1]:7000").unwrap()];
        for url in [
            "redis://redis.example",
            "redis://u:p%40@Redis.Example:6379/3",
            "rediss://redis.example/0?ssl_cert_reqs=none",
            "redis://[::1]:7000",
        ] {
            assert_eq!(check_url(url, &allowed), Ok(()), "{url}");
        }
        assert_eq!(BrokerAddress::parse("redis://redis.example/3").unwrap().database(), 3);
        for url in ["redis://other.example", "redis://redis.example:6380", "redis://redis.example@evil.example:6379"] {
            assert!(check_url(url, &allowed).unwrap_err().contains("HOLDFAST_BROKER_HOSTS"), "{url}");
        }
        for url in [
            "http://redis.example",
            "redis+unix:///tmp/redis.sock",
            "unix:///tmp/s",
            "redis://redis.example/x",
            "rediss://redis.example/#insecure",
            "",
        ] {
            assert!(check_url(url, &allowed).unwrap_err().contains("must be an address"), "{url}");
        }
    }
}
