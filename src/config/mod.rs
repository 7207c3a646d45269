//! Settings of a replica.
//!
//! A setting is read from the environment as `HOLDFAST_<NAME>`, or from `holdfast.toml` under the same name without the prefix, in lower
//! case or as in the environment; the environment wins. An error names the variable, its value (unless that is a secret) and the rule.

mod settings;
mod tiers;
mod values;

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

pub use settings::{help, names};
pub use values::origin_of;

use crate::domain::{
    access::DEFAULT_KNOWN_CREDENTIALS, names::TenantId, nearest::nearest, queue::connection::BrokerHost, tier::Tiers,
};
use settings::{OTHER_VARIABLES, SETTINGS};

/// Prefix of every variable.
const PREFIX: &str = "HOLDFAST_";
/// File with settings, in the working directory; it need not exist.
const FILE: &str = "holdfast.toml";

/// A secret: its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("(hidden)")
    }
}

/// Whether calls need a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Every call needs one.
    Required,
    /// Calls from this machine need none: they act for the tenant `default`.
    Open,
}

/// Origins whose pages may call from a browser (CORS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every origin.
    Any,
    /// These, as browsers write them.
    Listed(Vec<String>),
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// A broker that the operator lets tenants have watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedBroker {
    /// The only tenant that may; `None`: every tenant.
    pub tenant: Option<TenantId>,
    /// The broker.
    pub host: BrokerHost,
}

impl AllowedBroker {
    /// Parses `host:port` or `tenant=host:port`.
    fn parse(text: &str) -> Option<Self> {
        let (tenant, host) = match text.split_once('=') {
            Some((tenant, host)) => (Some(TenantId::parse(tenant)?), host),
            None => (None, text),
        };
        Some(Self { tenant, host: BrokerHost::parse(host)? })
    }
}

/// A replica's settings. The table in `settings.rs` says what each means, its default and its bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// `LISTEN`
    pub listen: SocketAddr,
    /// `REDIS_URL`; `None`: a private Redis.
    pub redis_url: Option<SecretText>,
    /// `PREFIX`
    pub prefix: String,
    /// `DATA_DIR`
    pub data_dir: PathBuf,
    /// `ADMIN_KEY`
    pub admin_key: Option<SecretText>,
    /// `METRICS_KEY`
    pub metrics_key: Option<SecretText>,
    /// `AUTH`
    pub auth: Auth,
    /// `SECRET_KEY`: one or more secrets, the current one first.
    pub secret_keys: Option<Vec<SecretText>>,
    /// `TIERS_FILE`
    pub tiers_file: Option<PathBuf>,
    /// What the file says over the defaults.
    pub tiers: Tiers,
    /// `PUBLIC_URL`, as an origin.
    pub public_origin: Option<String>,
    /// `CORS_ORIGINS`
    pub cors: Origins,
    /// `TRUSTED_PROXIES`
    pub trusted_proxies: Vec<IpNet>,
    /// `BROKER_HOSTS`
    pub brokers: Vec<AllowedBroker>,
    /// The hosts of `BROKER_HOSTS`, whichever tenant may have them watched.
    pub broker_hosts: Vec<BrokerHost>,
    /// `DRAIN_SECONDS`
    pub drain: Duration,
    /// `WORKERS`
    pub workers: usize,
    /// `KNOWN_CREDENTIALS`
    pub known_credentials: usize,
    /// `LOG`
    pub log: String,
    /// `LOG_FORMAT`; `None`: text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// `TLS_CERT`; there with `TLS_KEY` or not at all.
    tls_certificate: Option<PathBuf>,
    /// `TLS_KEY`; there with `TLS_CERT` or not at all.
    tls_key: Option<PathBuf>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Reads the settings of this process from the environment and the file.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn read() -> Result<Self, ConfigError> {
        let file = match std::fs::read_to_string(FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError(format!("{FILE} cannot be read: {error}"))),
        };
        let text = |text: std::ffi::OsString| text.into_string().ok();
        Self::parse(&file, std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))))
    }

    fn parse(file: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut given = parse_file(file)?;
        for (name, value) in environment {
            let Some(name) = name.strip_prefix(PREFIX) else { continue };
            if !is_known(name) && !is_service_link(name, &value) {
                return Err(ConfigError(format!("there is no setting {PREFIX}{name}{}", suggestion(name, PREFIX))));
            }
            if !value.is_empty() {
                given.insert(name.to_owned(), value);
            }
        }
        let mut config = Self::default();
        for setting in SETTINGS {
            if let Some(value) = given.get(setting.name).map(String::as_str).or(setting.default) {
                setting.apply(&mut config, value).map_err(ConfigError)?;
            }
        }
        config.check_combinations()?;
        Ok(config)
    }

    /// Checks what no setting can check by itself.
    fn check_combinations(&self) -> Result<(), ConfigError> {
        if self.auth == Auth::Open && !self.listen.ip().is_loopback() {
            return Err(ConfigError(format!(
                "{PREFIX}AUTH=open serves without credentials, so it needs a loopback address, and {PREFIX}LISTEN={} is none",
                self.listen
            )));
        }
        let alone = |name: &str, file: &Path, other: &str| {
            Err(ConfigError(format!("{PREFIX}{name}={} needs {PREFIX}{other} beside it", file.display())))
        };
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), None) => alone("TLS_CERT", certificate, "TLS_KEY"),
            (None, Some(key)) => alone("TLS_KEY", key, "TLS_CERT"),
            (None, None) | (Some(_), Some(_)) => Ok(()),
        }
    }

    /// Whether browsers come by https: to this replica, or to what stands in front of it.
    #[must_use]
    pub fn is_https(&self) -> bool {
        let is_public = self.public_origin.as_deref().is_some_and(|origin| origin.starts_with("https://"));
        is_public || self.tls().is_some()
    }

    /// Brokers that a tenant may have watched: those of all tenants, and its own.
    #[must_use]
    pub fn brokers_of(&self, tenant: &TenantId) -> Vec<BrokerHost> {
        let is_allowed = |broker: &&AllowedBroker| broker.tenant.as_ref().is_none_or(|of| of == tenant);
        self.brokers.iter().filter(is_allowed).map(|broker| broker.host.clone()).collect()
    }

    /// Files of the certificate chain and of its private key; `None`: plain HTTP is served.
    #[must_use]
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        self.tls_certificate.as_deref().zip(self.tls_key.as_deref())
    }
}

