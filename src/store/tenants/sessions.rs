//! Sessions: somebody signed in with an API key, for a while.

use std::time::Duration;

use crate::store::{Arg, Caller, Secret, Stamped, Store, StoreError, keys::directory, scripts, tenants::random_text};

/// How the text of a session begins.
pub const SESSION_PREFIX: &str = "hf_sess_";
/// A session that is not used ends after this long.
pub(in crate::store) const SESSION_IDLE: Duration = Duration::from_secs(8 * 3_600);
/// A session ends after this long however much it is used.
pub const SESSION_LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How many sessions a tenant has at most; beyond it the one that would end first ends.
const MOST: i64 = 1_000;

/// How much of what its tier limits a tenant uses.
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
    /// Signs in; answers the session's text, which is never known again.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: there may be a session whose text nobody knows; it ends by itself.
    pub async fn open_session(&self, caller: &Caller) -> Result<Stamped<String>, StoreError> {
        let text = random_text(SESSION_PREFIX)?;
        let secret = Secret::of(&text);
        let (idle_ms, longest_ms) = (SESSION_IDLE.as_millis() as i64, SESSION_LONGEST.as_millis() as i64);
        let args = [Arg::Text(secret.hash()), Arg::Number(idle_ms), Arg::Number(longest_ms), Arg::Number(MOST)];
        let reply = self.ask(&scripts::SESSION_CREATE, caller, &args).await?;
        let entry = redis::cmd("SET")
            .arg(directory(secret.hash()))
            .arg(caller.tenant().id.as_str())
            .arg("EX")
            .arg(SESSION_LONGEST.as_secs())
            .to_owned();
        self.link.send(&entry).await?;
        Ok(reply.told(text))
    }

    /// Signs out: the session is refused from now on. It costs nothing, so that everybody can leave.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn end_session(&self, session: &Caller) -> Result<Stamped<()>, StoreError> {
        let told = self.ask_at_cost(0, &scripts::SESSION_END, session, &[]).await?.told(());
        if let Some(field) = session.credential() {
            self.link.send(redis::cmd("DEL").arg(directory(field.trim_start_matches("s:")))).await?;
        }
        Ok(told)
    }

    /// How much of what its tier limits the tenant uses.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn usage(&self, caller: &Caller) -> Result<Stamped<Usage>, StoreError> {
        let reply = self.ask(&scripts::USAGE, caller, &[]).await?;
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
        Ok(reply.told(usage))
    }
}
