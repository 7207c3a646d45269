//! Tenants and their API keys.
//!
//! A key's truth is in its tenant's state; the directory, in slots of its own, only finds the tenant. So a key is written first
//! there and then here, and removed in the same order: whatever is interrupted, an entry of the directory alone opens nothing.

pub(super) mod handles;
pub(super) mod issuers;
pub(super) mod rate_state;
pub(super) mod sessions;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    domain::{
        access::{ApiKey, Issuer, IssuerKind, Scopes, Tenant},
        closed_set::ClosedSet,
        names::TenantId,
        tier::Tier,
    },
    store::{
        Arg, Caller, Limited, Reply, Secret, Stamped, Store, StoreError, TenantHandle,
        codec::Reader,
        keys::{TENANTS, directory},
        scripts,
    },
};

/// A key that was just made: the only moment at which its text is known.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What it is.
    pub key: ApiKey,
    /// The key itself: `hf_live_...`.
    pub text: String,
}

/// A piece of the list of tenants.
#[derive(Debug)]
pub struct TenantPage {
    /// In the order of their ids.
    pub tenants: Vec<Tenant>,
    /// The id after which the next piece begins; `None` at the end.
    pub next: Option<String>,
}

/// The list of a tenant's keys.
pub type KeyPage = Vec<ApiKey>;

/// What the tenant's state says of itself and of one credential.
pub(in crate::store) struct TenantState {
    pub(in crate::store) tenant: Tenant,
    pub(in crate::store) version: i64,
    pub(in crate::store) has_definitions: bool,
    /// Whether the credential that was asked about is there.
    pub(in crate::store) credential: bool,
    /// The key that it is, or was had from.
    pub(in crate::store) key: Option<(String, Vec<u8>)>,
    /// The connection that an ingest key is of.
    pub(in crate::store) connection: Option<Uuid>,
    pub(in crate::store) issuer: Option<Issuer>,
    now_us: i64,
    position: i64,
}

impl TenantState {
    /// A part of it, with the instant at which it was true.
    pub(in crate::store) fn told<T>(self, part: impl FnOnce(Self) -> T) -> Stamped<T> {
        Stamped { now_us: self.now_us, position: self.position, answer: part(self) }
    }
}

/// How an API key begins.
pub const KEY_PREFIX: &str = "hf_live_";

/// A new credential's text: 192 random bits.
pub(in crate::store) fn random_text(prefix: &str) -> Result<String, StoreError> {
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random)
        .map_err(|error| StoreError::UnexpectedReply { script: "random", got: error.to_string() })?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// Reads a packed key: its hash, and what may be shown of it.
pub(in crate::store) fn read_key(id: &str, packed: &[u8]) -> Option<(String, ApiKey)> {
    let mut reader = Reader::new(packed);
    let hash = reader.text()?.into();
    let label = reader.text()?.into();
    let scopes = Scopes::parse(reader.text()?.split(',')).ok()?;
    Some((hash, ApiKey { id: id.into(), label, scopes, created_ms: reader.int()?, used_ms: None }))
}

/// Reads a packed issuer.
pub(in crate::store) fn read_issuer(packed: &[u8]) -> Option<Issuer> {
    let mut reader = Reader::new(packed);
    let (id, kind) = (reader.text()?.into(), IssuerKind::of_name(reader.text()?)?);
    Some(Issuer {
        id,
        kind,
        issuer: reader.maybe_text()?,
        audience: reader.maybe_text()?,
        sealed: reader.text()?.into(),
    })
}

impl Store {
    pub(in crate::store) async fn eval_at(
        &self,
        script: &'static scripts::Script,
        place: &TenantHandle,
        args: &[&str],
    ) -> Result<Reply, StoreError> {
        let bytes =
            self.link.eval(script, place.keys_of(script), |to| args.iter().for_each(|arg| to.text(arg))).await?;
        Reply::read(script, bytes)
    }

    pub(in crate::store) async fn tenant_state(
        &self,
        place: &TenantHandle,
        credential: &str,
    ) -> Result<Option<TenantState>, StoreError> {
        let reply = self.eval_at(&scripts::TENANT_READ, place, &[credential]).await?;
        if reply.verdict() == "STALE" {
            return Ok(None);
        }
        let (now_us, position) = (reply.now_us, reply.position);
        place.seen(position);
        reply
            .whole(|reader| {
                let version = reader.int()?;
                let name = reader.text()?.to_owned();
                let tier = Tier::parse(reader.text()?).ok()?;
                let created_ms = reader.int()?;
                let require_registration = reader.boolean()?;
                let has_definitions = reader.boolean()?;
                let issuer = if reader.absent() { None } else { Some(read_issuer(reader.bytes()?)?) };
                let credential = reader.boolean()?;
                let id = reader.maybe_text()?;
                let packed = if reader.absent() { None } else { Some(reader.bytes()?.to_vec()) };
                let tenant = Tenant { id: place.tenant().clone(), name, tier, created_ms, require_registration };
                let connection = id.as_deref().filter(|_| packed.is_none()).and_then(|id| Uuid::try_parse(id).ok());
                Some(TenantState {
                    tenant,
                    version,
                    has_definitions,
                    credential,
                    key: id.zip(packed),
                    connection,
                    issuer,
                    now_us,
                    position,
                })
            })
            .map(Some)
    }

