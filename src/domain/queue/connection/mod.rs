//! Connections of the queue monitor: the tenant's request, checked, and the connection that comes of it.

mod broker;
mod options;

pub use broker::{BrokerError, BrokerHost};
pub use options::ConnectionOptions;

use crate::domain::{field_errors::FieldErrors, names, queue::Framework};

/// Maximum of a broker's address, in bytes.
const URL_BYTES: usize = 2_048;
/// Maximum of a prefix, separator or exchange, in bytes.
const PREFIX_BYTES: usize = 256;
/// Maximum number of queues that a connection names.
const MAX_QUEUES: usize = 200;
/// Maximum number of priority steps.
const MAX_PRIORITY_STEPS: usize = 64;

/// A connection as a tenant requests it, unchecked.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each is the field of that name of `NewConnection`")]
pub struct ConnectionRequest {
    pub name: Option<String>,
    pub framework: Option<String>,
    pub broker_url: Option<String>,
    pub options: ConnectionOptions,
}

/// A connection to create, checked.
#[derive(Debug, Clone)]
pub struct NewConnection {
    /// Name for people, 1 to 256 bytes.
    pub name: String,
    /// Framework of the jobs.
    pub framework: Framework,
    /// Address of the broker, as the tenant wrote it. Only its length is checked here; `monitor::check_url` checks the rest.
    pub broker_url: Option<String>,
    /// Settings of the watch.
    pub options: ConnectionOptions,
}

impl NewConnection {
    /// Checks a tenant's request. Each error is added to `errors`; where the name or the framework has one, the result is `None`.
    pub fn parse(request: ConnectionRequest, errors: &mut FieldErrors) -> Option<Self> {
        let name = errors.check(|| "name".into(), names::label(request.name));
        let framework = errors.check(|| "framework".into(), framework(request.framework));
        let broker_url = request.broker_url.filter(|url| !url.is_empty());
        if broker_url.as_ref().is_some_and(|url| url.len() > URL_BYTES) {
            errors.add("brokerUrl", format!("is longer than {URL_BYTES} bytes"));
        }
        check_options(&request.options, errors);
        if framework.is_some_and(|framework| framework != Framework::Celery) {
            refuse_celery_options(&request.options, errors);
        }
        Some(Self { name: name?, framework: framework?, broker_url, options: request.options })
    }
}

/// Frameworks whose brokers can be watched. Other frameworks push their events to any connection.
fn framework(name: Option<String>) -> Result<Framework, String> {
    match name.as_deref() {
        None => Err("is required".into()),
        Some("celery") => Ok(Framework::Celery),
        Some("bullmq") => Ok(Framework::BullMq),
        Some(_) => Err("must be \"celery\" or \"bullmq\"".into()),
    }
}

fn check_options(options: &ConnectionOptions, errors: &mut FieldErrors) {
    if options.queues.len() > MAX_QUEUES {
        errors.add("queues", format!("has {} names; at most {MAX_QUEUES} are allowed", options.queues.len()));
    }
    for (index, queue) in options.queues.iter().enumerate() {
        errors.check(|| format!("queues[{index}]"), names::label(Some(queue.clone())));
    }
    let texts = [
        ("keyPrefix", &options.key_prefix),
        ("fanoutPrefix", &options.fanout_prefix),
        ("separator", &options.separator),
        ("eventExchange", &options.event_exchange),
        ("controlExchange", &options.control_exchange),
    ];
    for (field, text) in texts {
        if text.as_ref().is_some_and(|text| text.len() > PREFIX_BYTES || text.contains('\0')) {
            errors.add(field, format!("must have at most {PREFIX_BYTES} bytes, and no character NUL"));
        }
    }
    let not_empty = [
        ("separator", &options.separator),
        ("eventExchange", &options.event_exchange),
        ("controlExchange", &options.control_exchange),
    ];
    for (field, text) in not_empty {
        if text.as_ref().is_some_and(String::is_empty) {
            errors.add(field, "must not be empty");
        }
    }
    if options.priority_steps.as_ref().is_some_and(|steps| steps.is_empty() || steps.len() > MAX_PRIORITY_STEPS) {
        errors.add("prioritySteps", format!("must have 1 to {MAX_PRIORITY_STEPS} steps"));
    }
}

fn refuse_celery_options(options: &ConnectionOptions, errors: &mut FieldErrors) {
    let celery_options = [
        ("exactConsumers", options.exact_consumers),
        ("fanoutPrefix", options.fanout_prefix.is_some()),
        ("fanoutPatterns", options.fanout_patterns.is_some()),
        ("prioritySteps", options.priority_steps.is_some()),
        ("separator", options.separator.is_some()),
        ("eventExchange", options.event_exchange.is_some()),
        ("controlExchange", options.control_exchange.is_some()),
    ];
    for (field, is_set) in celery_options {
        if is_set {
            errors.add(field, "is for the framework celery alone");
        }
    }
}

/// A connection as it is stored.
#[derive(Debug, Clone)]
pub struct Connection {
    /// UUID as text.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Framework of the jobs.
    pub framework: Framework,
    /// Creation time, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Address of the broker, encrypted. `None`: nothing is watched, and all events are pushed.
    pub sealed_url: Option<String>,
    /// Settings of the watch.
    pub options: ConnectionOptions,
}

/// Health of a connection's watch, as its watcher last reported it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchHealth {
    /// Whether a replica holds the lease now.
    pub watched: bool,
    /// Since when the broker has been connected without interruption, in milliseconds since the Unix epoch.
    pub connected_ms: Option<i64>,
    /// When the latest stored event happened, in milliseconds since the Unix epoch.
    pub last_event_ms: Option<i64>,
    /// Time from that event's happening to its being stored, in milliseconds.
    pub lag_ms: Option<i64>,
    /// Why the broker cannot be watched now, or shows nothing.
    pub error: Option<BrokerError>,
    /// ACL rule of a right that the broker's user lacks (`+sscan`): with [`BrokerError::Auth`] of one that watching needs, else of one without
    /// which some numbers are unknown.
    pub missing_right: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_celery_are_refused_for_other_frameworks() {
        let mut errors = FieldErrors::default();
        let options = ConnectionOptions {
            exact_consumers: true,
            event_exchange: Some("ev".into()),
            ..ConnectionOptions::default()
        };
        let request = ConnectionRequest {
            name: Some("n".into()),
            framework: Some("bullmq".into()),
            options,
            ..ConnectionRequest::default()
        };
        NewConnection::parse(request, &mut errors);
        let paths: Vec<_> = errors.finish(|| Some(())).unwrap_err().into_iter().map(|error| error.path).collect();
        assert_eq!(paths, ["exactConsumers", "eventExchange"]);
    }

    #[test]
    fn an_exchange_has_a_name() {
        let mut errors = FieldErrors::default();
        let options = ConnectionOptions {
            event_exchange: Some(String::new()),
            control_exchange: Some("x".repeat(PREFIX_BYTES + 1)),
            ..ConnectionOptions::default()
        };
        check_options(&options, &mut errors);
        let paths: Vec<_> = errors.finish(|| Some(())).unwrap_err().into_iter().map(|error| error.path).collect();
        assert_eq!(paths, ["controlExchange", "eventExchange"]);
    }
}
