//! Registered resources.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{
    call::{Call, Repeat, Reply, encode},
    error::ClientError,
    reservations::Client,
};

/// The definition of a resource, as `register` takes it and as a file of definitions writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// How many can have it at once.
    #[serde(default = "one")]
    pub capacity: i64,
    /// What is taken along with it.
    #[serde(default)]
    pub blocks: Vec<String>,
    /// What stands above it in the tree, from the root on, with `>` between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_path: Option<String>,
}

fn one() -> i64 {
    1
}

impl Client {
    /// Registers resources, all or none. Safe to repeat.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register(&self, definitions: &[Definition]) -> Result<Reply, ClientError> {
        self.transport.call(Call::post("/api/v1/Resource/register", &definitions, Repeat::Safe)?).await
    }

    /// Every registered resource, one row each.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resources(&self) -> Result<Vec<Value>, ClientError> {
        Ok(self.pages("/api/v1/Resource", "", "resources").await?.0)
    }

    /// Deletes a resource; whether it was there.
    ///
    /// # Errors
    /// [`ClientError`]; 409 while it is held, has children or is named in another's `blocks`.
    pub async fn delete_resource(&self, name: &str) -> Result<bool, ClientError> {
        match self.transport.call(Call::delete(format!("/api/v1/Resource/{}", encode(name)))).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => Ok(false),
            Err(error) => Err(error),
        }
    }
}
