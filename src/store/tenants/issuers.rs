//! The issuers of tokens that tenants trust.
//!
//! A registration's truth is in its tenant's state; the directory, in slots of its own, only finds the tenant by issuer and audience. A
//! pair is claimed there first, so that no two tenants can have it; an entry whose tenant has no such issuer is taken over
//! when it is a minute old: until then its tenant's state may be about to be written.

use crate::{
    domain::{
        access::{Issuer, Tenant},
        names::TenantId,
    },
    store::{
        Reply, Stamped, Store, StoreError, TenantHandle,
        keys::{Key, issuer_entry},
        scripts::{self, Script},
        tenants::read_issuer,
    },
};

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// It holds.
    Done,
    /// The pair of issuer and audience is another tenant's.
    Taken,
    /// There is no such tenant.
    NotFound,
}

impl Store {
    /// A tenant and the issuer that it trusts; `None` if there is no such tenant.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn tenant_with_issuer(
        &self,
        id: &TenantId,
    ) -> Result<Option<Stamped<(Tenant, Option<Issuer>)>>, StoreError> {
        // Anybody may name a tenant here, so the name is not remembered.
        let state = self.tenant_state(&TenantHandle::new(id.clone()), "").await?;
        Ok(state.map(|state| state.told(|state| (state.tenant, state.issuer))))
    }

    /// Which tenant registered this pair.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn tenant_of_issuer(&self, issuer: &str, audience: &str) -> Result<Option<TenantId>, StoreError> {
        let found = self.link.send(redis::cmd("GET").arg(issuer_entry(issuer, audience))).await?;
        Ok(redis::from_redis_value::<Option<String>>(found)
            .ok()
            .flatten()
            .and_then(|entry| TenantId::parse(entry.split(' ').next()?)))
    }

    /// Lets a tenant trust this issuer, and none that it trusted before: what came from that one is refused from now on.
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
        let (iss, aud) = (issuer.issuer.as_deref().unwrap_or(""), issuer.audience.as_deref().unwrap_or(""));
        let reply =
            self.change_tenant(id, ["", ""], [&issuer.id, issuer.kind.name(), iss, aud, &issuer.sealed]).await?;
        if let Some(before) = before.filter(|before| before.pair() != issuer.pair()) {
            self.drop_pair(id, &before).await?;
        }
        Ok(if reply.verdict() == "OK" { Registration::Done } else { Registration::NotFound })
    }

    /// Lets a tenant trust no issuer. `false` if there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn remove_issuer(&self, id: &TenantId) -> Result<bool, StoreError> {
        let reply = self.change_tenant(id, ["", ""], ["-", "", "", "", ""]).await?;
        if reply.verdict() != "OK" {
            return Ok(false);
        }
        let before =
            reply.whole(|reader| if reader.absent() { Some(None) } else { read_issuer(reader.bytes()?).map(Some) })?;
        if let Some(before) = before {
            self.drop_pair(id, &before).await?;
        }
        Ok(true)
    }

    async fn claim(&self, id: &TenantId, issuer: &str, audience: &str) -> Result<bool, StoreError> {
        let entry = issuer_entry(issuer, audience);
        let reply = self.eval_entry(&scripts::ISSUER_CLAIM, &entry, &[id.as_str(), ""]).await?;
        if reply.verdict() == "OK" {
            return Ok(true);
        }
        let holder = reply.whole(|reader| TenantId::parse(reader.text()?))?;
        let held = self.tenant_with_issuer(&holder).await?.and_then(|told| told.answer.1);
        if held.is_some_and(|held| held.pair() == Some((issuer, audience))) {
            return Ok(false);
        }
        let reply = self.eval_entry(&scripts::ISSUER_CLAIM, &entry, &[id.as_str(), holder.as_str()]).await?;
        Ok(reply.verdict() == "OK")
    }

    /// Gives up the pair of an issuer that the tenant trusts no more.
    pub(in crate::store) async fn drop_pair(&self, id: &TenantId, issuer: &Issuer) -> Result<(), StoreError> {
        if let Some((iss, aud)) = issuer.pair() {
            self.eval_entry(&scripts::ISSUER_DROP, &issuer_entry(iss, aud), &[id.as_str()]).await?;
        }
        Ok(())
    }

    async fn eval_entry(&self, script: &'static Script, entry: &str, args: &[&str]) -> Result<Reply, StoreError> {
        let bytes = self
            .link
            .eval(script, std::iter::once(Key::from(entry)), |to| args.iter().for_each(|arg| to.text(arg)))
            .await?;
        Reply::read(script, bytes)
    }
}
