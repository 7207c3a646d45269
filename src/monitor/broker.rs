//! The way to a broker: which may be reached, and by which address.
//!
//! The name is resolved once, and the address that was checked is the one connected to. Whoever answers there says first who it is:
//! our own Redis is no broker, under whatever name it is reached.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline,
    ProtocolVersion, PushInfo, RedisError, RedisFuture, Value, aio::MultiplexedConnection, io::AsyncDNSResolver,
    io::tcp::TcpSettings,
};

use crate::{
    domain::queue::connection::{BrokerError, BrokerHost},
    store::{Store, names_in},
};

/// How long a broker may take to be connected to, and to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
/// The most addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// Whether a broker's address can be used, and may be.
///
/// # Errors
/// A sentence that says what is wrong; never the address itself, which may hold a password.
pub fn check_url(url: &str, allowed: &[BrokerHost]) -> Result<(), String> {
    let address =
        BrokerAddress::parse(url).ok_or("must be an address like redis://user:password@host:6379/0 or rediss://...")?;
    if allowed.contains(&address.host) {
        return Ok(());
    }
    Err("names a host and port that the operator of this service does not allow; they are listed in its setting HOLDFAST_BROKER_HOSTS".into())
}

/// A broker's address, read.
#[derive(Clone)]
pub(super) struct BrokerAddress {
    info: ConnectionInfo,
    host: BrokerHost,
}

impl BrokerAddress {
    pub(super) fn parse(url: &str) -> Option<Self> {
        // What kombu and others put behind the database's number (`?ssl_cert_reqs=...`) is theirs; certificates are always checked here.
        let plain = url.split_once('?').map_or(url, |(plain, _)| plain);
        if plain.contains('#') || !(plain.starts_with("redis://") || plain.starts_with("rediss://")) {
            return None;
        }
        let info = plain.into_connection_info().ok()?;
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
            _ => return None,
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let host = BrokerHost { host: bare.parse::<IpAddr>().map_or(bare, |address| address.to_string()), port };
        Some(Self { info, host })
    }

    /// The database's number.
    pub(super) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    fn uses_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }
}

/// What is asked before a broker is connected to.
pub(super) struct Guard {
    pub(super) allowed: Vec<BrokerHost>,
    pub(super) store: Store,
}

impl Guard {
    /// The addresses at which the broker may be reached.
    async fn addresses(&self, broker: &BrokerHost) -> Result<Vec<SocketAddr>, BrokerError> {
        if !self.allowed.contains(broker) {
            return Err(BrokerError::NotAllowed);
        }
        let lookup = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((broker.host.as_str(), broker.port))).await;
        let found: Vec<_> =
            lookup.map_err(|_| BrokerError::Dns)?.map_err(|_| BrokerError::Dns)?.take(ADDRESSES).collect();
        if found.is_empty() {
            return Err(BrokerError::Dns);
        }
        if found.iter().any(|address| is_nobodys(address.ip())) {
            return Err(BrokerError::NotAllowed);
        }
        let own = self.store.own_addresses().await;
        if found.iter().any(|address| own.contains(address)) {
            return Err(BrokerError::OwnRedis);
        }
        Ok(found)
    }
}

/// Addresses at which no broker is, but where machines may be told secrets: a name that leads there was turned.
fn is_nobodys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local() || address.is_multicast() || address.is_unspecified() || address.is_broadcast()
        }
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_nobodys(IpAddr::V4(mapped)),
            None => address.is_unicast_link_local() || address.is_multicast() || address.is_unspecified(),
        },
    }
}

/// A broker that was reached at one address; every further connection goes there.
pub(super) struct Broker {
    client: Client,
    tls: bool,
    pinned: SocketAddr,
    guard: Arc<Guard>,
    queries: MultiplexedConnection,
}

impl Broker {
    /// Reaches a broker, checks that it may be watched, and opens the connection for queries.
    pub(super) async fn reach(address: &BrokerAddress, guard: Arc<Guard>) -> Result<Self, BrokerError> {
        let mut last = BrokerError::Refused;
        for pinned in guard.addresses(&address.host).await? {
            let settings =
                address.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
            let info = address
                .info
                .clone()
                .set_redis_settings(settings)
                .set_tcp_settings(TcpSettings::default().set_nodelay(true));
            let client = Client::open(info).map_err(|_| BrokerError::Address)?;
            match connect(&client, pinned, &guard, address.uses_tls(), |config| {
                config.set_response_timeout(Some(TIMEOUT))
            })
            .await
            {
                Ok(queries) => return Ok(Self { client, tls: address.uses_tls(), pinned, guard, queries }),
                Err(BrokerError::OwnRedis) => return Err(BrokerError::OwnRedis),
                Err(trouble) => last = trouble,
            }
        }
        Err(last)
    }

