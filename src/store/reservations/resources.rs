//! Registered resources.

use crate::{
    domain::{rate::cost, resource::Definition},
    store::{
        Caller, LimitReached, PageCursor, Stamped, Store, StoreError,
        call::Call,
        codec::{Reader, Writer},
        functions,
    },
};

/// Weight of a definition, 8 items: it may move what is below it.
const DEFINITION_WEIGHT: usize = 8;

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
    pub resources: Vec<Definition>,
    /// Where the next piece begins; `None` at the end.
    pub next: Option<PageCursor>,
}

impl Store {
    /// Registers definitions and, on the way, their ancestors: all or none.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: it may have been done. Repeating is safe.
    pub async fn register(
        &self,
        caller: &Caller,
        definitions: &[Definition],
    ) -> Result<Stamped<RegisterOutcome>, StoreError> {
        let caller = &self.fresh(caller).await?;
        self.check_stored(caller).await?;
        let most = caller.limits().resources.unwrap_or(0);
        let head = Writer::default().int(most as i64).int(definitions.len() as i64);
        let packed = definitions.iter().fold(head, |to, definition| {
            let Definition { name, capacity, blocks, ancestors } = definition;
            let to = blocks.iter().fold(to.text(name).int(*capacity).array(blocks.len()), |to, name| to.text(name));
            ancestors.iter().fold(to.array(ancestors.len()), |to, name| to.text(name))
        });
        let packed = packed.done();
        let cost = cost(definitions.len(), packed.len());
        let call = Call::packed(&functions::REGISTER, packed).at_cost(cost);
        let reply = self.call(caller, call.weighing(definitions.len() * DEFINITION_WEIGHT)).await?;
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
        let packed = Writer::default().text(name).done();
        let reply = self.call(caller, Call::packed(&functions::RESOURCE_DELETE, packed)).await?;
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
        let packed = Writer::default().text(name).done();
        let reply = self.call(caller, Call::packed(&functions::RESOURCE_READ, packed)).await?;
        let found =
            reply.whole(|reader| if reader.absent() { Some(None) } else { read_definition(reader).map(Some) })?;
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
        let (reply, next, resources) =
            self.rows(&functions::RESOURCE_LIST, 1, caller, cursor, limit, read_definition).await?;
        Ok(reply.stamped(ResourcePage { resources, next }))
    }
}

fn read_definition(reader: &mut Reader<'_>) -> Option<Definition> {
    Some(Definition {
        name: reader.text()?.into(),
        capacity: reader.int()?,
        blocks: reader.texts()?,
        ancestors: reader.texts()?,
    })
}
