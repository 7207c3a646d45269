//! Tenants: created, read, changed, deleted.
//!
//! A credential's truth is in its tenant's state; the directory, in hash slots of its own, only finds the tenant. So a credential is written
//! first there and then to the directory, and removed in the same order: whatever is interrupted, an entry of the directory alone opens
//! nothing.

pub(super) mod api_keys;
pub(super) mod handle;
pub(super) mod handles;
pub(super) mod issuers;
pub(super) mod rate_state;
pub(super) mod sessions;
pub(in crate::store) mod stored_bytes;

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    domain::{
        access::{ApiKey, Issuer, Scopes, Tenant, TenantSettings},
        names::TenantId,
        tier::Tier,
    },
    store::{
        Arg, NewKey, Reply, Secret, Stamped, Store, StoreError, TenantHandle,
        call::Invocation,
        functions::{self, Function},
        tenants::{
            api_keys::{KEY_PREFIX, random_text},
            issuers::read_issuer,
        },
    },
};

/// A page of the list of tenants.
#[derive(Debug)]
pub struct TenantPage {
    /// The tenants, in the order of their ids.
    pub tenants: Vec<Tenant>,
    /// The id after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A tenant as its own state has it, with one credential of it.
pub(in crate::store) struct TenantState {
    pub(in crate::store) tenant: Tenant,
    pub(in crate::store) version: i64,
    pub(in crate::store) has_definitions: bool,
    /// Whether the credential is valid.
    pub(in crate::store) has_credential: bool,
    /// The API key of the credential: its id and packed form.
    pub(in crate::store) key: Option<(String, Vec<u8>)>,
    /// The connection of an ingest key.
    pub(in crate::store) connection: Option<Uuid>,
    pub(in crate::store) issuer: Option<Issuer>,
    now_us: i64,
    position: i64,
}

/// A change of a tenant's settings; what is `None` stays.
pub(in crate::store) struct TenantChange<'a> {
    pub(in crate::store) settings: TenantSettings,
    pub(in crate::store) issuer: IssuerChange<'a>,
}

/// A change of the issuer that a tenant trusts.
pub(in crate::store) enum IssuerChange<'a> {
    Keep,
    Remove,
    Replace(&'a Issuer),
}

impl<'a> IssuerChange<'a> {
    /// This change alone.
    pub(in crate::store) fn alone(self) -> TenantChange<'a> {
        TenantChange { settings: TenantSettings::default(), issuer: self }
    }
}

impl TenantState {
    /// A part of it, with the instant at which it was true.
    pub(in crate::store) fn stamped<T>(self, part: impl FnOnce(Self) -> T) -> Stamped<T> {
        Stamped { now_us: self.now_us, position: self.position, answer: part(self) }
    }
}

impl Store {
    /// Runs a function on a tenant's keys without a caller.
    pub(in crate::store) async fn eval_at(
        &self,
        function: &'static Function,
        handle: &TenantHandle,
        args: &[&str],
    ) -> Result<Reply, StoreError> {
        let args: Vec<_> = args.iter().map(|arg| Arg::Text(arg)).collect();
        self.eval(Invocation::new(function, handle.keys_of(function, false), &args)).await
    }

    /// A tenant's state, with the credential in that field of it; `None` if there is no such tenant.
    pub(in crate::store) async fn tenant_state(
        &self,
        handle: &TenantHandle,
        credential: &str,
    ) -> Result<Option<TenantState>, StoreError> {
        let reply = self.eval_at(&functions::TENANT_READ, handle, &[credential]).await?;
        if reply.status() == "STALE" {
            return Ok(None);
        }
        let (now_us, position) = (reply.now_us, reply.position);
        handle.note_position(position);
        reply
            .whole(|reader| {
                let version = reader.int()?;
                let name = reader.text()?.to_owned();
                let tier = Tier::parse(reader.text()?).ok()?;
                let created_ms = reader.int()?;
                let require_registration = reader.boolean()?;
                let has_definitions = reader.boolean()?;
                let issuer = if reader.absent() { None } else { Some(read_issuer(reader.bytes()?)?) };
                let has_credential = reader.boolean()?;
                let id = reader.maybe_text()?;
                let packed = if reader.absent() { None } else { Some(reader.bytes()?.to_vec()) };
                let [default_ttl_ms, max_ttl_ms] = [reader.int()?, reader.int()?].map(|ms| (ms > 0).then_some(ms));
                let tenant = Tenant {
                    id: handle.tenant().clone(),
                    name,
                    tier,
                    created_ms,
                    require_registration,
                    default_ttl_ms,
                    max_ttl_ms,
                };
                let connection = id.as_deref().filter(|_| packed.is_none()).and_then(|id| Uuid::try_parse(id).ok());
                Some(TenantState {
                    tenant,
                    version,
                    has_definitions,
                    has_credential,
                    key: id.zip(packed),
                    connection,
                    issuer,
                    now_us,
                    position,
                })
            })
            .map(Some)
    }

