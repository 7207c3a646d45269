//! Looking a credential up in Redis: the directory finds the tenant, the tenant's state proves the credential.

use std::sync::Arc;

use crate::{
    domain::{access::ApiKey, names::TenantId},
    store::{
        Store, StoreError,
        callers::{Bearer, caller::Caller},
        tenants::{TenantState, api_keys::read_key, handle::TenantHandle},
    },
};

impl Store {
    /// The caller of a credential, if it is cached. The call that follows proves the credential.
    #[must_use]
    pub fn cached_caller(&self, bearer: &Bearer) -> Option<Caller> {
        self.callers.get(bearer)
    }

    /// The caller as its last call found it: where the tenant was changed, that call looked it up again.
    #[must_use]
    pub fn present_caller(&self, caller: Caller) -> Caller {
        self.callers.get(caller.bearer()).unwrap_or(caller)
    }

    /// The caller of a credential; `None` if nobody has it.
    ///
    /// From the cache where it can: the call that follows proves the credential. That nobody has it is cached for 10 s, too: texts of
    /// credentials are random, so one that failed is not issued later.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and its like when a look-up is needed and fails.
    pub async fn caller(&self, bearer: &Bearer) -> Result<Option<Caller>, StoreError> {
        match self.callers.get(bearer) {
            Some(caller) => Ok(Some(caller)),
            None if self.callers.is_unknown(bearer) => Ok(None),
            None => self.look_up(bearer).await,
        }
    }

    /// The same caller by the tenant's present state: for limits of the tier that are sent as arguments.
    pub(in crate::store) async fn fresh(&self, caller: &Caller) -> Result<Caller, StoreError> {
        match caller.bearer() {
            Bearer::System => Ok(caller.clone()),
            _ => self.look_up_again(caller).await?.ok_or(StoreError::Unauthorized),
        }
    }

    /// Looks up a caller again whose version a function refused; `None` if the credential has ended.
    pub(in crate::store) async fn look_up_again(&self, caller: &Caller) -> Result<Option<Caller>, StoreError> {
        match caller.bearer() {
            Bearer::System => Ok(None),
            bearer => self.look_up(bearer).await,
        }
    }

    async fn look_up(&self, bearer: &Bearer) -> Result<Option<Caller>, StoreError> {
        let tenant = match bearer {
            Bearer::Key(secret) | Bearer::Session(secret) | Bearer::Ingest(secret) => {
                let tenant =
                    self.redis.send(redis::cmd("GET").arg(self.namespace().credential_entry(secret.hash()))).await?;
                redis::from_redis_value::<Option<String>>(tenant)
                    .ok()
                    .flatten()
                    .and_then(|tenant| TenantId::parse(&tenant))
            }
            Bearer::Token(_, token) => Some(token.tenant.clone()),
            Bearer::Anonymous => Some(TenantId::default_tenant()),
            Bearer::System => None,
        };
        let found = match tenant {
            Some(tenant) => {
                let handle = self.callers.tenant_handle(&tenant);
                let state = self.tenant_state(&handle, &bearer.field().unwrap_or_default()).await?;
                state.filter(|state| state.has_credential).and_then(|state| {
                    let key = state.key.as_ref().and_then(|(id, packed)| Some(read_key(id, packed)?.1));
                    let needs_key = matches!(bearer, Bearer::Key(_) | Bearer::Session(_));
                    (key.is_some() || !needs_key).then(|| self.caller_of(bearer.clone(), handle, state, key))
                })
            }
            None => None,
        };
        self.callers.insert(bearer, found.as_ref());
        Ok(found)
    }

    fn caller_of(&self, bearer: Bearer, handle: Arc<TenantHandle>, state: TenantState, key: Option<ApiKey>) -> Caller {
        Caller::new(bearer, handle, state, key, self.callers.tiers().clone(), self.redis.publish_command())
    }

    /// The service itself as a caller of a tenant, for the sweep, the replay of events and the command line; `None` if there is no such tenant.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn system_caller(&self, tenant: &TenantId) -> Result<Option<Caller>, StoreError> {
        if let Some(caller) = self.callers.system(tenant) {
            return Ok(Some(caller));
        }
        let handle = self.callers.tenant_handle(tenant);
        let Some(state) = self.tenant_state(&handle, "").await? else { return Ok(None) };
        let caller = self.caller_of(Bearer::System, handle, state, None);
        self.callers.insert_system(&caller);
        Ok(Some(caller))
    }

    /// Records the use of a key, once a minute. Nobody waits for it, and nothing depends on it.
    pub(in crate::store) fn note_use(&self, caller: &Caller, now_us: i64) {
        if caller.is_use_to_be_recorded(now_us)
            && let (Some(key), Some(credential)) = (caller.key(), caller.credential())
        {
            let (store, handle, id) = (self.clone(), caller.tenant_handle().clone(), key.id.clone());
            tokio::spawn(async move { store.record_use(&handle, &credential, &id).await });
        }
    }
}
