//! The table of settings: name, meaning, default, bounds and parser of each in one row.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use crate::{
    config::{AllowedBroker, Auth, Config, LogFormat, Origins, PREFIX, SecretText, tiers, values},
    domain::access::MIN_SECRET_BYTES,
};

/// One setting.
pub(super) struct Setting {
    /// Name without the prefix.
    pub(super) name: &'static str,
    /// Meaning, as `holdfast serve --help` shows it; bounds and default are added.
    help: &'static str,
    /// Value where none is given, read as any other; `None`: what [`Config::default`] has.
    pub(super) default: Option<&'static str>,
    /// How a value gets into the settings.
    value: Value,
}

/// Kind of a setting's value, with what stores it.
enum Value {
    /// A text. A failure gives the rule: "must be ...".
    Text(fn(&mut Config, &str) -> Result<(), String>),
    /// A text that no error may show.
    Secret(fn(&mut Config, &str) -> Result<(), String>),
    /// A whole number within bounds.
    Number(RangeInclusive<u64>, fn(&mut Config, u64)),
}

/// Variables with the prefix that other programs of the same environment read: known, and ignored here.
pub(super) const OTHER_VARIABLES: &[&str] = &[
    // Of the command line as a client.
    "URL",
    "KEY",
    "KEY_FILE",
    "PROFILE",
    "TOKEN",
    // What `holdfast run` gives its command, which may be `holdfast serve`.
    "RESOURCE",
    "SLOT",
    "FENCE",
    "REQUESTER",
    "EXPIRES_AT",
];

