//! Every setting: its name, unit, default and bounds.
//!
//! A setting is read from the environment as `HOLDFAST_<NAME>`, or from `holdfast.toml` under the same name without the prefix, in
//! lower case or as in the environment; the environment wins. A fault names the variable, the value and the rule.

mod tiers;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use crate::{
    domain::{queue::connection::BrokerHost, tier::Tiers},
    store::{Address, REMEMBERED},
    trust::SecretKeys,
};

const PREFIX: &str = "HOLDFAST_";
/// Read from the working directory when it is there.
const FILE: &str = "holdfast.toml";

/// Name and meaning of each setting, as `holdfast serve --help` lists them.
pub const SETTINGS: &[(&str, &str)] = &[
    ("LISTEN", "address and port to serve on; 127.0.0.1:8080"),
    (
        "REDIS_URL",
        "redis://, rediss://, redis+unix://, redis+sentinel://h1,h2,h3/name or redis+cluster://h1,h2,h3; without it a private redis-server",
    ),
    ("DATA_DIR", "where the private redis-server keeps its files; ./data"),
    (
        "ADMIN_KEY",
        "opens /api/v1/admin with the header X-Admin-Key; at least 16 bytes; without it those routes answer 401",
    ),
    ("AUTH", "required, or open: one tenant without credentials, on a loopback address only"),
    (
        "SECRET_KEY",
        "signs tokens and encrypts stored secrets; at least 16 bytes; a comma list: the first is used, the others still count",
    ),
    ("TIERS_FILE", "a TOML file with other numbers for the tiers"),
    ("PUBLIC_URL", "the address that browsers use; with https the session cookie is marked Secure"),
    ("CORS_ORIGINS", "origins whose pages may call with a key, separated by commas, or *; none"),
    ("TRUSTED_PROXIES", "networks whose X-Forwarded-For counts, separated by commas; none"),
    ("BROKER_HOSTS", "brokers that tenants may have watched, as host:port, separated by commas; none"),
    ("DURABILITY", "fast: Redis acknowledges from memory"),
    ("DRAIN_SECONDS", "after SIGTERM, how long requests and streams may take to end, 1 to 3600; 30"),
    ("WORKERS", "runtimes that serve, one thread each, 1 to 256; as many as cores"),
    (
        "KNOWN_CREDENTIALS",
        "credentials that a replica remembers, 2 kB each, 16 to 10000000; 4096; where more call by turns, each costs Redis two look-ups",
    ),
    ("LOG", "what is logged, as tracing's directives; info"),
    ("LOG_FORMAT", "json or text; text on a terminal, else json"),
    ("TLS_CERT", "certificate chain in PEM, to serve https; with TLS_KEY"),
    ("TLS_KEY", "its private key in PEM"),
];
/// Settings of parts that other processes of the same environment use, or that come with later versions: known, and not read here.
const ELSEWHERE: &[&str] = &["URL", "KEY"];

/// A text that is never shown.
#[derive(Clone)]
pub struct Hidden(String);

impl Hidden {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("(hidden)")
    }
}

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Whoever has a credential.
    Required,
    /// Everybody on this machine, as the one tenant `default`.
    Open,
}