impl Default for Config {
    /// The values of settings that are absent. Those with a default in the table get it from there.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            redis_url: None,
            prefix: String::new(),
            data_dir: PathBuf::new(),
            admin_key: None,
            metrics_key: None,
            auth: Auth::Required,
            secret_keys: None,
            tiers_file: None,
            tiers: Tiers::default(),
            public_origin: None,
            cors: Origins::Listed(Vec::new()),
            trusted_proxies: Vec::new(),
            brokers: Vec::new(),
            broker_hosts: Vec::new(),
            drain: Duration::ZERO,
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            known_credentials: DEFAULT_KNOWN_CREDENTIALS,
            log: String::new(),
            log_format: None,
            tls_certificate: None,
            tls_key: None,
        }
    }
}

/// Whether a name without the prefix is a setting, or a variable of another program of ours.
fn is_known(name: &str) -> bool {
    names().any(|known| known == name) || OTHER_VARIABLES.contains(&name)
}

/// Whether a variable is one of those that Kubernetes and Docker set in every container beside a service that is called `holdfast`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_port = name == "PORT" || name.starts_with("PORT_");
    name.starts_with("SERVICE_HOST")
        || name.starts_with("SERVICE_PORT")
        || (is_port && (value.contains("://") || name.contains("_TCP") || name.contains("_UDP")))
}

/// What an error about an unknown name adds: the nearest setting, else all.
fn suggestion(name: &str, prefix: &str) -> String {
    let known: Vec<_> = names().collect();
    match nearest(name, &known) {
        Some(nearest) => format!("; did you mean {prefix}{nearest}?"),
        None => format!("; there are {}", known.join(", ")),
    }
}