    /// Opens a connection on which what the broker pushes goes to `heard`.
    pub(super) async fn listen(
        &self,
        heard: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, BrokerError> {
        let pushes = Pushes(Arc::new(heard));
        self.connect(|config| config.set_response_timeout(Some(TIMEOUT)).set_push_sender(pushes.clone())).await
    }

    /// Opens a connection for reads that wait up to `longest` for something to come.
    pub(super) async fn waiting(&self, longest: Duration) -> Result<MultiplexedConnection, BrokerError> {
        self.connect(|config| config.set_response_timeout(Some(longest + TIMEOUT))).await
    }

    async fn connect(
        &self,
        with: impl Fn(AsyncConnectionConfig) -> AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, BrokerError> {
        connect(&self.client, self.pinned, &self.guard, self.tls, with).await
    }

    /// Sends a command.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, BrokerError> {
        self.queries
            .clone()
            .send_packed_command(command)
            .await
            .and_then(Value::extract_error)
            .map_err(|error| trouble_of(&error, self.tls))
    }

    /// Sends commands at once; their answers in order.
    pub(super) async fn ask_all<T: redis::FromRedisValue>(&self, commands: &Pipeline) -> Result<Vec<T>, BrokerError> {
        commands.query_async(&mut self.queries.clone()).await.map_err(|error| trouble_of(&error, self.tls))
    }

    /// What an error of one of its connections means.
    pub(super) fn trouble(&self, error: &RedisError) -> BrokerError {
        trouble_of(error, self.tls)
    }
}

/// Connects to that address alone, and asks who is there before anything else.
async fn connect(
    client: &Client,
    pinned: SocketAddr,
    guard: &Guard,
    tls: bool,
    with: impl Fn(AsyncConnectionConfig) -> AsyncConnectionConfig,
) -> Result<MultiplexedConnection, BrokerError> {
    let config =
        with(AsyncConnectionConfig::new()).set_connection_timeout(Some(TIMEOUT)).set_dns_resolver(Pinned(pinned));
    let mut connection =
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| trouble_of(&error, tls))?;
    // While ours does not say who it is, nobody else is let in: it is tried again.
    let own = guard.store.own_names().await.map_err(|_| BrokerError::Broken)?;
    for section in ["server", "replication"] {
        let info: String = redis::cmd("INFO")
            .arg(section)
            .query_async(&mut connection)
            .await
            .map_err(|error| trouble_of(&error, tls))?;
        let names = names_in(&info);
        if names.iter().any(|name| own.contains(*name)) {
            return Err(BrokerError::OwnRedis);
        }
        if names.is_empty() {
            return Err(BrokerError::Protocol);
        }
    }
    Ok(connection)
}

/// Leads every name to the address that was checked.
struct Pinned(SocketAddr);

impl AsyncDNSResolver for Pinned {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async { Ok(Box::new(std::iter::once(self.0)) as Box<dyn Iterator<Item = SocketAddr> + Send>) })
    }
}

#[derive(Clone)]
struct Pushes(Arc<dyn Fn(PushInfo) + Send + Sync>);

impl redis::aio::AsyncPushSender for Pushes {
    fn send(&self, info: PushInfo) -> Result<(), redis::aio::SendError> {
        (self.0)(info);
        Ok(())
    }
}

/// The class of an error; its words may hold what nobody should read.
fn trouble_of(error: &RedisError, tls: bool) -> BrokerError {
    match error.kind() {
        ErrorKind::AuthenticationFailed => return BrokerError::Auth,
        ErrorKind::RESP3NotSupported => return BrokerError::Protocol,
        _ => {}
    }
    match error.code() {
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => return BrokerError::Auth,
        Some(_) => return BrokerError::Protocol,
        None => {}
    }
    if error.is_timeout() {
        return BrokerError::Timeout;
    }
    if error.is_connection_refusal() {
        return BrokerError::Refused;
    }
    let Some(io) = io_error_of(error) else {
        return match error.kind() {
            ErrorKind::Io | ErrorKind::Client if tls => BrokerError::Tls,
            _ if error.is_connection_dropped() => BrokerError::Broken,
            _ => BrokerError::Protocol,
        };
    };
    use std::io::ErrorKind as Io;
    match io.kind() {
        Io::NetworkUnreachable | Io::HostUnreachable | Io::AddrNotAvailable | Io::NetworkDown => BrokerError::Refused,
        Io::InvalidData | Io::UnexpectedEof if tls => BrokerError::Tls,
        Io::TimedOut => BrokerError::Timeout,
        _ => BrokerError::Broken,
    }
}

/// The system's error behind one of the library's, which shares it.
fn io_error_of(error: &RedisError) -> Option<&std::io::Error> {
    let shared = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    shared.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_their_hosts_checked() {
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

    #[test]
    fn an_error_has_a_class() {
        use std::io::{Error, ErrorKind::*};
        let class = |kind, tls| trouble_of(&RedisError::from(Error::from(kind)), tls);
        assert_eq!((class(InvalidData, true), class(InvalidData, false)), (BrokerError::Tls, BrokerError::Broken));
        assert_eq!(
            (class(ConnectionRefused, false), class(TimedOut, true), class(HostUnreachable, false)),
            (BrokerError::Refused, BrokerError::Timeout, BrokerError::Refused)
        );
        assert_eq!(
            (class(ConnectionReset, false), class(UnexpectedEof, true)),
            (BrokerError::Broken, BrokerError::Tls)
        );
    }

    #[test]
    fn where_no_broker_can_be_is_not_gone_to() {
        for address in ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "::ffff:169.254.169.254"] {
            assert!(is_nobodys(address.parse().unwrap()), "{address}");
        }
        assert!(!is_nobodys("127.0.0.1".parse().unwrap()) && !is_nobodys("10.0.0.7".parse().unwrap()));
    }
}