/// Whose pages may call us from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    Any,
    /// These, as browsers write them.
    Listed(Vec<String>),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// A replica's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `LISTEN`
    pub listen: SocketAddr,
    /// `REDIS_URL`; `None`: a private Redis.
    pub redis: Option<Address>,
    /// `DATA_DIR`
    pub data_dir: PathBuf,
    /// `ADMIN_KEY`
    pub admin_key: Option<Hidden>,
    /// `AUTH`
    pub auth: Auth,
    /// `SECRET_KEY`
    pub secret_keys: Option<SecretKeys>,
    /// `TIERS_FILE` over the defaults
    pub tiers: Tiers,
    /// `PUBLIC_URL`, as an origin
    pub public_origin: Option<String>,
    /// `CORS_ORIGINS`
    pub cors: Origins,
    /// `TRUSTED_PROXIES`
    pub trusted_proxies: Vec<IpNet>,
    /// `BROKER_HOSTS`
    pub broker_hosts: Vec<BrokerHost>,
    /// `DRAIN_SECONDS`
    pub drain: Duration,
    /// `WORKERS`
    pub workers: usize,
    /// `KNOWN_CREDENTIALS`
    pub known_credentials: usize,
    /// `LOG`
    pub log: String,
    /// `LOG_FORMAT`
    pub log_format: Option<LogFormat>,
    /// `TLS_CERT` and `TLS_KEY`
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// The first fault, with the variable, its value (unless it is a secret) and the rule.
    pub fn read() -> Result<Self, ConfigError> {
        let file = match std::fs::read_to_string(FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError(format!("{FILE} cannot be read: {error}"))),
        };
        Self::of(
            &file,
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    fn of(file: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut given = of_file(file)?;
        given.extend(
            environment
                .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
                .filter(|(_, value)| !value.is_empty()),
        );
        let text = |name: &str| given.get(name).map(String::as_str);
        let fault = |name: &str, rule: &str| ConfigError(format!("{PREFIX}{name}={} {rule}", text(name).unwrap_or("")));
        let number = |name: &str, default: u64, bounds: std::ops::RangeInclusive<u64>| match text(name) {
            None => Ok(default),
            Some(given) => match given.parse() {
                Ok(number) if bounds.contains(&number) => Ok(number),
                _ => Err(fault(name, &format!("must be a whole number from {} to {}", bounds.start(), bounds.end()))),
            },
        };

        let listen = text("LISTEN")
            .unwrap_or("127.0.0.1:8080")
            .parse()
            .map_err(|_| fault("LISTEN", "must be an address and a port, like 127.0.0.1:8080"))?;
        let redis = text("REDIS_URL")
            .map(Address::parse)
            .transpose()
            .map_err(|error| ConfigError(format!("{PREFIX}REDIS_URL cannot be used: {error}")))?;
        let admin_key = text("ADMIN_KEY").map(|key| Hidden(key.into()));
        if admin_key.as_ref().is_some_and(|key| key.expose().len() < 16) {
            return Err(ConfigError(format!("{PREFIX}ADMIN_KEY is too short: it must have at least 16 bytes")));
        }
        let auth = match text("AUTH") {
            None | Some("required") => Auth::Required,
            Some("open") => Auth::Open,
            Some(_) => return Err(fault("AUTH", "must be \"required\" or \"open\"")),
        };
        let listen: SocketAddr = listen;
        if auth == Auth::Open && !listen.ip().is_loopback() {
            return Err(fault(
                "AUTH",
                &format!(
                    "serves without credentials, so it needs a loopback address, and {PREFIX}LISTEN={listen} is none"
                ),
            ));
        }
        let secret_keys = text("SECRET_KEY").map(|list| {
            let rule = || {
                ConfigError(format!(
                    "{PREFIX}SECRET_KEY is too short: it must have at least {} bytes, and so must each of a comma list",
                    SecretKeys::BYTES
                ))
            };
            SecretKeys::parse(list).ok_or_else(rule)
        });
        let tiers = match text("TIERS_FILE") {
            None => Tiers::default(),
            Some(path) => {
                let file = std::fs::read_to_string(path)
                    .map_err(|error| fault("TIERS_FILE", &format!("cannot be read: {error}")))?;
                tiers::parse(&file).map_err(|error| fault("TIERS_FILE", &format!("cannot be used: {error}")))?
            }
        };
        let public_origin = text("PUBLIC_URL").map(|url| {
            origin_of(url).ok_or_else(|| fault("PUBLIC_URL", "must be an address like https://locks.example.org"))
        });
        let cors = match text("CORS_ORIGINS") {
            Some("*") => Origins::Any,
            list => {
                let rule = || {
                    fault("CORS_ORIGINS", "must be * or a list of origins like https://app.example.org, without paths")
                };
                let origins =
                    listed(list).map(|origin| origin_of(origin).filter(|read| read == origin).ok_or_else(rule));
                Origins::Listed(origins.collect::<Result<_, _>>()?)
            }
        };
        let network =
            |text: &str| text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into())).ok();
        let rule = || fault("TRUSTED_PROXIES", "must be a list of networks like 10.0.0.0/8,192.0.2.7");
        let trusted_proxies =
            listed(text("TRUSTED_PROXIES")).map(|text| network(text).ok_or_else(rule)).collect::<Result<_, _>>()?;
        let rule = || fault("BROKER_HOSTS", "must be a list of brokers like redis.example.org:6379,[::1]:6379");
        let broker_hosts = listed(text("BROKER_HOSTS"))
            .map(|text| BrokerHost::parse(text).ok_or_else(rule))
            .collect::<Result<_, _>>()?;
        if !matches!(text("DURABILITY"), None | Some("fast")) {
            return Err(fault(
                "DURABILITY",
                "must be \"fast\": the other guarantees are not built yet, and none is pretended",
            ));
        }
        let log_format = match text("LOG_FORMAT") {
            None => None,
            Some("json") => Some(LogFormat::Json),
            Some("text") => Some(LogFormat::Text),
            Some(_) => return Err(fault("LOG_FORMAT", "must be \"json\" or \"text\"")),
        };
        let tls = match (text("TLS_CERT"), text("TLS_KEY")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (Some(_), None) => return Err(fault("TLS_CERT", "needs HOLDFAST_TLS_KEY beside it")),
            (None, Some(_)) => return Err(fault("TLS_KEY", "needs HOLDFAST_TLS_CERT beside it")),
        };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Ok(Self {
            listen,
            redis,
            data_dir: text("DATA_DIR").unwrap_or("data").into(),
            admin_key,
            auth,
            secret_keys: secret_keys.transpose()?,
            tiers,
            public_origin: public_origin.transpose()?,
            cors,
            trusted_proxies,
            broker_hosts,
            drain: Duration::from_secs(number("DRAIN_SECONDS", 30, 1..=3_600)?),
            workers: number("WORKERS", cores, 1..=256)? as usize,
            known_credentials: number("KNOWN_CREDENTIALS", REMEMBERED as u64, 16..=10_000_000)? as usize,
            log: text("LOG").unwrap_or("info").into(),
            log_format,
            tls,
        })
    }
}

