//! The registry's scripts, typed.

use crate::{
    domain::{rate::cost, resource::Definition},
    store::{Arg, Caller, LimitReached, PageCursor, Stamped, Store, StoreError, codec::Reader, scripts},
};

/// What became of a change of the registry.
#[derive(Debug, Clone)]
pub enum RegisterOutcome {
    /// It was done.
    Done,
    /// There is no such resource.
    NotFound,
    /// Nothing was done: something stands in the way.
    Conflict {
        /// Of several definitions, which one.
        item: Option<usize>,
        /// `is held`, `has a child` ...
        why: String,
        /// The name in the way.
        name: String,
    },
    /// Nothing was done: it would pass a limit of the tenant's tier.
    Limit(LimitReached),
}

/// A piece of the list of registered resources.
#[derive(Debug)]
pub struct ResourcePage {
    /// In no order that means anything.
    pub found: Vec<Definition>,
    /// Where the next piece begins; `None` at the end.
    pub next: Option<PageCursor>,
}

impl Store {
    /// Registers definitions and, on the way, their ancestors: all or none.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn register(
        &self,
        caller: &Caller,
        definitions: &[Definition],
    ) -> Result<Stamped<RegisterOutcome>, StoreError> {
        let caller = &self.fresh(caller).await?;
        let most = caller.limits().resources.unwrap_or(0);
        let mut args = vec![Arg::Number(most as i64)];
        for definition in definitions {
            let Definition { name, capacity, blocks, ancestors } = definition;
            args.extend([
                Arg::Text(name),
                Arg::Number(*capacity),
                Arg::Number(blocks.len() as i64),
                Arg::Number(ancestors.len() as i64),
            ]);
            args.extend(blocks.iter().chain(ancestors).map(|name| Arg::Text(name)));
        }
        let reply = self.ask_at_cost(cost(definitions.len()), &scripts::REGISTER, caller, &args).await?;
        let registered = match reply.status() {
            "OK" => RegisterOutcome::Done,
            "CONFLICT" => reply.whole(|reader| {
                Some(RegisterOutcome::Conflict {
                    item: Some(usize::try_from(reader.int()?).ok()?),
                    why: reader.text()?.into(),
                    name: reader.text()?.into(),
                })
            })?,
            "LIMIT" => RegisterOutcome::Limit(reply.limit()?),
            _ => return Err(reply.unexpected()),
        };
        Ok(reply.stamped(registered))
    }

    /// Forgets a definition that nothing depends on.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn delete_resource(&self, caller: &Caller, name: &str) -> Result<Stamped<RegisterOutcome>, StoreError> {
        let reply = self.ask(&scripts::RESOURCE_DELETE, caller, &[Arg::Text(name)]).await?;
        let deleted = match reply.status() {
            "OK" => RegisterOutcome::Done,
            "NOT_FOUND" => RegisterOutcome::NotFound,
            "CONFLICT" => reply.whole(|reader| {
                Some(RegisterOutcome::Conflict { item: None, why: reader.text()?.into(), name: reader.text()?.into() })
            })?,
            _ => return Err(reply.unexpected()),
        };
        Ok(reply.stamped(deleted))
    }

    /// What is registered under a name; `None` if nothing is.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn resource(&self, caller: &Caller, name: &str) -> Result<Stamped<Option<Definition>>, StoreError> {
        let reply = self.ask(&scripts::RESOURCE_READ, caller, &[Arg::Text(name)]).await?;
        let found = reply.whole(|reader| {
            if reader.absent() { Some(None) } else { Some(Some(read_definition(name.into(), reader.bytes()?)?)) }
        })?;
        Ok(reply.stamped(found))
    }

    /// A piece of the registered resources: from `cursor` on, at most `limit`, perhaps fewer.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn resources(
        &self,
        caller: &Caller,
        cursor: &PageCursor,
        limit: usize,
    ) -> Result<Stamped<ResourcePage>, StoreError> {
        let reply =
            self.ask(&scripts::RESOURCE_LIST, caller, &[Arg::Text(cursor.step()), Arg::Number(limit as i64)]).await?;
        let (next_step, found) = reply.whole(|reader| {
            let next = reader.text()?.to_owned();
            let mut found = Vec::new();
            while reader.left() > 0 {
                let name = reader.text()?.to_owned();
                found.push(read_definition(name, reader.bytes()?)?);
            }
            Some((next, found))
        })?;
        let (found, next) = cursor.cut(found, |definition| &definition.name, limit, next_step, reply.position);
        Ok(reply.stamped(ResourcePage { found, next }))
    }
}

/// Reads a packed definition; its layout stands in `lua/README.md`.
fn read_definition(name: String, packed: &[u8]) -> Option<Definition> {
    let mut reader = Reader::new(packed);
    Some(Definition { name, capacity: reader.int()?, blocks: reader.texts()?, ancestors: reader.texts()? })
}
