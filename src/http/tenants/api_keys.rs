//! Routes of the tenant's API keys.

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Path};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        access::{ApiKey, Scope, Scopes},
        field_errors::FieldErrors,
        names,
        time::{instant, wire, wire_option},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized},
        wire::{
            error::{ApiError, Code},
            outcome::{answer, within_limit},
            request::{Body, List},
            response::{Answer, Nothing},
            word::{UncheckedWord, Word},
        },
    },
    store::{KeyRemoval, NewKey},
};

/// Scopes that a key may be given: more names than there are scopes repeat some.
const MAX_SCOPES: usize = 16;

pub(in crate::http) struct Keys;

#[OpenApi(tag = "Tag::Keys")]
impl Keys {
    /// Create an API key. Its text is shown this once.
    #[oai(path = "/keys", method = "post", operation_id = "createKey")]
    async fn create(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        body: Body<NewKeyRequest>,
    ) -> Result<Answer<KeyWithText, 201>, ApiError> {
        let mut errors = FieldErrors::default();
        let label = errors.check(|| "label".into(), names::label(body.0.label));
        let scopes = body
            .0
            .scopes
            .map_or(Ok(Scopes::READ_WRITE), |scopes| Scopes::parse(scopes.0.iter().map(UncheckedWord::as_str)));
        let scopes = errors.check(|| "scopes".into(), scopes);
        let (label, scopes) = errors.finish(|| Some((label?, scopes?))).map_err(ApiError::validation)?;
        let stamped = app_state.store().create_key(&caller.0, &label, scopes).await?;
        Ok(Answer(within_limit(stamped, &caller.0)?.map(KeyWithText::of)))
    }

    /// List the tenant's API keys, without their texts.
    #[oai(path = "/keys", method = "get", operation_id = "listKeys")]
    async fn list(&self, caller: Authorized<Admin>, app_state: AppState) -> Result<Answer<KeyList>, ApiError> {
        let stamped = app_state.store().keys(&caller.0).await?;
        Ok(Answer(stamped.map(|keys| KeyList { keys: keys.into_iter().map(Into::into).collect(), next_cursor: None })))
    }

    /// Give a key a new text. The old one is refused at once, on every replica.
    #[oai(path = "/keys/:id/rotate", method = "post", operation_id = "rotateKey")]
    async fn rotate(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        id: Path<String>,
    ) -> Result<Answer<KeyWithText>, ApiError> {
        let stamped = app_state.store().rotate_key(&caller.0, &id.0).await?;
        Ok(Answer(answer(stamped, |key| key.map(KeyWithText::of).ok_or_else(|| ApiError::not_found("key")))?))
    }

    /// Delete a key. It is refused at once, on every replica, and its streams end. The last key with the scope admin cannot be deleted (409).
    #[oai(path = "/keys/:id", method = "delete", operation_id = "deleteKey")]
    async fn delete(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        id: Path<String>,
    ) -> Result<Nothing, ApiError> {
        let stamped = app_state.store().delete_key(&caller.0, &id.0).await?;
        answer(stamped, |removal| match removal {
            KeyRemoval::Removed => Ok(Nothing),
            KeyRemoval::NotFound => Err(ApiError::not_found("key")),
            KeyRemoval::LastAdmin => {
                Err(ApiError::new(Code::Conflict, "This is the last key with the scope admin; make another one first."))
            }
        })
        .map(|stamped| stamped.answer)
    }
}

/// A key to create.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct NewKeyRequest {
    /// Label, shown in events as `apiKeyLabel`. 1 to 256 bytes.
    label: Option<String>,
    /// Its scopes; without it `read` and `write`.
    scopes: Option<List<UncheckedWord<Scope>, MAX_SCOPES>>,
}

/// An API key as it may be shown.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct Key {
    id: String,
    label: String,
    scopes: Vec<Word<Scope>>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    /// Last use, exact to about a minute; null when it is not known.
    #[serde(with = "wire_option")]
    last_used_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for Key {
    fn from(key: ApiKey) -> Self {
        let scopes = key.scopes.iter().map(Word).collect();
        Self {
            id: key.id,
            label: key.label,
            scopes,
            created_at: instant(key.created_ms),
            last_used_at: key.used_ms.map(instant),
        }
    }
}

/// The tenant's keys.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct KeyList {
    keys: Vec<Key>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
}

/// A key with its text, which is shown this once.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct KeyWithText {
    id: String,
    label: String,
    scopes: Vec<Word<Scope>>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    #[serde(with = "wire_option")]
    last_used_at: Option<DateTime<Utc>>,
    /// The key itself: `hf_live_...`.
    api_key: String,
}

impl KeyWithText {
    fn of(new: NewKey) -> Self {
        let Key { id, label, scopes, created_at, last_used_at } = new.key.into();
        Self { id, label, scopes, created_at, last_used_at, api_key: new.text }
    }
}
