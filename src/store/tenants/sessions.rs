//! Sessions: signed in with an API key, and ended by an idle timeout. Also what a tenant uses of its limits.

use std::time::Duration;

use crate::store::{Arg, Caller, Secret, Stamped, Store, StoreError, functions, tenants::api_keys::random_text};

/// Prefix of sessions' texts.
pub const SESSION_PREFIX: &str = "hf_sess_";
/// Idle timeout of a session, 8 hours.
pub(in crate::store) const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(8 * 3_600);
/// Longest life of a session, however much it is used: 7 days.
pub const SESSION_LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Sessions per tenant; one more evicts the one that would end first.
const MAX_SESSIONS: i64 = 1_000;

/// What a tenant uses of its tier's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Reservations held.
    pub held: i64,
    /// Event streams that keys and tokens opened.
    pub streams: i64,
    /// API keys.
    pub keys: i64,
    /// Registered resources; a pool of N counts as N.
    pub resources: i64,
    /// Registered companies.
    pub companies: i64,
    /// Connections of the queue monitor.
    pub connections: i64,
    /// Queue events that clients have pushed today.
    pub queue_events: i64,
}

impl Store {
    /// Opens a session; answers its text, which is stored nowhere.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: there may be a session whose text nobody knows; it ends by itself.
    pub async fn open_session(&self, caller: &Caller) -> Result<Stamped<String>, StoreError> {
        let text = random_text(SESSION_PREFIX)?;
        let secret = Secret::of(&text);
        let (idle_ms, longest_ms) = (SESSION_IDLE_TIMEOUT.as_millis() as i64, SESSION_LONGEST.as_millis() as i64);
        let args = [Arg::Text(secret.hash()), Arg::Number(idle_ms), Arg::Number(longest_ms), Arg::Number(MAX_SESSIONS)];
        let reply = self.ask(&functions::SESSION_CREATE, caller, &args).await?;
        let entry = redis::cmd("SET")
            .arg(self.namespace().credential_entry(secret.hash()))
            .arg(caller.tenant().id.as_str())
            .arg("EX")
            .arg(SESSION_LONGEST.as_secs())
            .to_owned();
        self.complete(&entry).await?;
        Ok(reply.stamped(text))
    }

    /// Ends a session; it is refused from now on. Costs nothing, so that the rate never keeps anybody from it.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn end_session(&self, session: &Caller) -> Result<Stamped<()>, StoreError> {
        let stamped = self.ask_at_cost(0, &functions::SESSION_END, session, &[]).await?.stamped(());
        if let Some(field) = session.credential() {
            let entry = self.namespace().credential_entry(field.trim_start_matches("s:"));
            self.complete(redis::cmd("DEL").arg(entry)).await?;
        }
        Ok(stamped)
    }

    /// What the tenant uses of its tier's limits.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn usage(&self, caller: &Caller) -> Result<Stamped<Usage>, StoreError> {
        let reply = self.ask(&functions::USAGE, caller, &[]).await?;
        let usage = reply.whole(|reader| {
            Some(Usage {
                held: reader.int()?,
                streams: reader.int()?,
                keys: reader.int()?,
                resources: reader.int()?,
                companies: reader.int()?,
                connections: reader.int()?,
                queue_events: reader.int()?,
            })
        })?;
        Ok(reply.stamped(usage))
    }
}
