//! Guard against server-side request forgery: which addresses may be connected to for a tenant.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    config::Config,
    domain::{
        names::TenantId,
        queue::connection::{BrokerError, BrokerHost},
    },
    monitor::broker::{BrokerConnection, TIMEOUT},
    redis::names_in,
    store::Store,
};

/// Timeout of a DNS lookup.
const DNS_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Checks a broker before and after it is connected: the operator's list, the resolved addresses, and that it is not our own Redis.
pub(in crate::monitor) struct BrokerGuard {
    /// Says which brokers each tenant may have watched.
    pub(in crate::monitor) config: Arc<Config>,
    pub(in crate::monitor) store: Store,
}

impl BrokerGuard {
    /// Resolves the name of a broker of a tenant to addresses that may be connected to.
    pub(super) async fn resolve(&self, tenant: &TenantId, broker: &BrokerHost) -> Result<Vec<SocketAddr>, BrokerError> {
        if !self.config.brokers_of(tenant).contains(broker) {
            return Err(BrokerError::NotAllowed);
        }
        let lookup = tokio::net::lookup_host((broker.host.as_str(), broker.port));
        let resolved = timeout(DNS_TIMEOUT, lookup).await.map_err(|_| BrokerError::Dns)?;
        let addresses: Vec<_> = resolved.map_err(|_| BrokerError::Dns)?.take(MAX_ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(BrokerError::Dns);
        }
        if addresses.iter().any(|address| is_never_a_broker(address.ip())) {
            return Err(BrokerError::NotAllowed);
        }
        let own = self.store.redis().own_addresses().await;
        if addresses.iter().any(|address| own.contains(address)) {
            return Err(BrokerError::OwnRedis);
        }
        Ok(addresses)
    }

    /// Asks a connected server who it is, and refuses our own Redis under whatever name it was reached.
    pub(super) async fn check_identity(&self, connection: &mut BrokerConnection) -> Result<(), BrokerError> {
        // Until our own Redis says who it is, a broker cannot be distinguished from it; the connection is retried.
        let own = self.store.redis().own_names().await.map_err(|error| {
            tracing::debug!(%error, "our own Redis does not say who it is");
            BrokerError::OwnRedisUnknown
        })?;
        for section in ["server", "replication"] {
            let info = connection.query(TIMEOUT, redis::cmd("INFO").arg(section)).await?;
            let info: String = redis::from_redis_value(info).map_err(|_| BrokerError::Protocol)?;
            let names = names_in(&info);
            if names.iter().any(|name| own.contains(*name)) {
                return Err(BrokerError::OwnRedis);
            }
            if names.is_empty() {
                return Err(BrokerError::Protocol);
            }
        }
        Ok(())
    }
}

/// Link-local, multicast, unspecified and broadcast addresses. No broker has one, but cloud metadata services with credentials do
/// (169.254.169.254), so a name that resolves to one was tampered with.
fn is_never_a_broker(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local() || address.is_multicast() || address.is_unspecified() || address.is_broadcast()
        }
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_never_a_broker(IpAddr::V4(mapped)),
            None => address.is_unicast_link_local() || address.is_multicast() || address.is_unspecified(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_broker_has_are_refused() {
        for address in ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "::ffff:169.254.169.254"] {
            assert!(is_never_a_broker(address.parse().unwrap()), "{address}");
        }
        assert!(!is_never_a_broker("127.0.0.1".parse().unwrap()) && !is_never_a_broker("10.0.0.7".parse().unwrap()));
    }
}
