//! The address of our Redis: `REDIS_URL`, parsed.

use std::{fmt, net::Ipv6Addr};

use percent_encoding::percent_decode_str;
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
        /// The number of the database at the primary.
        database: i64,
        /// User and password at the primary.
        primary_credentials: Credentials,
        /// User and password at the sentinels.
        sentinel_credentials: Credentials,
    },
    /// `redis+cluster://h1,h2,h3`: seed nodes, which name the others.
    Cluster(Vec<ConnectionInfo>),
}

/// User and password, each if there is one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user; without one it is Redis' `default`.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("(hidden)")
    }
}

/// Why a `REDIS_URL` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

/// The forms of a `REDIS_URL`, for messages of errors.
const FORMS: &str = "use redis://host:port/database, rediss://host:port/database, redis+unix:///path, redis+sentinel://h1,h2,h3/name/database or \
                     redis+cluster://h1,h2,h3, each with user:password@ before the host";
/// Port of a sentinel where none is named.
const SENTINEL_PORT: u16 = 26_379;
/// Port of a node where none is named.
const REDIS_PORT: u16 = 6_379;

impl Address {
    /// Parses a `REDIS_URL`. User, password and the name of a primary are percent-decoded, in every form.
    ///
    /// # Errors
    /// The rule that it breaks; never the URL itself, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        if let Some(rest) = url.strip_prefix("redis+cluster://") {
            return Self::cluster(&Parts::split(rest)?);
        }
        if let Some(rest) = url.strip_prefix("redis+sentinel://") {
            return Self::sentinel(&Parts::split(rest)?);
        }
        server(url).map(Self::One)
    }

    fn cluster(parts: &Parts<'_>) -> Result<Self, AddressError> {
        if !["", "0"].contains(&parts.path) {
            return Err(fault("a cluster has one database, 0, so nothing stands behind its hosts"));
        }
        parts.no_parameters_but(&[])?;
        let node = |(host, port): (String, u16)| {
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            let server = server(&format!("redis://{host}:{port}"))?;
            let mut settings = server.redis_settings().clone();
            if let Some(username) = &parts.credentials.username {
                settings = settings.set_username(username);
            }
            if let Some(password) = &parts.credentials.password {
                settings = settings.set_password(password);
            }
            Ok(server.set_redis_settings(settings))
        };
        let nodes = parts.hosts(REDIS_PORT)?.into_iter().map(node).collect::<Result<_, AddressError>>();
        nodes.map(Self::Cluster)
    }

    fn sentinel(parts: &Parts<'_>) -> Result<Self, AddressError> {
        let (name, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        if name.is_empty() {
            return Err(fault("the name of the primary is missing: redis+sentinel://h1,h2,h3/name"));
        }
        parts.no_parameters_but(&["db", SENTINEL_USERNAME, SENTINEL_PASSWORD])?;
        let database = match (database, parts.parameter("db")?) {
            ("", None) => 0,
            ("", Some(database)) => number_of_database(&database)?,
            (database, None) => number_of_database(database)?,
            (_, Some(_)) => return Err(fault("the database is named twice: behind the primary's name and as db")),
        };
        let sentinels = parts.hosts(SENTINEL_PORT)?.into_iter().map(|(host, port)| ConnectionAddr::Tcp(host, port));
        Ok(Self::Sentinel {
            sentinels: sentinels.collect(),
            name: decoded(name)?,
            database,
            primary_credentials: parts.credentials.clone(),
            sentinel_credentials: Credentials {
                username: parts.parameter(SENTINEL_USERNAME)?,
                password: parts.parameter(SENTINEL_PASSWORD)?,
            },
        })
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> i64 {
        match self {
            Self::One(server) => server.redis_settings().db(),
            Self::Sentinel { database, .. } => *database,
            Self::Cluster(_) => 0,
        }
    }

    /// The command with which scripts publish. In a cluster `SPUBLISH` reaches only the nodes of the channel's shard; `PUBLISH` would reach all.
    #[must_use]
    pub fn publish_command(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "SPUBLISH",
            Self::One(_) | Self::Sentinel { .. } => "PUBLISH",
        }
    }

    /// The command with which channels are subscribed.
    #[must_use]
    pub fn subscribe_command(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "SSUBSCRIBE",
            Self::One(_) | Self::Sentinel { .. } => "SUBSCRIBE",
        }
    }
}

