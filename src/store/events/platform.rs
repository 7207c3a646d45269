//! Events of the tenant's own platform, and the companies that they are about.

use uuid::Uuid;

use crate::{
    domain::{
        platform::{Company, NewEvent, RegisteredCompany},
        rate::cost,
    },
    store::{Arg, Caller, Limited, Stamped, Store, StoreError, codec::Reader, scripts},
};

/// The outcome of publishing events.
#[derive(Debug, Clone)]
pub enum PublishOutcome {
    /// All were published: the position of each, in their order.
    Done(Vec<i64>),
    /// None was published: the company of each event marked `true` is not registered.
    UnknownCompany(Vec<bool>),
}

/// The outcome of a company's registration.
#[derive(Debug, Clone)]
pub enum PutCompanyOutcome {
    /// The company as it is registered now.
    Done(RegisteredCompany),
    /// Refused: the company of this slug has that id.
    Taken(String),
}

/// The outcome of a company's removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompanyRemoval {
    /// It was removed.
    Removed,
    /// It is not registered.
    NotFound,
}

impl Store {
    /// Publishes events, all or none, each with a position in the tenant's one order.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: they may have been published. Repeating is safe for those with a dedupe id.
    pub async fn publish(&self, caller: &Caller, events: &[NewEvent]) -> Result<Stamped<PublishOutcome>, StoreError> {
        let mut args = Vec::with_capacity(events.len() * 6);
        for event in events {
            let (id, slug) = match &event.company {
                Some(Company::Id(id)) => (id.as_str(), ""),
                Some(Company::Slug(slug)) => ("", slug.as_str()),
                None => ("", ""),
            };
            args.extend([Arg::Text(&event.kind), Arg::Text(id), Arg::Text(slug), Arg::Text(&event.data)]);
            args.extend([
                Arg::Number(event.timestamp_ms.unwrap_or(0)),
                Arg::Text(event.dedupe_id.as_deref().unwrap_or("")),
            ]);
        }
        let reply = self.ask_at_cost(cost(events.len()), &scripts::PUBLISH, caller, &args).await?;
        match reply.status() {
            "OK" => Ok(reply.stamped(PublishOutcome::Done(reply.each(1, Reader::int)?))),
            "UNKNOWN_COMPANY" => Ok(reply.stamped(PublishOutcome::UnknownCompany(reply.each(1, Reader::boolean)?))),
            _ => Err(reply.unexpected()),
        }
    }

    /// Registers a company, or changes it; without an `id` it keeps the one that it has, or gets a random one.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn put_company(
        &self,
        caller: &Caller,
        slug: &str,
        id: Option<&str>,
        name: &str,
    ) -> Result<Stamped<Limited<PutCompanyOutcome>>, StoreError> {
        let random_id = Uuid::new_v4().to_string();
        let caller = &self.fresh(caller).await?;
        let max_companies = caller.limits().companies.unwrap_or(0);
        let args = [
            Arg::Text(slug),
            Arg::Text(id.unwrap_or("")),
            Arg::Text(&random_id),
            Arg::Text(name),
            Arg::Number(max_companies as i64),
        ];
        let reply = self.ask(&scripts::COMPANY_PUT, caller, &args).await?;
        if reply.status() == "TAKEN" {
            let owner = reply.whole(|reader| reader.text().map(str::to_owned))?;
            return Ok(reply.stamped(Limited::Done(PutCompanyOutcome::Taken(owner))));
        }
        reply.limited(|reply| reply.whole(|reader| read_company(slug, reader.bytes()?)).map(PutCompanyOutcome::Done))
    }

    /// One company, or all of them, in the order of their slugs.
    ///
    /// # Errors
    /// As [`StoreError`] says; a read changes nothing.
    pub async fn companies(
        &self,
        caller: &Caller,
        slug: Option<&str>,
    ) -> Result<Stamped<Vec<RegisteredCompany>>, StoreError> {
        let reply = self.ask(&scripts::COMPANY_READ, caller, &[Arg::Text(slug.unwrap_or(""))]).await?;
        let mut companies = reply.each(2, |reader| {
            let slug = reader.text()?;
            read_company(slug, reader.bytes()?)
        })?;
        companies.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(reply.stamped(companies))
    }

    /// Removes a company; its events stay in the history.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn delete_company(&self, caller: &Caller, slug: &str) -> Result<Stamped<CompanyRemoval>, StoreError> {
        let reply = self.ask(&scripts::COMPANY_DELETE, caller, &[Arg::Text(slug)]).await?;
        match reply.status() {
            "OK" => Ok(reply.stamped(CompanyRemoval::Removed)),
            "NOT_FOUND" => Ok(reply.stamped(CompanyRemoval::NotFound)),
            _ => Err(reply.unexpected()),
        }
    }
}

fn read_company(slug: &str, packed: &[u8]) -> Option<RegisteredCompany> {
    let mut reader = Reader::new(packed);
    Some(RegisteredCompany {
        slug: slug.into(),
        id: reader.text()?.into(),
        name: reader.text()?.into(),
        created_ms: reader.int()?,
    })
}
