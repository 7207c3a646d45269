//! Brokers: which ones may be watched, and why one cannot be.

use crate::domain::closed_set::closed_set;

/// Host and port of a broker that the operator lets tenants watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BrokerHost {
    /// DNS name or IP address in lower case, as both the operator and the tenant write it; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl BrokerHost {
    /// Parses `host:port`, an IPv6 address in brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(address) => address.parse::<core::net::Ipv6Addr>().ok()?.to_string(),
            None if host.is_empty() || host.contains([':', '/', '@', ' ']) => return None,
            None => host.to_lowercase(),
        };
        Some(Self { host, port: port.parse().ok().filter(|port| *port > 0)? })
    }
}

closed_set! {
    /// Why a broker cannot be watched. The broker's own error text is never shown, as it may hold secrets.
    pub enum BrokerError as "BrokerError" {
        /// The address is malformed, or cannot be decrypted because the service's secret key was replaced.
        Address = "address",
        /// The host is not on the operator's list, or resolves to an address that no broker has.
        NotAllowed = "not_allowed",
        /// It is Holdfast's own Redis.
        OwnRedis = "own_redis",
        /// Holdfast's own Redis does not say who it is, so it cannot be told from this broker. The operator's log says why.
        OwnRedisUnknown = "own_redis_unknown",
        /// The name has no address.
        Dns = "dns",
        /// Nobody listens there, or the network does not reach it.
        Refused = "refused",
        /// No answer in time.
        Timeout = "timeout",
        /// The credentials are wrong, or lack a right that watching needs: `missingRight` names it.
        Auth = "auth",
        /// The certificate is not trusted for that name, or the server speaks no TLS.
        Tls = "tls",
        /// The server does not answer like a Redis that can be watched.
        Protocol = "protocol",
        /// One reply or message of it is larger than a watch takes in, 8 MiB.
        TooLarge = "too_large",
        /// The connection broke.
        Broken = "broken",
        /// It is watched, but sends no event, and its workers have another control exchange: name theirs in `controlExchange` and
        /// `eventExchange`.
        OtherExchanges = "other_exchanges",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_parsed_with_their_port() {
        assert_eq!(
            BrokerHost::parse("Redis.Example:6379"),
            Some(BrokerHost { host: "redis.example".into(), port: 6379 })
        );
        assert_eq!(BrokerHost::parse("[::1]:6379").unwrap().host, "::1");
        for wrong in ["redis.example", "redis.example:", ":6379", "h:0", "h:70000", "redis://h:1", "::1:6379", "u@h:1"]
        {
            assert_eq!(BrokerHost::parse(wrong), None, "{wrong}");
        }
    }
}
