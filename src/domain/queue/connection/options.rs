//! Settings of a watch, with the defaults of each framework.

use serde::{Deserialize, Serialize};

use crate::domain::queue::Framework;

/// kombu's default `priority_steps`.
const KOMBU_PRIORITY_STEPS: [u8; 4] = [0, 3, 6, 9];
/// kombu's default `sep`.
const KOMBU_SEPARATOR: &str = "\u{6}\u{16}";
/// kombu's default `fanout_prefix`.
const KOMBU_FANOUT_PREFIX: &str = "/{db}.";
/// Celery's default `event_exchange`.
const CELERY_EVENT_EXCHANGE: &str = "celeryev";
/// Celery's default `control_exchange`.
const CELERY_CONTROL_EXCHANGE: &str = "celery";
/// BullMQ's default `prefix`.
const BULLMQ_PREFIX: &str = "bull";

/// How a connection is watched, beside its broker's address. An absent setting means the framework's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionOptions {
    /// Names of the queues to watch; empty: every queue found.
    pub queues: Vec<String>,
    /// Prefix of every key: kombu's `global_keyprefix`, BullMQ's `prefix`.
    pub key_prefix: Option<String>,
    /// Whether Celery's workers are asked which queues they consume. This writes to the broker.
    pub exact_consumers: bool,
    /// kombu's `fanout_prefix` as text, empty for `False`; `{db}` stands for the database's number.
    pub fanout_prefix: Option<String>,
    /// kombu's `fanout_patterns`.
    pub fanout_patterns: Option<bool>,
    /// kombu's `priority_steps`.
    pub priority_steps: Option<Vec<u8>>,
    /// kombu's `sep`.
    pub separator: Option<String>,
    /// Celery's `event_exchange`.
    pub event_exchange: Option<String>,
    /// Celery's `control_exchange`.
    pub control_exchange: Option<String>,
}

impl ConnectionOptions {
    /// Prefix of every key of the broker.
    #[must_use]
    pub fn prefix(&self, framework: Framework) -> &str {
        match (self.key_prefix.as_deref(), framework) {
            (Some(prefix), _) => prefix,
            (None, Framework::BullMq) => BULLMQ_PREFIX,
            (None, Framework::Celery | Framework::Sidekiq) => "",
        }
    }

    /// Exchange to which Celery's events are published.
    #[must_use]
    pub fn event_exchange(&self) -> &str {
        self.event_exchange.as_deref().unwrap_or(CELERY_EVENT_EXCHANGE)
    }

    /// Exchange through which Celery's workers are controlled, a "pidbox" in kombu's words.
    #[must_use]
    pub fn pidbox(&self) -> String {
        format!("{}.pidbox", self.control_exchange.as_deref().unwrap_or(CELERY_CONTROL_EXCHANGE))
    }

    /// Pub/sub channel of an exchange of a Celery broker, in the database of that number.
    #[must_use]
    pub fn channel(&self, database: i64, exchange: &str) -> String {
        let fanout_prefix = self.fanout_prefix.as_deref().unwrap_or(KOMBU_FANOUT_PREFIX);
        format!("{}{}{exchange}", self.prefix(Framework::Celery), fanout_prefix.replace("{db}", &database.to_string()))
    }

    /// Key of the bindings of an exchange of a Celery broker.
    #[must_use]
    pub fn bindings_key(&self, exchange: &str) -> String {
        format!("{}_kombu.binding.{exchange}", self.prefix(Framework::Celery))
    }

    /// Separator between a queue's name and its priority step, and between the parts of a binding.
    #[must_use]
    pub fn separator(&self) -> &str {
        self.separator.as_deref().unwrap_or(KOMBU_SEPARATOR)
    }

    /// Keys of a Celery queue's lists: one per priority step, the plain name for step 0.
    #[must_use]
    pub fn list_keys(&self, queue: &str) -> Vec<String> {
        let base = format!("{}{queue}", self.prefix(Framework::Celery));
        let steps = self.priority_steps.as_deref().unwrap_or(&KOMBU_PRIORITY_STEPS);
        let key = |step: &u8| if *step == 0 { base.clone() } else { format!("{base}{}{step}", self.separator()) };
        let mut keys: Vec<_> = steps.iter().map(key).collect();
        // Messages without a priority are under the plain name, whatever the steps are.
        if !steps.contains(&0) {
            keys.push(base);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_keys_and_channels_are_those_of_kombu() {
        let plain = ConnectionOptions::default();
        assert_eq!(plain.list_keys("q"), ["q", "q\u{6}\u{16}3", "q\u{6}\u{16}6", "q\u{6}\u{16}9"]);
        assert_eq!(plain.channel(3, plain.event_exchange()), "/3.celeryev");
        assert_eq!(plain.bindings_key(&plain.pidbox()), "_kombu.binding.celery.pidbox");
        let custom = ConnectionOptions {
            key_prefix: Some("acme:".into()),
            fanout_prefix: Some(String::new()),
            priority_steps: Some(vec![1, 5]),
            separator: Some(":".into()),
            event_exchange: Some("shop.ev".into()),
            control_exchange: Some("shop".into()),
            ..ConnectionOptions::default()
        };
        assert_eq!(custom.list_keys("q"), ["acme:q:1", "acme:q:5", "acme:q"]);
        assert_eq!(custom.channel(0, custom.event_exchange()), "acme:shop.ev");
        assert_eq!(custom.bindings_key(&custom.pidbox()), "acme:_kombu.binding.shop.pidbox");
    }
}