/// The parts of a comma list.
fn listed(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|part| !part.is_empty())
}

/// The origin of a URL as browsers write it: scheme, host in lower case, and the port unless it is the scheme's own.
fn origin_of(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    let (scheme, host) = (url.scheme_str()?, url.host()?.to_lowercase());
    let own = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some(match url.port_u16() {
        Some(port) if port != own => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

/// The settings of `holdfast.toml`, by their names in upper case without the prefix.
fn of_file(file: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let table: toml::Table = file.parse().map_err(|error| ConfigError(format!("{FILE}: {error}")))?;
    let mut given = BTreeMap::new();
    for (name, value) in table {
        let upper = name.to_uppercase();
        let known = upper.strip_prefix(PREFIX).unwrap_or(&upper).to_owned();
        if !SETTINGS.iter().any(|(name, _)| *name == known) && !ELSEWHERE.contains(&known.as_str()) {
            let names: Vec<_> = SETTINGS.iter().map(|(name, _)| name.to_lowercase()).collect();
            return Err(ConfigError(format!("{FILE}: there is no setting \"{name}\"; there are {}", names.join(", "))));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            _ => return Err(ConfigError(format!("{FILE}: \"{name}\" must be a text or a whole number"))),
        };
        given.insert(known, text);
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(name, value)| (format!("HOLDFAST_{name}"), (*value).to_owned()));
        Config::of(file, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_word_it_serves_on_loopback() {
        let config = of("", &[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert!(config.redis.is_none() && config.admin_key.is_none());
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "listen = \"127.0.0.1:1\"\ndrain_seconds = 5\n";
        let config = of(file, &[("LISTEN", "127.0.0.1:2")]).unwrap();
        assert_eq!((config.listen.port(), config.drain.as_secs()), (2, 5));
    }

    #[test]
    fn a_fault_names_the_variable_the_value_and_the_rule() {
        assert_eq!(
            of("", &[("DRAIN_SECONDS", "0")]).unwrap_err(),
            "HOLDFAST_DRAIN_SECONDS=0 must be a whole number from 1 to 3600"
        );
        assert_eq!(
            of("", &[("LISTEN", "here")]).unwrap_err(),
            "HOLDFAST_LISTEN=here must be an address and a port, like 127.0.0.1:8080"
        );
        assert!(of("", &[("DURABILITY", "durable")]).unwrap_err().contains("must be \"fast\""));
        assert!(of("lisen = \"x\"", &[]).unwrap_err().contains("there is no setting \"lisen\""));
        assert!(of("", &[("TLS_CERT", "a.pem")]).unwrap_err().contains("HOLDFAST_TLS_KEY"));
    }

    #[test]
    fn open_mode_stays_on_this_machine() {
        assert_eq!(of("", &[("AUTH", "open"), ("LISTEN", "[::1]:1")]).unwrap().auth, Auth::Open);
        let fault = of("", &[("AUTH", "open"), ("LISTEN", "0.0.0.0:8080")]).unwrap_err();
        assert!(fault.contains("HOLDFAST_AUTH=open") && fault.contains("HOLDFAST_LISTEN=0.0.0.0:8080"), "{fault}");
        assert!(of("", &[("AUTH", "off")]).is_err());
    }

    #[test]
    fn lists_are_read_part_by_part() {
        let config = of(
            "",
            &[
                ("CORS_ORIGINS", "https://a.example, http://b.example:8080"),
                ("TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
            ],
        )
        .unwrap();
        assert_eq!(config.cors, Origins::Listed(vec!["https://a.example".into(), "http://b.example:8080".into()]));
        assert_eq!(
            config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "192.0.2.7/32"]
        );
        let config = of("", &[("BROKER_HOSTS", "127.0.0.1:6379, Redis.example:6380,")]).unwrap();
        assert_eq!(
            config.broker_hosts.iter().map(|broker| (broker.host.as_str(), broker.port)).collect::<Vec<_>>(),
            [("127.0.0.1", 6379), ("redis.example", 6380)]
        );
        assert!(
            of("", &[("BROKER_HOSTS", "redis.example")])
                .unwrap_err()
                .contains("HOLDFAST_BROKER_HOSTS=redis.example must be")
        );
        assert_eq!(of("", &[("CORS_ORIGINS", "*")]).unwrap().cors, Origins::Any);
        assert_eq!(
            of("", &[("PUBLIC_URL", "https://Locks.example:443/x")]).unwrap().public_origin.unwrap(),
            "https://locks.example"
        );
        for (name, value) in [
            ("CORS_ORIGINS", "a.example"),
            ("CORS_ORIGINS", "https://a.example/x"),
            ("TRUSTED_PROXIES", "here"),
            ("PUBLIC_URL", "here"),
        ] {
            assert!(of("", &[(name, value)]).unwrap_err().contains(value));
        }
    }

    #[test]
    fn a_secret_is_never_in_a_fault() {
        let fault = of("", &[("ADMIN_KEY", "hunter2")]).unwrap_err();
        assert!(!fault.contains("hunter2"), "{fault}");
        let fault = of("", &[("SECRET_KEY", "a-secret-that-is-long,hunter2")]).unwrap_err();
        assert!(!fault.contains("hunter2") && !fault.contains("a-secret"), "{fault}");
        let fault = of("", &[("REDIS_URL", "http://:hunter2@host")]).unwrap_err();
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}
