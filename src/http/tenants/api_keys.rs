//! The tenant's API keys.

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Path};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        access::{ApiKey, Scopes},
        fault::FieldErrors,
        names,
        time::{instant, wire, wire_option},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized},
        wire::{
            error::{ApiError, Code},
            request::Body,
            response::{Answer, Nothing},
        },
    },
    store::{KeyRemoval, NewKey, Outcome, Stamped},
};

pub(in crate::http) struct Keys;

#[OpenApi(tag = "Tag::Keys")]
impl Keys {
    /// Make an API key. It is shown this once.
    #[oai(path = "/keys", method = "post", operation_id = "createKey")]
    async fn create(
        &self,
        caller: Authorized<Admin>,
        here: AppState,
        body: Body<NewKeyRequest>,
    ) -> Result<Answer<KeyWithText, 201>, ApiError> {
        let mut faults = FieldErrors::default();
        let label = faults.keep(|| "label".into(), names::label(body.0.label));
        let scopes =
            body.0.scopes.map_or(Ok(Scopes::READ_WRITE), |scopes| Scopes::parse(scopes.iter().map(String::as_str)));
        let scopes = faults.keep(|| "scopes".into(), scopes);
        let (label, scopes) = faults
            .or((label.unwrap_or_default(), scopes.unwrap_or(Scopes::READ_WRITE)))
            .map_err(ApiError::validation)?;
        let Stamped { now_us, position, answer } = here.store().create_key(&caller.0, &label, scopes).await?;
        match answer {
            Outcome::Done(new) => Ok(Answer(Stamped { now_us, position, answer: KeyWithText::of(new) })),
            Outcome::Limit(reached) => Err(ApiError::limit(&reached, caller.0.tenant().tier, now_us)),
            Outcome::WrongToken(_) | Outcome::TooMany => {
                Err(ApiError::new(Code::Internal, "A key has no release token."))
            }
        }
    }

    /// List the tenant's API keys, never their text.
    #[oai(path = "/keys", method = "get", operation_id = "listKeys")]
    async fn list(&self, caller: Authorized<Admin>, here: AppState) -> Result<Answer<KeyList>, ApiError> {
        let told = here.store().keys(&caller.0).await?;
        Ok(Answer(told.map(|keys| KeyList { keys: keys.into_iter().map(Into::into).collect(), next_cursor: None })))
    }

    /// Give a key a new text. The old one is refused at once, on every replica.
    #[oai(path = "/keys/:id/rotate", method = "post", operation_id = "rotateKey")]
    async fn rotate(
        &self,
        caller: Authorized<Admin>,
        here: AppState,
        id: Path<String>,
    ) -> Result<Answer<KeyWithText>, ApiError> {
        let Stamped { now_us, position, answer } = here.store().rotate_key(&caller.0, &id.0).await?;
        let answer = answer.map(KeyWithText::of).ok_or_else(|| ApiError::not_found("key").at(now_us))?;
        Ok(Answer(Stamped { now_us, position, answer }))
    }

    /// Remove a key. It is refused at once, on every replica, and its streams end. The last key with the scope admin stays (409).
    #[oai(path = "/keys/:id", method = "delete", operation_id = "deleteKey")]
    async fn delete(&self, caller: Authorized<Admin>, here: AppState, id: Path<String>) -> Result<Nothing, ApiError> {
        let told = here.store().delete_key(&caller.0, &id.0).await?;
        match told.answer {
            KeyRemoval::Removed => Ok(Nothing),
            KeyRemoval::NotFound => Err(ApiError::not_found("key").at(told.now_us)),
            KeyRemoval::LastAdmin => {
                Err(ApiError::new(Code::Conflict, "This is the last key with the scope admin; make another one first.")
                    .at(told.now_us))
            }
        }
    }
}

/// A key to make.
#[derive(Debug, Deserialize, Object)]
struct NewKeyRequest {
    /// What it is for; shown in events as `apiKeyLabel`. 1 to 256 bytes.
    label: Option<String>,
    /// Of `read`, `write` and `admin`; without it read and write.
    scopes: Option<Vec<String>>,
}

/// An API key as it may be shown.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct Key {
    id: String,
    label: String,
    scopes: Vec<String>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    /// Within a minute or so; null when it is not known.
    #[serde(with = "wire_option")]
    last_used_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for Key {
    fn from(key: ApiKey) -> Self {
        let scopes = key.scopes.names().into_iter().map(Into::into).collect();
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

/// A key with its text, which is never shown again.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct KeyWithText {
    id: String,
    label: String,
    scopes: Vec<String>,
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
