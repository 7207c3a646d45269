//! Connections of the queue monitor: which queues are watched, over which broker, and how the watch goes.

use serde::{Deserialize, Serialize};

use crate::domain::{field_errors::FieldErrors, names, queue::Framework};

/// The most bytes of a broker's address.
const URL_BYTES: usize = 2_048;
/// The most bytes of a prefix or a separator.
const PREFIX_BYTES: usize = 256;
/// The most queues that a connection may name.
const QUEUES: usize = 200;
/// The most steps of priority: Redis brokers know 0 to 255.
const STEPS: usize = 64;

/// What kombu takes where nobody says otherwise.
const KOMBU_STEPS: [u8; 4] = [0, 3, 6, 9];
const KOMBU_SEPARATOR: &str = "\u{6}\u{16}";
/// What BullMQ takes where nobody says otherwise.
const BULLMQ_PREFIX: &str = "bull";

/// A broker that the operator lets tenants watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BrokerHost {
    /// A name or an address, in lower case, as the operator and the tenant both write it; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl BrokerHost {
    /// Reads `host:port`, with an IPv6 address in brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) => address.parse::<core::net::Ipv6Addr>().ok()?.to_string(),
            None if host.is_empty() || host.contains([':', '/', '@', ' ']) => return None,
            None => host.to_lowercase(),
        };
        Some(Self { host, port: port.parse().ok().filter(|port| *port > 0)? })
    }
}

/// How a connection is watched, beside its broker's address. Absent settings are those of the framework itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Only these queues; empty: all that are found.
    pub queues: Vec<String>,
    /// What stands before every key: kombu's `global_keyprefix`, BullMQ's `prefix`.
    pub key_prefix: Option<String>,
    /// Whether Celery's workers are asked which queues they consume.
    pub exact_consumers: bool,
    /// kombu's `fanout_prefix` as a text, empty for `False`; `{db}` stands for the database's number.
    pub fanout_prefix: Option<String>,
    /// kombu's `fanout_patterns`.
    pub fanout_patterns: Option<bool>,
    /// kombu's `priority_steps`.
    pub priority_steps: Option<Vec<u8>>,
    /// kombu's `sep`.
    pub separator: Option<String>,
}

impl Options {
    /// What stands before every key of the broker.
    #[must_use]
    pub fn prefix(&self, framework: Framework) -> &str {
        match (self.key_prefix.as_deref(), framework) {
            (Some(prefix), _) => prefix,
            (None, Framework::BullMq) => BULLMQ_PREFIX,
            (None, _) => "",
        }
    }

    /// What stands before a Celery broker's channels in the database of that number.
    #[must_use]
    pub fn channel_prefix(&self, database: i64) -> String {
        let fanout = self.fanout_prefix.as_deref().unwrap_or("/{db}.").replace("{db}", &database.to_string());
        format!("{}{fanout}", self.prefix(Framework::Celery))
    }

    /// What separates a queue's name from the step of its priority, and the parts of a binding.
    #[must_use]
    pub fn separator(&self) -> &str {
        self.separator.as_deref().unwrap_or(KOMBU_SEPARATOR)
    }

    /// The lists of a Celery queue: the plain name for step 0, and one more per further step.
    #[must_use]
    pub fn lists(&self, queue: &str) -> Vec<String> {
        let steps = self.priority_steps.as_deref().unwrap_or(&KOMBU_STEPS);
        let name = |step: &u8| if *step == 0 { String::new() } else { format!("{}{step}", self.separator()) };
        let mut lists: Vec<_> =
            steps.iter().map(|step| format!("{}{queue}{}", self.prefix(Framework::Celery), name(step))).collect();
        // Messages without a priority lie under the plain name, whatever the steps are.
        if !steps.contains(&0) {
            lists.push(format!("{}{queue}", self.prefix(Framework::Celery)));
        }
        lists
    }
}

/// What a tenant asks for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// What people call it.
    pub name: Option<String>,
    /// `celery` or `bullmq`.
    pub framework: Option<String>,
    /// Address of the broker.
    pub broker_url: Option<String>,
    /// What is watched, and how.
    pub options: Options,
}

/// A connection to make, checked.
#[derive(Debug, Clone)]
pub struct NewConnection {
    /// What people call it.
    pub name: String,
    /// Framework of its jobs.
    pub framework: Framework,
    /// As the tenant wrote it; whether it can be used, and may be, is for the collector to say.
    pub broker_url: Option<String>,
    /// What is watched, and how.
    pub options: Options,
}