    /// Makes a tenant with its default key, which may do everything.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: there may be a tenant whose key nobody knows; deleting it is safe.
    pub async fn create_tenant(
        &self,
        id: TenantId,
        name: &str,
        tier: Tier,
    ) -> Result<Option<(Tenant, NewKey)>, StoreError> {
        let place = self.callers.place(&id);
        let (key_id, text) = (Uuid::new_v4().to_string(), random_text(KEY_PREFIX)?);
        let secret = Secret::of(&text);
        let scopes = Scopes::ALL;
        let reply = self
            .eval_at(
                &scripts::TENANT_CREATE,
                &place,
                &[name, tier.name(), &key_id, secret.hash(), "default", &scopes.to_list()],
            )
            .await?;
        if reply.verdict() != "OK" {
            return Ok(None);
        }
        self.link.send(redis::cmd("ZADD").arg(TENANTS).arg(0).arg(id.as_str())).await?;
        self.link.send(redis::cmd("SET").arg(directory(secret.hash())).arg(id.as_str())).await?;
        let created_ms = reply.now_us / 1000;
        let key = ApiKey { id: key_id, label: "default".into(), scopes, created_ms, used_ms: None };
        Ok(Some((
            Tenant { id, name: name.into(), tier, created_ms, require_registration: false },
            NewKey { key, text },
        )))
    }