/// Reads the settings of the file, by their names in upper case without the prefix.
fn parse_file(file: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let table: toml::Table = file.parse().map_err(|error| ConfigError(format!("{FILE}: {error}")))?;
    let mut given = BTreeMap::new();
    for (name, value) in table {
        let upper = name.to_uppercase();
        let known = upper.strip_prefix(PREFIX).unwrap_or(&upper).to_owned();
        if !is_known(&known) {
            let suggestion = suggestion(&known, "").to_lowercase();
            return Err(ConfigError(format!("{FILE}: there is no setting \"{name}\"{suggestion}")));
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

    fn config(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(name, value)| (format!("HOLDFAST_{name}"), (*value).to_owned()));
        Config::parse(file, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn without_settings_it_serves_on_loopback() {
        let read = config("", &[]).unwrap();
        assert_eq!(read.listen.to_string(), "127.0.0.1:8080");
        assert!(read.redis_url.is_none() && read.admin_key.is_none());
    }

    #[test]
    fn an_address_has_the_spellings_that_people_know() {
        for (text, address) in [
            ("localhost:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert_eq!(config("", &[("LISTEN", text)]).unwrap().listen.to_string(), address, "{text}");
        }
        for wrong in ["8080", "localhost", "localhost:", ":http", ":70000", "no host:8080", "a.invalid:8080"] {
            let error = config("", &[("LISTEN", wrong)]).unwrap_err();
            assert!(error.starts_with(&format!("HOLDFAST_LISTEN={wrong} must be")), "{error}");
        }
        let open = config("", &[("AUTH", "open"), ("LISTEN", ":8080")]).unwrap_err();
        assert!(open.contains("needs a loopback address"), "{open}");
        config("", &[("AUTH", "open"), ("LISTEN", "localhost:8080")]).unwrap();
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "listen = \"127.0.0.1:1\"\ndrain_seconds = 5\n";
        let read = config(file, &[("LISTEN", "127.0.0.1:2")]).unwrap();
        assert_eq!((read.listen.port(), read.drain.as_secs()), (2, 5));
    }

    #[test]
    fn an_error_names_the_variable_the_value_and_the_rule() {
        assert_eq!(
            config("", &[("DRAIN_SECONDS", "0")]).unwrap_err(),
            "HOLDFAST_DRAIN_SECONDS=0 must be a whole number from 1 to 3600"
        );
        assert_eq!(
            config("", &[("LISTEN", "here")]).unwrap_err(),
            "HOLDFAST_LISTEN=here must be an address and a port, like 127.0.0.1:8080, localhost:8080 or :8080"
        );
        assert!(config("", &[("DURABILITY", "durable")]).unwrap_err().contains("must be \"fast\""));
        assert_eq!(
            config("lisen = \"x\"", &[]).unwrap_err(),
            "holdfast.toml: there is no setting \"lisen\"; did you mean listen?"
        );
        assert!(config("", &[("TLS_CERT", "a.pem")]).unwrap_err().contains("HOLDFAST_TLS_KEY"));
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_known_one() {
        assert_eq!(
            config("", &[("REDISURL", "redis://h")]).unwrap_err(),
            "there is no setting HOLDFAST_REDISURL; did you mean HOLDFAST_REDIS_URL?"
        );
        assert!(config("", &[("COLOUR", "")]).unwrap_err().contains("there are LISTEN, REDIS_URL"));
        assert!(config("", &[("PORT", "8080")]).is_err(), "it is LISTEN that is meant");
        config("", &[("KEY", "a client's"), ("FENCE", "of holdfast run"), ("WORKERS", "")]).unwrap();
        // What Kubernetes sets in containers beside a service that is called holdfast.
        let links = [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "80"),
            ("SERVICE_PORT_HTTP", "80"),
            ("PORT", "tcp://10.0.0.1:80"),
            ("PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("PORT_80_TCP_PROTO", "tcp"),
            ("PORT_80_TCP_ADDR", "10.0.0.1"),
        ];
        config("", &links).unwrap();
    }

    #[test]
    fn a_prefix_has_plain_characters() {
        assert_eq!(
            (config("", &[]).unwrap().prefix, config("", &[("PREFIX", "a.B-1_")]).unwrap().prefix),
            ("hf".into(), "a.B-1_".into())
        );
        for wrong in ["a b", "a:b", "{a}", "*", &"a".repeat(33)] {
            assert!(config("", &[("PREFIX", wrong)]).unwrap_err().contains("HOLDFAST_PREFIX"), "{wrong}");
        }
    }

    #[test]
    fn open_mode_stays_on_this_machine() {
        assert_eq!(config("", &[("AUTH", "open"), ("LISTEN", "[::1]:1")]).unwrap().auth, Auth::Open);
        let error = config("", &[("AUTH", "open"), ("LISTEN", "0.0.0.0:8080")]).unwrap_err();
        assert!(error.contains("HOLDFAST_AUTH=open") && error.contains("HOLDFAST_LISTEN=0.0.0.0:8080"), "{error}");
        assert!(config("", &[("AUTH", "off")]).is_err());
    }

    #[test]
    fn lists_are_read_part_by_part() {
        let read = config(
            "",
            &[
                ("CORS_ORIGINS", "https://a.example, http://b.example:8080"),
                ("TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
            ],
        )
        .unwrap();
        assert_eq!(read.cors, Origins::Listed(vec!["https://a.example".into(), "http://b.example:8080".into()]));
        assert_eq!(
            read.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "192.0.2.7/32"]
        );
        let read = config("", &[("BROKER_HOSTS", "127.0.0.1:6379, Redis.example:6380,")]).unwrap();
        assert_eq!(
            read.broker_hosts.iter().map(|broker| (broker.host.as_str(), broker.port)).collect::<Vec<_>>(),
            [("127.0.0.1", 6379), ("redis.example", 6380)]
        );
        assert!(
            config("", &[("BROKER_HOSTS", "redis.example")])
                .unwrap_err()
                .contains("HOLDFAST_BROKER_HOSTS=redis.example must be")
        );
        assert_eq!(config("", &[("CORS_ORIGINS", "*")]).unwrap().cors, Origins::Any);
        let tenant = TenantId::random();
        let read = config("", &[("BROKER_HOSTS", &format!("all.example:1,{tenant}=own.example:2"))]).unwrap();
        let brokers = |tenant: &TenantId| read.brokers_of(tenant).into_iter().map(|host| host.port).collect::<Vec<_>>();
        assert_eq!((brokers(&tenant), brokers(&TenantId::random())), (vec![1, 2], vec![1]));
        assert!(config("", &[("BROKER_HOSTS", "somebody=own.example:2")]).is_err());
        for url in ["https://Locks.example:443", "https://locks.example/", "https://locks.example."] {
            let read = config("", &[("PUBLIC_URL", url)]).unwrap();
            assert_eq!(
                (read.public_origin.as_deref(), read.is_https()),
                (Some("https://locks.example"), true),
                "{url}"
            );
        }
        assert!(!config("", &[("PUBLIC_URL", "http://locks.example")]).unwrap().is_https());
        for (name, value) in [
            ("CORS_ORIGINS", "a.example"),
            ("CORS_ORIGINS", "https://a.example/x"),
            ("TRUSTED_PROXIES", "here"),
            ("PUBLIC_URL", "here"),
            ("PUBLIC_URL", "https://host.example/holdfast/"),
            ("PUBLIC_URL", "https://host.example/?x"),
        ] {
            assert!(config("", &[(name, value)]).unwrap_err().contains(value));
        }
    }

    #[test]
    fn a_secret_is_in_no_error_and_in_no_log() {
        let error = config("", &[("ADMIN_KEY", "hunter2")]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = config("", &[("SECRET_KEY", "a-secret-that-is-long,hunter2")]).unwrap_err();
        assert!(!error.contains("hunter2") && !error.contains("a-secret"), "{error}");
        let read =
            config("", &[("ADMIN_KEY", "hunter2-hunter2-hunter2"), ("REDIS_URL", "redis://:hunter2@host")]).unwrap();
        assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
    }

    #[test]
    fn every_row_accepts_its_own_default_and_the_help_shows_it() {
        let help = settings::help();
        for setting in SETTINGS {
            assert!(help.contains(&format!("HOLDFAST_{}", setting.name)), "{}", setting.name);
            if let Some(default) = setting.default {
                config("", &[(setting.name, default)]).unwrap();
            }
        }
        assert!(help.contains("1 to 3600") && help.contains("16 to 10000000"), "{help}");
    }
}