impl NewConnection {
    /// Checks what a tenant asks for.
    ///
    /// # Errors
    /// Each error is added to `errors`; the answer is then `None`.
    pub fn parse(asked: Asked, errors: &mut FieldErrors) -> Option<Self> {
        let name = errors.check(|| "name".into(), names::label(asked.name));
        let framework = errors.check(|| "framework".into(), framework(asked.framework));
        let broker_url = asked.broker_url.filter(|url| !url.is_empty());
        if broker_url.as_ref().is_some_and(|url| url.len() > URL_BYTES) {
            errors.add("brokerUrl", format!("is longer than {URL_BYTES} bytes"));
        }
        let options = asked.options;
        if options.queues.len() > QUEUES {
            errors.add("queues", format!("has {} names; at most {QUEUES} are allowed", options.queues.len()));
        }
        for (at, queue) in options.queues.iter().enumerate() {
            errors.check(|| format!("queues[{at}]"), names::label(Some(queue.clone())));
        }
        for (field, text) in [
            ("keyPrefix", &options.key_prefix),
            ("fanoutPrefix", &options.fanout_prefix),
            ("separator", &options.separator),
        ] {
            if text.as_ref().is_some_and(|text| text.len() > PREFIX_BYTES || text.contains('\0')) {
                errors.add(field, format!("must have at most {PREFIX_BYTES} bytes, and no character NUL"));
            }
        }
        if options.separator.as_ref().is_some_and(String::is_empty) {
            errors.add("separator", "must not be empty");
        }
        if options.priority_steps.as_ref().is_some_and(|steps| steps.is_empty() || steps.len() > STEPS) {
            errors.add("prioritySteps", format!("must have 1 to {STEPS} steps"));
        }
        if let Some(framework) = framework
            && framework != Framework::Celery
        {
            let celery = [
                ("exactConsumers", options.exact_consumers),
                ("fanoutPrefix", options.fanout_prefix.is_some()),
                ("fanoutPatterns", options.fanout_patterns.is_some()),
                ("prioritySteps", options.priority_steps.is_some()),
                ("separator", options.separator.is_some()),
            ];
            celery
                .into_iter()
                .filter(|(_, set)| *set)
                .for_each(|(field, _)| errors.add(field, "is for the framework celery alone"));
        }
        Some(Self { name: name?, framework: framework?, broker_url, options })
    }
}

/// Those whose brokers can be watched; what sends its events by itself needs no other name here.
fn framework(name: Option<String>) -> Result<Framework, String> {
    match name.as_deref() {
        None => Err("is required".into()),
        Some("celery") => Ok(Framework::Celery),
        Some("bullmq") => Ok(Framework::BullMq),
        Some(_) => Err("must be \"celery\" or \"bullmq\"".into()),
    }
}

/// A connection as it stands.
#[derive(Debug, Clone)]
pub struct Connection {
    /// A UUID.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Framework of its jobs.
    pub framework: Framework,
    /// Milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// The broker's address, encrypted; without one nothing is watched, and events come by ingest alone.
    pub sealed_url: Option<String>,
    /// What is watched, and how.
    pub options: Options,
}

/// Why a broker cannot be watched: a class, never its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerError {
    /// Its address cannot be used: the secret with which it was encrypted is gone, or it is no address.
    Address,
    /// Its host is not among those that the operator allows.
    NotAllowed,
    /// It is Holdfast's own Redis.
    OwnRedis,
    /// Its name has no address.
    Dns,
    /// Nobody listens there, or the network does not reach it.
    Refused,
    /// No answer in time.
    Timeout,
    /// The credentials are wrong, or may not do what watching needs.
    Auth,
    /// The certificate is not one that this machine trusts for that name, or the other side speaks no TLS.
    Tls,
    /// It answers otherwise than a Redis that can be watched.
    Protocol,
    /// The connection broke.
    Broken,
}

impl BrokerError {
    /// The class as the API spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::NotAllowed => "not_allowed",
            Self::OwnRedis => "own_redis",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Broken => "broken",
        }
    }
}

/// How a watch goes, as its watcher last said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether a replica has the connection now.
    pub watched: bool,
    /// Since when the broker has been watched without a break; milliseconds since the Unix epoch.
    pub connected_ms: Option<i64>,
    /// When the last event happened that was taken in; milliseconds since the Unix epoch.
    pub event_ms: Option<i64>,
    /// How long after it happened it was taken in, in milliseconds.
    pub lag_ms: Option<i64>,
    /// What keeps it from being watched: the name of a [`BrokerError`].
    pub trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_their_port() {
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

    #[test]
    fn lists_and_channels_are_kombus() {
        let plain = Options::default();
        assert_eq!(plain.lists("q"), ["q", "q\u{6}\u{16}3", "q\u{6}\u{16}6", "q\u{6}\u{16}9"]);
        assert_eq!(plain.channel_prefix(3), "/3.");
        let own = Options {
            key_prefix: Some("acme:".into()),
            fanout_prefix: Some(String::new()),
            priority_steps: Some(vec![1, 5]),
            separator: Some(":".into()),
            ..Options::default()
        };
        assert_eq!(own.lists("q"), ["acme:q:1", "acme:q:5", "acme:q"]);
        assert_eq!(own.channel_prefix(0), "acme:");
    }

    #[test]
    fn what_is_celerys_is_refused_elsewhere() {
        let mut errors = FieldErrors::default();
        let options = Options { exact_consumers: true, separator: Some(":".into()), ..Options::default() };
        let asked = Asked { name: Some("n".into()), framework: Some("bullmq".into()), options, ..Asked::default() };
        NewConnection::parse(asked, &mut errors);
        let paths: Vec<_> = errors.finish(|| Some(())).unwrap_err().into_iter().map(|error| error.path).collect();
        assert_eq!(paths, ["exactConsumers", "separator"]);
    }
}
