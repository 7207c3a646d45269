//! API keys of tenants.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    domain::access::{ApiKey, Scopes},
    store::{Arg, Caller, Limited, Secret, Stamped, Store, StoreError, TenantHandle, codec::Reader, functions},
};

/// Prefix of API keys.
pub const KEY_PREFIX: &str = "hf_live_";

/// An API key that was just created: the only moment at which its text is known.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The key without its secret.
    pub key: ApiKey,
    /// The secret: `hf_live_...`.
    pub text: String,
}

/// The list of a tenant's keys.
pub type KeyPage = Vec<ApiKey>;

/// The outcome of a key's removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRemoval {
    /// The key was removed.
    Removed,
    /// There is no such key.
    NotFound,
    /// Refused: it is the last key with the scope `admin`.
    LastAdmin,
}

/// The text of a new credential: a prefix and 192 random bits in base64.
pub(in crate::store) fn random_text(prefix: &str) -> Result<String, StoreError> {
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random)
        .map_err(|error| StoreError::UnexpectedReply { function: "random", got: error.to_string() })?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// Decodes a packed key: its hash, and the key without its secret.
pub(in crate::store) fn read_key(id: &str, packed: &[u8]) -> Option<(String, ApiKey)> {
    let mut reader = Reader::new(packed);
    let hash = reader.text()?.into();
    let label = reader.text()?.into();
    let scopes = Scopes::parse(reader.text()?.split(',')).ok()?;
    Some((hash, ApiKey { id: id.into(), label, scopes, created_ms: reader.int()?, used_ms: None }))
}

impl Store {
    /// Creates an API key of the caller's tenant.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: there may be a key whose text nobody knows; the list shows it.
    pub async fn create_key(
        &self,
        caller: &Caller,
        label: &str,
        scopes: Scopes,
    ) -> Result<Stamped<Limited<NewKey>>, StoreError> {
        let (id, text) = (Uuid::new_v4().to_string(), random_text(KEY_PREFIX)?);
        let secret = Secret::of(&text);
        let names = scopes.to_list();
        let caller = &self.fresh(caller).await?;
        let max_keys = caller.limits().keys.unwrap_or(0);
        let args = [
            Arg::Text(&id),
            Arg::Text(secret.hash()),
            Arg::Text(label),
            Arg::Text(&names),
            Arg::Number(max_keys as i64),
        ];
        let created =
            self.ask(&functions::KEY_CREATE, caller, &args).await?.limited(|reply| reply.whole(Reader::int))?;
        if let Limited::Done(_) = created.answer {
            let entry = self.namespace().credential_entry(secret.hash());
            self.complete(redis::cmd("SET").arg(entry).arg(caller.tenant().id.as_str())).await?;
        }
        let key =
            |created_ms| NewKey { key: ApiKey { id, label: label.into(), scopes, created_ms, used_ms: None }, text };
        Ok(created.map(|outcome| outcome.map(key)))
    }

    /// The keys of the caller's tenant, oldest first.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn keys(&self, caller: &Caller) -> Result<Stamped<KeyPage>, StoreError> {
        let item = |reader: &mut Reader<'_>| {
            let id = reader.text()?.to_owned();
            let (_, key) = read_key(&id, reader.bytes()?)?;
            Some(ApiKey { used_ms: reader.maybe_int()?, ..key })
        };
        let keys = self.ask_in_pieces(&functions::KEY_LIST, caller, &[], item).await?;
        Ok(keys.map(|mut keys| {
            keys.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
            keys.dedup_by(|a, b| a.id == b.id);
            keys
        }))
    }

    /// Replaces the secret of a key; the old one is refused from now on. `None` if there is no such key.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: the old secret may be refused already; rotate again.
    pub async fn rotate_key(&self, caller: &Caller, id: &str) -> Result<Stamped<Option<NewKey>>, StoreError> {
        let text = random_text(KEY_PREFIX)?;
        let secret = Secret::of(&text);
        let reply = self.ask(&functions::KEY_ROTATE, caller, &[Arg::Text(id), Arg::Text(secret.hash())]).await?;
        if reply.status() == "NOT_FOUND" {
            return Ok(reply.stamped(None));
        }
        let (old, key) = reply.whole(|reader| Some((reader.text()?.to_owned(), read_key(id, reader.bytes()?)?.1)))?;
        let entry = self.namespace().credential_entry(secret.hash());
        self.complete(redis::cmd("SET").arg(entry).arg(caller.tenant().id.as_str())).await?;
        self.complete(redis::cmd("DEL").arg(self.namespace().credential_entry(&old))).await?;
        Ok(reply.stamped(Some(NewKey { key, text })))
    }

    /// Removes a key; it is refused from now on.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: it may have been done. Repeating is safe.
    pub async fn delete_key(&self, caller: &Caller, id: &str) -> Result<Stamped<KeyRemoval>, StoreError> {
        let reply = self.ask(&functions::KEY_DELETE, caller, &[Arg::Text(id)]).await?;
        match reply.status() {
            "OK" => {
                let hash = reply.whole(|reader| reader.text().map(str::to_owned))?;
                self.complete(redis::cmd("DEL").arg(self.namespace().credential_entry(&hash))).await?;
                Ok(reply.stamped(KeyRemoval::Removed))
            }
            "NOT_FOUND" => Ok(reply.stamped(KeyRemoval::NotFound)),
            "LAST_ADMIN" => Ok(reply.stamped(KeyRemoval::LastAdmin)),
            _ => Err(reply.unexpected()),
        }
    }

    /// Records that a key was used. A failure is only logged: the next use records it.
    pub(in crate::store) async fn record_use(&self, handle: &TenantHandle, credential: &str, key_id: &str) {
        if let Err(error) = self.eval_at(&functions::KEY_USED, handle, &[credential, key_id]).await {
            tracing::debug!(%error, "the use of a key was not recorded");
        }
    }
}