/// The address without user and password.
impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(server) => {
                let (address, database) = (server.addr(), self.database());
                match address {
                    ConnectionAddr::Unix(path) => write!(to, "redis+unix://{}", path.display())?,
                    ConnectionAddr::TcpTls { .. } => write!(to, "rediss://{address}")?,
                    _ => write!(to, "redis://{address}")?,
                }
                if database == 0 { Ok(()) } else { write!(to, "/{database}") }
            }
            Self::Sentinel { sentinels, name, database, .. } => {
                write!(to, "redis+sentinel://{}/{name}", list(sentinels.iter()))?;
                if *database == 0 { Ok(()) } else { write!(to, "/{database}") }
            }
            Self::Cluster(nodes) => write!(to, "redis+cluster://{}", list(nodes.iter().map(ConnectionInfo::addr))),
        }
    }
}

fn list<'a>(addresses: impl Iterator<Item = &'a ConnectionAddr>) -> String {
    addresses.map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Parameters with the user and the password of sentinels that have their own.
const SENTINEL_USERNAME: &str = "sentinel_username";
/// As [`SENTINEL_USERNAME`].
const SENTINEL_PASSWORD: &str = "sentinel_password";

fn fault(rule: impl Into<String>) -> AddressError {
    AddressError(rule.into())
}

/// One server by its URL, with the settings that all our connections have.
fn server(url: &str) -> Result<ConnectionInfo, AddressError> {
    if url.contains("#insecure") {
        return Err(fault(
            "#insecure is not supported: certificates are always verified; SSL_CERT_FILE names a CA of your own",
        ));
    }
    let info = url.into_connection_info().map_err(|error| fault(format!("{error}; {FORMS}")))?;
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("holdfast", env!("CARGO_PKG_VERSION"));
    Ok(info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn number_of_database(text: &str) -> Result<i64, AddressError> {
    let number = text.parse().ok().filter(|number| (0..=i64::from(i32::MAX)).contains(number));
    number.ok_or_else(|| fault("the database behind the name of the primary must be a number, like /name/2"))
}

/// A part of a URL, percent-decoded.
fn decoded(text: &str) -> Result<String, AddressError> {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if text.match_indices('%').any(|(at, _)| !is_escape(&text[at + 1..])) {
        return Err(fault(
            "a % in a user, password or name is not followed by two hexadecimal digits; write % itself as %25",
        ));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| fault("what is percent-encoded in a user, password or name is not UTF-8"))
}

/// A URL behind its scheme: `user:password@hosts/path?parameters`.
struct Parts<'a> {
    credentials: Credentials,
    hosts: &'a str,
    /// Without slashes at its ends.
    path: &'a str,
    parameters: &'a str,
}

impl<'a> Parts<'a> {
    fn split(rest: &'a str) -> Result<Self, AddressError> {
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') || parameters.contains('@') {
            return Err(fault(
                "an @ stands behind a / or ?: characters of a password that mean something in an address are written like %40 for @, %2F for /, \
                 %3F for ?",
            ));
        }
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let credentials = user.map(Credentials::parse).transpose()?.unwrap_or_default();
        Ok(Self { credentials, hosts, path: path.trim_matches('/'), parameters })
    }

    /// Hosts and ports of a comma list; addresses of IPv6 without their brackets.
    fn hosts(&self, default_port: u16) -> Result<Vec<(String, u16)>, AddressError> {
        self.hosts.split(',').map(|host| host_and_port(host.trim(), default_port)).collect()
    }

    /// The value of a parameter.
    fn parameter(&self, name: &str) -> Result<Option<String>, AddressError> {
        let mut pairs = self.parameters.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| decoded(value)).transpose()
    }

    fn no_parameters_but(&self, known: &[&str]) -> Result<(), AddressError> {
        let mut names = self.parameters.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next());
        if names.all(|name| name.is_some_and(|name| known.contains(&name))) {
            return Ok(());
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(fault(format!("a parameter behind ? is not known; this form has {known}")))
    }
}

impl Credentials {
    /// Parses `user:password`, `user` or `:password`.
    fn parse(text: &str) -> Result<Self, AddressError> {
        let (username, password) = text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
        let username = if username.is_empty() { None } else { Some(decoded(username)?) };
        Ok(Self { username, password: password.map(decoded).transpose()? })
    }
}

fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), AddressError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| fault("a [ of an IPv6 address is not closed"))?;
            host.parse::<Ipv6Addr>().map_err(|_| fault("what stands in [] is no IPv6 address"))?;
            (host, port)
        }
        None if text.matches(':').count() > 1 => return Err(fault("an IPv6 address stands in brackets: [::1]:6379")),
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    if host.is_empty() {
        return Err(fault(format!("a host is missing; {FORMS}")));
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(port) => port.parse().map_err(|_| fault(format!("what follows the : of a host is no port; {FORMS}")))?,
        None => return Err(fault(format!("after ] comes : and a port; {FORMS}"))),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> ConnectionAddr {
        ConnectionAddr::Tcp(host.into(), port)
    }

    fn named(username: &str, password: &str) -> Credentials {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Credentials { username: some(username), password: some(password) }
    }

    #[test]
    fn credentials_are_percent_decoded_in_every_form() {
        let (user, password) = ("a%40b", "p%40ss%2Fw%3Ard%251");
        let expected = named("a@b", "p@ss/w:rd%1");
        let of = |info: &ConnectionInfo| Credentials {
            username: info.redis_settings().username().map(str::to_owned),
            password: info.redis_settings().password().map(str::to_owned),
        };
        let parse = |form: &str| Address::parse(&form.replace("USER", &format!("{user}:{password}"))).unwrap();
        for form in ["redis://USER@h", "rediss://USER@h/3"] {
            let Address::One(server) = parse(form) else { panic!("{form}") };
            assert_eq!(of(&server), expected);
        }
        let unix = format!("redis+unix:///run/redis.sock?db=2&user={user}&pass={password}");
        let Ok(Address::One(server)) = Address::parse(&unix) else { panic!("{unix}") };
        assert_eq!((of(&server), server.redis_settings().db()), (expected.clone(), 2));
        let Address::Cluster(nodes) = parse("redis+cluster://USER@h,[::1]:7001/") else { panic!() };
        assert!(nodes.iter().all(|node| of(node) == expected));
        assert_eq!(nodes.iter().map(|node| node.addr().clone()).collect::<Vec<_>>()[0], tcp("h", 6_379));
        let Address::Sentinel { primary_credentials, sentinel_credentials, .. } = parse("redis+sentinel://USER@h/name")
        else {
            panic!()
        };
        assert_eq!((primary_credentials, sentinel_credentials), (expected, named("", "")));
    }

    #[test]
    fn sentinels_have_names_databases_and_passwords_of_their_own() {
        let url = "redis+sentinel://me:p@ss@a:1,b,[::1]:7000,[fe80::2]/my%20house/2?sentinel_password=s%26t&sentinel_username=u";
        let Ok(Address::Sentinel { sentinels, name, database, primary_credentials, sentinel_credentials }) =
            Address::parse(url)
        else {
            panic!("sentinels")
        };
        assert_eq!(sentinels, [tcp("a", 1), tcp("b", 26_379), tcp("::1", 7_000), tcp("fe80::2", 26_379)]);
        assert_eq!((&*name, database), ("my house", 2));
        assert_eq!((primary_credentials, sentinel_credentials), (named("me", "p@ss"), named("u", "s&t")));
        let address = Address::parse("redis+sentinel://a/house?db=5").unwrap();
        assert_eq!((address.database(), address.to_string()), (5, "redis+sentinel://a:26379/house/5".into()));
    }

    #[test]
    fn what_is_shown_of_an_address_holds_no_secret() {
        for (url, shown) in [
            ("redis://u:hunter2@h:1/3", "redis://h:1/3"),
            ("rediss://:hunter2@h", "rediss://h:6379"),
            ("redis+unix:///run/redis.sock?pass=hunter2", "redis+unix:///run/redis.sock"),
            ("redis+cluster://:hunter2@a,b:2", "redis+cluster://a:6379,b:2"),
            ("redis+sentinel://:hunter2@a/n?sentinel_password=hunter2", "redis+sentinel://a:26379/n"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.to_string(), shown);
        }
    }

    #[test]
    fn an_error_names_the_rule_and_not_the_url() {
        for (wrong, rule) in [
            ("http://secret@a", "redis://"),
            ("redis+sentinel://secret@a", "the name of the primary is missing"),
            ("redis+sentinel://secret@a:b/name", "no port"),
            ("redis+sentinel://:se/cret@a:1/name", "%2F"),
            ("redis+sentinel://:secret%1@a/name", "%25"),
            ("redis+cluster://:secret%zz@a", "%25"),
            ("redis+sentinel://secret@[::1/name", "not closed"),
            ("redis+sentinel://secret@[x]/name", "no IPv6 address"),
            ("redis+sentinel://secret@::1:26379/name", "brackets"),
            ("redis+sentinel://secret@a,,b/name", "a host is missing"),
            ("redis+sentinel://secret@a/name/x", "must be a number"),
            ("redis+sentinel://secret@a/name/1?db=1", "twice"),
            ("redis+sentinel://secret@a/name?secret=1", "not known"),
            ("redis+cluster://secret@a/2", "one database"),
            ("rediss://secret@a/#insecure", "#insecure"),
        ] {
            let error = Address::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(rule) && !error.contains("secret"), "{wrong}: {error}");
        }
    }
}