/// Every setting, in the order of the help.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "LISTEN",
        help: "address and port to serve on, also localhost:8080, or :8080 for every IPv4 address",
        default: Some("127.0.0.1:8080"),
        value: Value::Text(|config, text| {
            let rule = || "must be an address and a port, like 127.0.0.1:8080, localhost:8080 or :8080".to_owned();
            store(&mut config.listen, values::socket_address(text).ok_or_else(rule))
        }),
    },
    Setting {
        name: "REDIS_URL",
        help: "redis://, rediss://, redis+unix://, redis+sentinel://h1,h2,h3/name or redis+cluster://h1,h2,h3; without it a private redis-server",
        default: None,
        // The store reads it, since it alone knows Redis.
        value: Value::Secret(|config, url| store(&mut config.redis_url, Ok(Some(SecretText(url.into()))))),
    },
    Setting {
        name: "PREFIX",
        help: "what keys and channels in Redis begin with; several installations on one Redis each have their own, or a database number each",
        default: Some("hf"),
        value: Value::Text(|config, prefix| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            let is_prefix = (1..=MAX_PREFIX).contains(&prefix.len()) && prefix.bytes().all(is_plain);
            let rule = || format!("must have 1 to {MAX_PREFIX} letters, digits, or _ . -");
            store(&mut config.prefix, is_prefix.then(|| prefix.to_owned()).ok_or_else(rule))
        }),
    },
    Setting {
        name: "DATA_DIR",
        help: "directory of the private redis-server's files",
        default: Some("data"),
        value: Value::Text(|config, path| store(&mut config.data_dir, Ok(path.into()))),
    },
    Setting {
        name: "ADMIN_KEY",
        help: "opens /api/v1/admin with the header X-Admin-Key; at least 16 bytes; without it those routes answer 401",
        default: None,
        value: Value::Secret(|config, key| store(&mut config.admin_key, secret(key).map(Some))),
    },
    Setting {
        name: "METRICS_KEY",
        help: "what /metrics asks for, as Authorization: Bearer; at least 16 bytes; without it /metrics is open, and names no tenant",
        default: None,
        value: Value::Secret(|config, key| store(&mut config.metrics_key, secret(key).map(Some))),
    },
    Setting {
        name: "AUTH",
        help: "required, or open: one tenant without credentials, on a loopback address only",
        default: Some("required"),
        value: Value::Text(|config, text| {
            let auth = match text {
                "required" => Ok(Auth::Required),
                "open" => Ok(Auth::Open),
                _ => Err("must be \"required\" or \"open\"".into()),
            };
            store(&mut config.auth, auth)
        }),
    },
    Setting {
        name: "SECRET_KEY",
        help: "signs tokens and encrypts stored secrets; needed with REDIS_URL where no ADMIN_KEY is set, the same on every replica; at least 16 bytes; a comma list: the first is used, the others still verify and decrypt",
        default: None,
        value: Value::Secret(|config, list| {
            let secrets = list.split(',').map(secret).collect::<Result<_, _>>();
            store(
                &mut config.secret_keys,
                secrets.map(Some).map_err(|rule| format!("{rule}, and so must each of a comma list")),
            )
        }),
    },
    Setting {
        name: "TIERS_FILE",
        help: "a TOML file that changes the limits of the tiers",
        default: None,
        value: Value::Text(|config, path| {
            let file = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
            config.tiers_file = Some(path.into());
            store(&mut config.tiers, tiers::parse(&file).map_err(|error| format!("cannot be used: {error}")))
        }),
    },
    Setting {
        name: "PUBLIC_URL",
        help: "the address that browsers use; without a path; with https the session cookie is bound to this host and marked Secure",
        default: None,
        value: Value::Text(|config, url| {
            let rule = || {
                "must be an address like https://locks.example.org, without a path: pages and links begin at /"
                    .to_owned()
            };
            let has_path = url.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty()) || url.contains(['?', '#']);
            let origin = values::origin_of(url).filter(|_| !has_path);
            store(&mut config.public_origin, origin.map(Some).ok_or_else(rule))
        }),
    },
    Setting {
        name: "CORS_ORIGINS",
        help: "origins whose pages may call with a key, separated by commas, or *; none",
        default: None,
        value: Value::Text(|config, list| {
            let rule = "must be * or a list of origins like https://app.example.org, without paths";
            let origin = |text: &str| values::origin_of(text).filter(|origin| origin == text);
            let origins =
                if list == "*" { Ok(Origins::Any) } else { values::list(list, rule, origin).map(Origins::Listed) };
            store(&mut config.cors, origins)
        }),
    },
    Setting {
        name: "TRUSTED_PROXIES",
        help: "networks whose X-Forwarded-For counts, separated by commas; none",
        default: None,
        value: Value::Text(|config, list| {
            let rule = "must be a list of networks like 10.0.0.0/8,192.0.2.7";
            store(&mut config.trusted_proxies, values::list(list, rule, values::network))
        }),
    },
    Setting {
        name: "BROKER_HOSTS",
        help: "brokers that tenants may have watched, as host:port, or tenant=host:port for one tenant alone, separated by commas; none",
        default: None,
        value: Value::Text(|config, list| {
            let rule = "must be a list of brokers like redis.example.org:6379,[::1]:6379";
            store(&mut config.brokers, values::list(list, rule, AllowedBroker::parse))?;
            config.broker_hosts = config.brokers.iter().map(|broker| broker.host.clone()).collect();
            Ok(())
        }),
    },
    Setting {
        name: "DURABILITY",
        help: "fast: Redis acknowledges from memory",
        default: Some("fast"),
        value: Value::Text(|_, text| match text {
            "fast" => Ok(()),
            _ => Err("must be \"fast\": the other guarantees are not built yet, and none is pretended".into()),
        }),
    },
    Setting {
        name: "DRAIN_SECONDS",
        help: "time for requests and streams to end after SIGTERM, in seconds",
        default: Some("30"),
        value: Value::Number(1..=3_600, |config, seconds| config.drain = Duration::from_secs(seconds)),
    },
    Setting {
        name: "WORKERS",
        help: "runtimes that serve, one thread each; as many as cores",
        default: None,
        value: Value::Number(1..=256, |config, workers| config.workers = workers as usize),
    },
    Setting {
        name: "KNOWN_CREDENTIALS",
        help: "credentials in a replica's cache, 2 kB each; a call of one that was evicted costs Redis two look-ups; 4096",
        default: None,
        value: Value::Number(16..=10_000_000, |config, credentials| config.known_credentials = credentials as usize),
    },
    Setting {
        name: "LOG",
        help: "what is logged, as tracing's directives",
        default: Some("info"),
        value: Value::Text(|config, directives| store(&mut config.log, Ok(directives.into()))),
    },
    Setting {
        name: "LOG_FORMAT",
        help: "json or text; text on a terminal, else json",
        default: None,
        value: Value::Text(|config, text| {
            let format = match text {
                "json" => Ok(Some(LogFormat::Json)),
                "text" => Ok(Some(LogFormat::Text)),
                _ => Err("must be \"json\" or \"text\"".into()),
            };
            store(&mut config.log_format, format)
        }),
    },
    Setting {
        name: "TLS_CERT",
        help: "certificate chain in PEM, to serve https; with TLS_KEY",
        default: None,
        value: Value::Text(|config, path| store(&mut config.tls_certificate, Ok(Some(path.into())))),
    },
    Setting {
        name: "TLS_KEY",
        help: "its private key in PEM",
        default: None,
        value: Value::Text(|config, path| store(&mut config.tls_key, Ok(Some(path.into())))),
    },
];

