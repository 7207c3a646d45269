//! Issuers of tokens that tenants trust.
//!
//! A registration's truth is in its tenant's state; the directory, in hash slots of its own, only finds the tenant by issuer and audience.
//! A pair is claimed there first, so that no two tenants can have it; an entry whose tenant has no such issuer is taken over
//! when it is a minute old: until then its tenant's state may be about to be written.

use crate::{
    domain::{
        access::{Issuer, IssuerKind, Tenant},
        closed_set::ClosedSet,
        names::TenantId,
    },
    store::{
        Arg, Reply, Stamped, Store, StoreError,
        call::Invocation,
        codec::Reader,
        functions::{self, Function},
        keys::Key,
        tenants::IssuerChange,
    },
};

/// The outcome of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// It is registered.
    Done,
    /// Refused: the pair of issuer and audience is another tenant's.
    Taken,
    /// There is no such tenant.
    NotFound,
}

/// Decodes a packed issuer.
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
    /// A tenant and the issuer that it trusts; `None` if there is no such tenant.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn tenant_with_issuer(
        &self,
        id: &TenantId,
    ) -> Result<Option<Stamped<(Tenant, Option<Issuer>)>>, StoreError> {
        // Not through the cache: anybody may name a tenant here.
        let state = self.tenant_state(&self.fresh_handle(id), "").await?;
        Ok(state.map(|state| state.stamped(|state| (state.tenant, state.issuer))))
    }

    /// The tenant that registered this pair.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn tenant_of_issuer(&self, issuer: &str, audience: &str) -> Result<Option<TenantId>, StoreError> {
        let found = self.redis.send(redis::cmd("GET").arg(self.namespace().issuer_entry(issuer, audience))).await?;
        Ok(redis::from_redis_value::<Option<String>>(found)
            .ok()
            .flatten()
            .and_then(|entry| TenantId::parse(entry.split(' ').next()?)))
    }

    /// Replaces the issuer that a tenant trusts; tokens of the one before are refused from now on.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn register_issuer(&self, id: &TenantId, issuer: &Issuer) -> Result<Registration, StoreError> {
        let Some(Stamped { answer: (_, before), .. }) = self.tenant_with_issuer(id).await? else {
            return Ok(Registration::NotFound);
        };
        if let Some((iss, aud)) = issuer.pair()
            && !self.claim(id, iss, aud).await?
        {
            return Ok(Registration::Taken);
        }
        let reply = self.change_tenant(id, &IssuerChange::Replace(issuer).alone()).await?;
        if let Some(before) = before.filter(|before| before.pair() != issuer.pair()) {
            self.drop_pair(id, &before).await.map_err(StoreError::in_mid_change)?;
        }
        Ok(if reply.status() == "OK" { Registration::Done } else { Registration::NotFound })
    }

    /// Removes the issuer that a tenant trusts. `false` if there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn remove_issuer(&self, id: &TenantId) -> Result<bool, StoreError> {
        let reply = self.change_tenant(id, &IssuerChange::Remove.alone()).await?;
        if reply.status() != "OK" {
            return Ok(false);
        }
        let before =
            reply.whole(|reader| if reader.absent() { Some(None) } else { read_issuer(reader.bytes()?).map(Some) })?;
        if let Some(before) = before {
            self.drop_pair(id, &before).await.map_err(StoreError::in_mid_change)?;
        }
        Ok(true)
    }

    /// Claims a pair for a tenant; `false` if it is another tenant's.
    async fn claim(&self, id: &TenantId, issuer: &str, audience: &str) -> Result<bool, StoreError> {
        let entry = self.namespace().issuer_entry(issuer, audience);
        let reply = self.eval_entry(&functions::ISSUER_CLAIM, &entry, &[id.as_str(), ""]).await?;
        if reply.status() == "OK" {
            return Ok(true);
        }
        let holder = reply.whole(|reader| TenantId::parse(reader.text()?))?;
        let held = self.tenant_with_issuer(&holder).await?.and_then(|stamped| stamped.answer.1);
        if held.is_some_and(|held| held.pair() == Some((issuer, audience))) {
            return Ok(false);
        }
        let reply = self.eval_entry(&functions::ISSUER_CLAIM, &entry, &[id.as_str(), holder.as_str()]).await?;
        Ok(reply.status() == "OK")
    }

    /// Removes the directory's entry of an issuer that the tenant does not trust any more.
    pub(in crate::store) async fn drop_pair(&self, id: &TenantId, issuer: &Issuer) -> Result<(), StoreError> {
        if let Some((iss, aud)) = issuer.pair() {
            self.eval_entry(&functions::ISSUER_DROP, &self.namespace().issuer_entry(iss, aud), &[id.as_str()]).await?;
        }
        Ok(())
    }

    async fn eval_entry(&self, function: &'static Function, entry: &str, args: &[&str]) -> Result<Reply, StoreError> {
        let args: Vec<_> = args.iter().map(|arg| Arg::Text(arg)).collect();
        self.eval(Invocation::new(function, std::iter::once(Key::from(entry)), &args)).await
    }
}
