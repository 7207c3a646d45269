//! Where Redis is, as `REDIS_URL` says it.

use redis::{IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings};

/// Where Redis is, as `REDIS_URL` says it.
#[derive(Debug, Clone)]
pub enum Address {
    /// `redis://`, `rediss://`, `redis+unix://`: one server.
    One(redis::ConnectionInfo),
    /// `redis+sentinel://h1,h2,h3/name`: whoever the sentinels say is the primary.
    Sentinel {
        /// The sentinels' addresses.
        sentinels: Vec<redis::ConnectionAddr>,
        /// The name that they know the primary by.
        name: String,
        /// For the primary.
        username: Option<String>,
        /// For the primary.
        password: Option<String>,
    },
    /// `redis+cluster://h1,h2,h3`: the nodes from which the rest is found.
    Cluster(Vec<redis::ConnectionInfo>),
}

/// Why a `REDIS_URL` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl Address {
    /// Reads a `REDIS_URL`.
    ///
    /// # Errors
    /// What is wrong with it; never the URL itself, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        const FORMS: &str = "use redis://host:port, rediss://host:port, redis+unix:///path, redis+sentinel://h1,h2,h3/name or redis+cluster://h1,h2,h3";
        let one = |url: &str| {
            let info = url.into_connection_info().map_err(|error| AddressError(format!("{error}; {FORMS}")))?;
            let redis = info
                .redis_settings()
                .clone()
                .set_protocol(ProtocolVersion::RESP3)
                .set_lib_name("holdfast", env!("CARGO_PKG_VERSION"));
            Ok(info.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
        };
        let split = |rest: &str| -> (Option<String>, Option<String>, String) {
            match rest.rsplit_once('@') {
                Some((user, rest)) => {
                    let (name, password) =
                        user.split_once(':').map_or((user, None), |(name, password)| (name, Some(password.to_owned())));
                    ((!name.is_empty()).then(|| name.to_owned()), password, rest.to_owned())
                }
                None => (None, None, rest.to_owned()),
            }
        };
        if let Some(rest) = url.strip_prefix("redis+cluster://") {
            let (user, password, hosts) = split(rest.trim_end_matches('/'));
            let nodes = hosts
                .split(',')
                .map(|host| {
                    let mut info = one(&format!("redis://{host}"))?;
                    let mut redis = info.redis_settings().clone();
                    if let Some(user) = &user {
                        redis = redis.set_username(user);
                    }
                    if let Some(password) = &password {
                        redis = redis.set_password(password);
                    }
                    info = info.set_redis_settings(redis);
                    Ok(info)
                })
                .collect::<Result<Vec<_>, AddressError>>()?;
            return Ok(Self::Cluster(nodes));
        }
        if let Some(rest) = url.strip_prefix("redis+sentinel://") {
            let (username, password, rest) = split(rest);
            let (hosts, name) = rest.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or_else(|| {
                AddressError("the name of the primary is missing: redis+sentinel://h1,h2,h3/name".into())
            })?;
            let sentinels = hosts
                .split(',')
                .map(|host| {
                    let (host, port) = host.rsplit_once(':').unwrap_or((host, "26379"));
                    let port = port.parse().map_err(|_| AddressError(format!("\"{port}\" is no port; {FORMS}")))?;
                    Ok(redis::ConnectionAddr::Tcp(host.into(), port))
                })
                .collect::<Result<Vec<_>, AddressError>>()?;
            return Ok(Self::Sentinel { sentinels, name: name.into(), username, password });
        }
        one(url).map(Self::One)
    }

    /// The command with which scripts publish: in a cluster only the shard's own nodes need to hear.
    pub(in crate::store) fn publish_command(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "SPUBLISH",
            Self::One(_) | Self::Sentinel { .. } => "PUBLISH",
        }
    }
}