    /// Creates a tenant with its default key, which has every scope. `None` if the id is taken.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: there may be a tenant whose key nobody knows; deleting it is safe.
    pub async fn create_tenant(
        &self,
        id: TenantId,
        name: &str,
        tier: Tier,
    ) -> Result<Option<(Tenant, NewKey)>, StoreError> {
        let handle = self.callers.tenant_handle(&id);
        let (key_id, text) = (Uuid::new_v4().to_string(), random_text(KEY_PREFIX)?);
        let secret = Secret::of(&text);
        let scopes = Scopes::ALL;
        let reply = self
            .eval_at(
                &functions::TENANT_CREATE,
                &handle,
                &[name, tier.name(), &key_id, secret.hash(), "default", &scopes.to_list()],
            )
            .await?;
        if reply.status() != "OK" {
            return Ok(None);
        }
        self.complete(redis::cmd("ZADD").arg(self.namespace().tenants()).arg(0).arg(id.as_str())).await?;
        let entry = self.namespace().credential_entry(secret.hash());
        self.complete(redis::cmd("SET").arg(entry).arg(id.as_str())).await?;
        let created_ms = reply.now_us / 1000;
        let key = ApiKey { id: key_id, label: "default".into(), scopes, created_ms, used_ms: None };
        Ok(Some((
            Tenant {
                id,
                name: name.into(),
                tier,
                created_ms,
                require_registration: false,
                default_ttl_ms: None,
                max_ttl_ms: None,
            },
            NewKey { key, text },
        )))
    }

    /// A tenant; `None` if there is none of that id.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Stamped<Tenant>>, StoreError> {
        let state = self.tenant_state(&self.fresh_handle(id), "").await?;
        Ok(state.map(|state| Stamped { now_us: state.now_us, position: state.position, answer: state.tenant }))
    }

    /// Tenants in the order of their ids: at most `limit` after `after`.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<TenantPage, StoreError> {
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let ids = self
            .redis
            .send(
                redis::cmd("ZRANGE")
                    .arg(self.namespace().tenants())
                    .arg(from)
                    .arg("+")
                    .arg("BYLEX")
                    .arg("LIMIT")
                    .arg(0)
                    .arg(limit + 1),
            )
            .await?;
        let mut ids: Vec<String> = redis::from_redis_value(ids)
            .map_err(|_| StoreError::UnexpectedReply { function: "tenants", got: "no list".into() })?;
        let has_more = ids.len() > limit;
        ids.truncate(limit);
        let next = if has_more { ids.last().cloned() } else { None };
        let ids = ids.iter().filter_map(|id| TenantId::parse(id));
        let tenants = futures_util::future::try_join_all(ids.map(|id| async move { self.tenant(&id).await })).await?;
        Ok(TenantPage { tenants: tenants.into_iter().flatten().map(|stamped| stamped.answer).collect(), next })
    }

    /// Changes a tenant's settings; every replica sees it at its next call. `false` if there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn update_tenant(&self, id: &TenantId, settings: TenantSettings) -> Result<bool, StoreError> {
        let change = TenantChange { settings, issuer: IssuerChange::Keep };
        Ok(self.change_tenant(id, &change).await?.status() == "OK")
    }

    /// Changes a tenant's settings; the reply of `tenant_update`.
    pub(in crate::store) async fn change_tenant(
        &self,
        id: &TenantId,
        change: &TenantChange<'_>,
    ) -> Result<Reply, StoreError> {
        let handle = self.callers.tenant_handle(id);
        let settings = &change.settings;
        let tier = settings.tier.map_or("", Tier::name);
        let require_registration = settings.require_registration.map_or("", |require| if require { "1" } else { "0" });
        let ttls = [settings.default_ttl_ms, settings.max_ttl_ms];
        let [default_ttl_ms, max_ttl_ms] = ttls.map(|ttl_ms| ttl_ms.map(|ms| ms.to_string()).unwrap_or_default());
        let [issuer_id, kind, issuer, audience, sealed] = match &change.issuer {
            IssuerChange::Keep => [""; 5],
            IssuerChange::Remove => ["-", "", "", "", ""],
            IssuerChange::Replace(Issuer { id, kind, issuer, audience, sealed }) => {
                [id, kind.name(), issuer.as_deref().unwrap_or(""), audience.as_deref().unwrap_or(""), sealed]
            }
        };
        let (publish, channel) = (self.redis.publish_command(), handle.channel());
        let settings = [tier, require_registration, id.as_str(), publish, &channel];
        let issuer = [issuer_id, kind, issuer, audience, sealed];
        let args = [&settings[..], &issuer, &[&default_ttl_ms, &max_ttl_ms]].concat();
        self.eval_at(&functions::TENANT_UPDATE, &handle, &args).await
    }

    /// Deletes a tenant with everything that it has. `false` if there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: it may have been done in part. Repeating finishes it.
    pub async fn delete_tenant(&self, id: &TenantId) -> Result<bool, StoreError> {
        let handle = self.fresh_handle(id);
        let issuer = self.tenant_state(&handle, "").await?.and_then(|state| state.issuer);
        let reply = self
            .eval_at(
                &functions::TENANT_DELETE,
                &handle,
                &[id.as_str(), self.redis.publish_command(), &handle.channel()],
            )
            .await?;
        let found = reply.status() == "OK";
        if found {
            for hash in reply.each(|reader| reader.text().map(str::to_owned))? {
                self.complete(redis::cmd("DEL").arg(self.namespace().credential_entry(&hash))).await?;
            }
        }
        if let Some(issuer) = issuer {
            self.drop_pair(id, &issuer).await.map_err(StoreError::in_mid_change)?;
        }
        self.complete(redis::cmd("ZREM").arg(self.namespace().tenants()).arg(id.as_str())).await?;
        Ok(found)
    }

    /// A handle that the cache does not keep, of a tenant that may not be there.
    pub(in crate::store) fn fresh_handle(&self, tenant: &TenantId) -> TenantHandle {
        TenantHandle::within(self.namespace(), tenant.clone())
    }

    /// The handle of a tenant.
    #[must_use]
    pub fn tenant_handle(&self, tenant: &TenantId) -> Arc<TenantHandle> {
        self.callers.tenant_handle(tenant)
    }
}
