//! Who calls: a credential's hash becomes its tenant, scopes and label once, and is remembered.
//!
//! What is remembered may be old. That harms nobody: every script checks the credential and the tenant's version in the
//! tenant's own state, and a mismatch makes the replica look again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        access::{ApiKey, Scopes, Tenant},
        names::TenantId,
    },
    store::{
        Store, StoreError,
        keys::{Place, directory},
        packed::Writer,
        tenants::{TenantState, read_key},
    },
};

/// How many credentials a replica remembers. Beyond that it forgets all and learns again, one look-up each.
const REMEMBERED: usize = 100_000;

/// The hash of a credential: what is stored in its place, and all that the store ever sees of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Hashes a credential as its bearer gave it. A key has at least 128 random bits, so a plain SHA-256 cannot be searched.
    #[must_use]
    pub fn of(credential: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(credential.as_bytes())))
    }

    /// The hash, as keys and fields of the store name it.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0
    }
}

/// Somebody who was let in: a tenant's credential and what it may do. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    secret: Option<Secret>,
    place: Arc<Place>,
    tenant: Tenant,
    key: Option<ApiKey>,
    needs_plan: bool,
    packed: Vec<u8>,
}

impl Caller {
    fn new(secret: Option<Secret>, place: Arc<Place>, state: TenantState, key: Option<ApiKey>, publish: &str) -> Self {
        let TenantState { tenant, version, has_definitions, .. } = state;
        let limits = tenant.tier.limits();
        let credential = secret.as_ref().map(|secret| format!("k:{}", secret.hash()));
        let packed = Writer::default()
            .text(tenant.id.as_str())
            .maybe_text(credential.as_deref())
            .text(&version)
            .text(&place.partition().channel())
            .text(publish)
            .int(limits.history as i64)
            .maybe_text(key.as_ref().map(|key| key.label.as_str()))
            .maybe_text(None)
            .int(limits.held.unwrap_or(0) as i64)
            .boolean(tenant.require_registration)
            .done();
        let needs_plan = has_definitions || tenant.require_registration;
        Self(Arc::new(Inner { secret, place, tenant, key, needs_plan, packed }))
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.0.tenant
    }

    /// What it may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.0.key.as_ref().map_or(Scopes::ALL, |key| key.scopes)
    }

    /// The credential's field in the tenant's state: what a revocation names.
    #[must_use]
    pub fn credential(&self) -> Option<String> {
        self.0.secret.as_ref().map(|secret| format!("k:{}", secret.hash()))
    }

    /// Where the tenant's state lives.
    #[must_use]
    pub fn place(&self) -> &Arc<Place> {
        &self.0.place
    }

    /// Whether names have to be looked up in the registry; if not, the tenant's reservations all stand alone.
    pub(super) fn needs_plan(&self) -> bool {
        self.0.needs_plan
    }

    pub(super) fn packed(&self) -> &[u8] {
        &self.0.packed
    }
}

/// Every caller and every tenant's place that this replica knows. One for all its runtimes.
#[derive(Debug, Default)]
pub struct Callers {
    known: RwLock<HashMap<Secret, Caller>>,
    keepers: RwLock<HashMap<TenantId, Caller>>,
    places: Mutex<HashMap<TenantId, Arc<Place>>>,
}

impl Callers {
    fn known(&self, secret: &Secret) -> Option<Caller> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(secret).cloned()
    }

    fn remember(&self, secret: &Secret, caller: Option<&Caller>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        match caller {
            Some(caller) => known.insert(secret.clone(), caller.clone()),
            None => known.remove(secret),
        };
    }

    /// The place of a tenant: one for all its credentials, so that they share one floor.
    pub fn place(&self, tenant: &TenantId) -> Arc<Place> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).entry(tenant.clone()).or_insert_with(|| Arc::new(Place::new(tenant.clone()))).clone()
    }

    /// The place of a tenant that this replica has to do with, if it has.
    pub fn known_place(&self, tenant: &str) -> Option<Arc<Place>> {
        let tenant = TenantId::parse(tenant)?;
        self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned()
    }
}

impl Store {
    /// Who bears this credential; `None` if nobody does.
    ///
    /// Answers from memory where it can: the call that follows proves the credential anyway.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and its like when the store must be asked and cannot be.
    pub async fn caller(&self, secret: &Secret) -> Result<Option<Caller>, StoreError> {
        match self.callers.known(secret) {
            Some(caller) => Ok(Some(caller)),
            None => self.look_up(secret).await,
        }
    }

    /// Looks up anew whom a script did not recognise.
    pub(super) async fn look_again(&self, caller: &Caller) -> Result<Option<Caller>, StoreError> {
        match &caller.0.secret {
            Some(secret) => self.look_up(secret).await,
            None => Ok(None),
        }
    }

    async fn look_up(&self, secret: &Secret) -> Result<Option<Caller>, StoreError> {
        let tenant = self.link.send(redis::cmd("GET").arg(directory(secret.hash()))).await?;
        let tenant = redis::from_redis_value::<Option<String>>(tenant).ok().flatten().and_then(|tenant| TenantId::parse(&tenant));
        let found = match tenant {
            Some(tenant) => {
                let place = self.callers.place(&tenant);
                let state = self.tenant_state(&place, &format!("k:{}", secret.hash())).await?;
                state.and_then(|state| {
                    let (id, packed) = state.key.as_ref()?;
                    let (_, key) = read_key(id, packed)?;
                    Some(Caller::new(Some(secret.clone()), place, state, Some(key), self.link.publish_command()))
                })
            }
            None => None,
        };
        self.callers.remember(secret, found.as_ref());
        Ok(found)
    }

    /// Who acts for a tenant when nobody asked: the sweep.
    pub(super) async fn keeper(&self, tenant: &TenantId) -> Result<Option<Caller>, StoreError> {
        if let Some(keeper) = self.callers.keepers.read().unwrap_or_else(PoisonError::into_inner).get(tenant) {
            return Ok(Some(keeper.clone()));
        }
        let place = self.callers.place(tenant);
        let Some(state) = self.tenant_state(&place, "").await? else { return Ok(None) };
        let keeper = Caller::new(None, place, state, None, self.link.publish_command());
        let mut keepers = self.callers.keepers.write().unwrap_or_else(PoisonError::into_inner);
        if keepers.len() >= REMEMBERED {
            keepers.clear();
        }
        keepers.insert(tenant.clone(), keeper.clone());
        Ok(Some(keeper))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_hash_and_shows_nothing_of_the_key() {
        let secret = Secret::of("hf_live_abc");
        assert_eq!(secret.hash().len(), 43);
        assert!(!secret.hash().contains("abc"));
        assert_eq!(secret, Secret::of("hf_live_abc"));
        assert_ne!(secret, Secret::of("hf_live_abd"));
    }
}