/// Longest `PREFIX`, in characters: each key begins with it.
const MAX_PREFIX: usize = 32;

/// A secret that people choose.
fn secret(text: &str) -> Result<SecretText, String> {
    let text = text.trim();
    if text.len() < MIN_SECRET_BYTES {
        return Err(format!("is too short: it must have at least {MIN_SECRET_BYTES} bytes"));
    }
    let distinct = text.bytes().collect::<BTreeSet<_>>().len();
    if distinct < MIN_SECRET_CHARACTERS {
        return Err(format!(
            "is too easy to guess: it must have at least {MIN_SECRET_CHARACTERS} different characters"
        ));
    }
    Ok(SecretText(text.into()))
}

/// Fewest different characters of a secret: 16 random hexadecimal digits have fewer with a chance below 1 in 1,000.
const MIN_SECRET_CHARACTERS: usize = 6;

/// Puts a parsed value where it belongs.
fn store<T>(to: &mut T, parsed: Result<T, String>) -> Result<(), String> {
    *to = parsed?;
    Ok(())
}

impl Setting {
    /// Parses a value into the settings.
    ///
    /// # Errors
    /// The variable, the value unless it is a secret, and the rule.
    pub(super) fn apply(&self, config: &mut Config, value: &str) -> Result<(), String> {
        let name = self.name;
        match &self.value {
            Value::Text(set) => set(config, value).map_err(|rule| format!("{PREFIX}{name}={value} {rule}")),
            Value::Secret(set) => set(config, value).map_err(|rule| format!("{PREFIX}{name} {rule}")),
            Value::Number(bounds, set) => match value.parse() {
                Ok(number) if bounds.contains(&number) => {
                    set(config, number);
                    Ok(())
                }
                _ => Err(format!(
                    "{PREFIX}{name}={value} must be a whole number from {} to {}",
                    bounds.start(),
                    bounds.end()
                )),
            },
        }
    }
}

/// Names of all settings, without the prefix, in the order of the help.
pub fn names() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.name)
}

/// The settings with meaning, bounds and default, a line each.
#[must_use]
pub fn help() -> String {
    let line = |setting: &Setting| {
        let bounds = match &setting.value {
            Value::Number(bounds, _) => format!(", {} to {}", bounds.start(), bounds.end()),
            Value::Text(_) | Value::Secret(_) => String::new(),
        };
        let default = setting.default.map(|default| format!("; {default}")).unwrap_or_default();
        format!("  {PREFIX}{:<17} {}{bounds}{default}", setting.name, setting.help)
    };
    format!("Settings:\n{}", SETTINGS.iter().map(line).collect::<Vec<_>>().join("\n"))
}
