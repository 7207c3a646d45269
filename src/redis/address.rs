//! The address of our Redis: `REDIS_URL`, parsed.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings};

/// The address of our Redis: one server, a primary that sentinels name, or a cluster.
#[derive(Debug, Clone)]
pub enum Address {
    /// `redis://`, `rediss://`, `redis+unix://`: one server.
    One(ConnectionInfo),
    /// `redis+sentinel://h1,h2,h3/name`: the server that the sentinels name as the primary.
    Sentinel {
        /// The sentinels' addresses.
        sentinels: Vec<ConnectionAddr>,
        /// The name under which the sentinels monitor the primary.
        name: String,
        /// The user at the primary.
        username: Option<String>,
        /// The password at the primary.
        password: Option<String>,
    },
    /// `redis+cluster://h1,h2,h3`: seed nodes, which name the others.
    Cluster(Vec<ConnectionInfo>),
}

/// Why a `REDIS_URL` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl Address {
    /// Parses a `REDIS_URL`.
    ///
    /// # Errors
    /// The rule that it breaks; never the URL itself, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        if let Some(rest) = url.strip_prefix("redis+cluster://") {
            let (credentials, hosts) = Credentials::split(rest.trim_end_matches('/'));
            let nodes = hosts.split(',').map(|host| Ok(credentials.of(server(&format!("redis://{host}"))?)));
            return nodes.collect::<Result<_, AddressError>>().map(Self::Cluster);
        }
        if let Some(rest) = url.strip_prefix("redis+sentinel://") {
            let (Credentials { username, password }, rest) = Credentials::split(rest);
            let (hosts, name) = rest.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or_else(|| {
                AddressError("the name of the primary is missing: redis+sentinel://h1,h2,h3/name".into())
            })?;
            let sentinels = hosts.split(',').map(sentinel).collect::<Result<_, _>>()?;
            return Ok(Self::Sentinel { sentinels, name: name.into(), username, password });
        }
        server(url).map(Self::One)
    }

    /// The command with which scripts publish. In a cluster `SPUBLISH` reaches only the nodes of the channel's shard; `PUBLISH` would reach all.
    #[must_use]
    pub fn publish_command(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "SPUBLISH",
            Self::One(_) | Self::Sentinel { .. } => "PUBLISH",
        }
    }
}

/// The forms of a `REDIS_URL`, for messages of errors.
const FORMS: &str = "use redis://host:port, rediss://host:port, redis+unix:///path, redis+sentinel://h1,h2,h3/name or redis+cluster://h1,h2,h3";

/// One server by its URL, with the settings that all our connections have.
fn server(url: &str) -> Result<ConnectionInfo, AddressError> {
    let info = url.into_connection_info().map_err(|error| AddressError(format!("{error}; {FORMS}")))?;
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("holdfast", env!("CARGO_PKG_VERSION"));
    Ok(info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// One sentinel by `host:port`; the default port is 26379.
fn sentinel(host: &str) -> Result<ConnectionAddr, AddressError> {
    let (host, port) = host.rsplit_once(':').unwrap_or((host, "26379"));
    let port = port.parse().map_err(|_| AddressError(format!("\"{port}\" is no port; {FORMS}")))?;
    Ok(ConnectionAddr::Tcp(host.into(), port))
}

/// User and password in front of the hosts: `user:password@`.
struct Credentials {
    username: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// Splits them off what follows the scheme.
    fn split(rest: &str) -> (Self, &str) {
        let Some((user, rest)) = rest.rsplit_once('@') else { return (Self { username: None, password: None }, rest) };
        let (name, password) = user.split_once(':').map_or((user, None), |(name, password)| (name, Some(password)));
        let username = (!name.is_empty()).then(|| name.to_owned());
        (Self { username, password: password.map(str::to_owned) }, rest)
    }

    /// The same server with these credentials.
    fn of(&self, server: ConnectionInfo) -> ConnectionInfo {
        let mut settings = server.redis_settings().clone();
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        server.set_redis_settings(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stand_in_front_of_the_hosts() {
        let Ok(Address::Sentinel { sentinels, name, username, password }) =
            Address::parse("redis+sentinel://me:p@ss@a:1,b/primary")
        else {
            panic!("sentinels")
        };
        assert_eq!(sentinels, [ConnectionAddr::Tcp("a".into(), 1), ConnectionAddr::Tcp("b".into(), 26_379)]);
        assert_eq!((&*name, username.as_deref(), password.as_deref()), ("primary", Some("me"), Some("p@ss")));

        let Ok(Address::Cluster(nodes)) = Address::parse("redis+cluster://:secret@a:1,b:2/") else { panic!("nodes") };
        let settings: Vec<_> = nodes.iter().map(ConnectionInfo::redis_settings).collect();
        assert_eq!(nodes[1].addr(), &ConnectionAddr::Tcp("b".into(), 2));
        assert!(settings.iter().all(|node| node.username().is_none() && node.password() == Some("secret")));
    }

    #[test]
    fn an_error_names_the_rule_and_not_the_url() {
        for wrong in ["http://secret@a", "redis+sentinel://secret@a", "redis+sentinel://secret@a:b/name"] {
            let error = Address::parse(wrong).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("redis") && !error.contains("secret")), "{wrong}");
        }
    }
}