    /// What a tenant is; `None` if there is no such tenant.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Stamped<Tenant>>, StoreError> {
        let state = self.tenant_state(&TenantHandle::new(id.clone()), "").await?;
        Ok(state.map(|state| Stamped { now_us: state.now_us, position: state.position, answer: state.tenant }))
    }

    /// Tenants in the order of their ids: at most `limit` after `after`.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<TenantPage, StoreError> {
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let ids = self
            .link
            .send(redis::cmd("ZRANGE").arg(TENANTS).arg(from).arg("+").arg("BYLEX").arg("LIMIT").arg(0).arg(limit + 1))
            .await?;
        let mut ids: Vec<String> = redis::from_redis_value(ids)
            .map_err(|_| StoreError::UnexpectedReply { script: "tenants", got: "no list".into() })?;
        let more = ids.len() > limit;
        ids.truncate(limit);
        let next = if more { ids.last().cloned() } else { None };
        let found = ids.iter().filter_map(|id| TenantId::parse(id));
        let tenants = futures_util::future::try_join_all(found.map(|id| async move { self.tenant(&id).await })).await?;
        Ok(TenantPage { tenants: tenants.into_iter().flatten().map(|told| told.answer).collect(), next })
    }

    /// Changes a tenant's settings; every replica knows at its next call. `false` if there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn update_tenant(
        &self,
        id: &TenantId,
        tier: Option<Tier>,
        require_registration: Option<bool>,
    ) -> Result<bool, StoreError> {
        let require = match require_registration {
            Some(true) => "1",
            Some(false) => "0",
            None => "",
        };
        let reply = self.change_tenant(id, [tier.map_or("", Tier::name), require], ["", "", "", "", ""]).await?;
        Ok(reply.verdict() == "OK")
    }

    /// Changes a tenant's settings: tier and whether registration is required, then the issuer's id, kind, `iss`, `aud` and sealed keys.
    pub(in crate::store) async fn change_tenant(
        &self,
        id: &TenantId,
        settings: [&str; 2],
        issuer: [&str; 5],
    ) -> Result<Reply, StoreError> {
        let place = self.callers.place(id);
        let ([tier, require], [issuer_id, kind, iss, aud, sealed]) = (settings, issuer);
        let channel = place.partition().channel();
        let args =
            [tier, require, id.as_str(), self.link.publish_command(), &channel, issuer_id, kind, iss, aud, sealed];
        self.eval_at(&scripts::TENANT_UPDATE, &place, &args).await
    }

    /// Ends a tenant with all that it has. `false` if there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done in part. Repeating finishes it.
    pub async fn delete_tenant(&self, id: &TenantId) -> Result<bool, StoreError> {
        let place = TenantHandle::new(id.clone());
        let issuer = self.tenant_state(&place, "").await?.and_then(|state| state.issuer);
        let reply = self
            .eval_at(
                &scripts::TENANT_DELETE,
                &place,
                &[id.as_str(), self.link.publish_command(), &place.partition().channel()],
            )
            .await?;
        let found = reply.verdict() == "OK";
        if found {
            for hash in reply.each(1, |reader| reader.text().map(str::to_owned))? {
                self.link.send(redis::cmd("DEL").arg(directory(&hash))).await?;
            }
        }
        if let Some(issuer) = issuer {
            self.drop_pair(id, &issuer).await?;
        }
        self.link.send(redis::cmd("ZREM").arg(TENANTS).arg(id.as_str())).await?;
        Ok(found)
    }

    /// Makes one more key for the caller's tenant.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: there may be a key whose text nobody knows; the list shows it.
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
        let most = caller.limits().keys.unwrap_or(0);
        let args =
            [Arg::Text(&id), Arg::Text(secret.hash()), Arg::Text(label), Arg::Text(&names), Arg::Number(most as i64)];
        let told = self.ask(&scripts::KEY_CREATE, caller, &args).await?.limited(|reply| reply.whole(Reader::int))?;
        if let Limited::Done(_) = told.answer {
            self.link.send(redis::cmd("SET").arg(directory(secret.hash())).arg(caller.tenant().id.as_str())).await?;
        }
        let key =
            |created_ms| NewKey { key: ApiKey { id, label: label.into(), scopes, created_ms, used_ms: None }, text };
        Ok(told.map(|outcome| outcome.map(key)))
    }

    /// The keys of the caller's tenant, oldest first.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn keys(&self, caller: &Caller) -> Result<Stamped<KeyPage>, StoreError> {
        let reply = self.ask(&scripts::KEY_LIST, caller, &[]).await?;
        let mut keys = reply.each(3, |reader| {
            let id = reader.text()?.to_owned();
            let (_, key) = read_key(&id, reader.bytes()?)?;
            Some(ApiKey { used_ms: reader.maybe_int()?, ..key })
        })?;
        keys.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        Ok(reply.told(keys))
    }

    /// Gives a key a new secret; the old one is refused from now on. `None` if there is no such key.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: the old secret may be refused already; rotate again.
    pub async fn rotate_key(&self, caller: &Caller, id: &str) -> Result<Stamped<Option<NewKey>>, StoreError> {
        let text = random_text(KEY_PREFIX)?;
        let secret = Secret::of(&text);
        let reply = self.ask(&scripts::KEY_ROTATE, caller, &[Arg::Text(id), Arg::Text(secret.hash())]).await?;
        if reply.verdict() == "NOT_FOUND" {
            return Ok(reply.told(None));
        }
        let (old, key) = reply.whole(|reader| Some((reader.text()?.to_owned(), read_key(id, reader.bytes()?)?.1)))?;
        self.link.send(redis::cmd("SET").arg(directory(secret.hash())).arg(caller.tenant().id.as_str())).await?;
        self.link.send(redis::cmd("DEL").arg(directory(&old))).await?;
        Ok(reply.told(Some(NewKey { key, text })))
    }

    /// Removes a key; it is refused from now on.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn delete_key(&self, caller: &Caller, id: &str) -> Result<Stamped<KeyRemoval>, StoreError> {
        let reply = self.ask(&scripts::KEY_DELETE, caller, &[Arg::Text(id)]).await?;
        match reply.verdict() {
            "OK" => {
                let hash = reply.whole(|reader| reader.text().map(str::to_owned))?;
                self.link.send(redis::cmd("DEL").arg(directory(&hash))).await?;
                Ok(reply.told(KeyRemoval::Removed))
            }
            "NOT_FOUND" => Ok(reply.told(KeyRemoval::NotFound)),
            "LAST_ADMIN" => Ok(reply.told(KeyRemoval::LastAdmin)),
            _ => Err(reply.unexpected()),
        }
    }

    /// Lets a caller act for a tenant without a credential of it: the command line, over the store.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn acting_for(&self, tenant: &TenantId) -> Result<Option<Caller>, StoreError> {
        self.keeper(tenant).await
    }

    /// Writes down that a key was used; when that fails, the next use will tell.
    pub(in crate::store) async fn write_use(&self, place: &TenantHandle, credential: &str, key_id: &str) {
        if let Err(error) = self.eval_at(&scripts::KEY_USED, place, &[credential, key_id]).await {
            tracing::debug!(%error, "the use of a key was not noted");
        }
    }

    /// The place of a tenant.
    #[must_use]
    pub fn place(&self, tenant: &TenantId) -> Arc<TenantHandle> {
        self.callers.place(tenant)
    }
}

/// What became of a key's removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRemoval {
    /// It is gone.
    Removed,
    /// There was no such key.
    NotFound,
    /// It is the last that may make others; it stays.
    LastAdmin,
}
