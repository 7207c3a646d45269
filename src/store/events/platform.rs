//! Events of the tenant's own platform, and the companies that they are about.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::{
    domain::{
        platform::{Company, NewEvent, RegisteredCompany},
        rate::cost,
    },
    store::{
        Arg, Caller, Limited, Stamped, Store, StoreError,
        call::Call,
        codec::{Reader, Writer},
        functions,
    },
};

/// Most bytes of events in one call of Redis; more would keep it from others for too long.
const MAX_CALL_BYTES: usize = 512 << 10;
/// Bytes of events that keep Redis for as long as an item, 4 KiB.
const BYTES_LIKE_AN_ITEM: usize = 4 << 10;
/// Most events in one call of Redis.
const MAX_CALL_EVENTS: usize = 1_000;

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
    /// Publishes events, each with a position in the tenant's one order. What is more than one call of Redis may have goes on in others; a company
    /// that is not registered when the first begins refuses them all.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: they may have been published, or some of them. Repeating is safe for those with a
    /// dedupe id.
    pub async fn publish(&self, caller: &Caller, events: &[NewEvent]) -> Result<Stamped<PublishOutcome>, StoreError> {
        self.check_stored(caller).await?;
        let mut cost = cost(events.len(), events.iter().map(bytes_of).sum());
        let (mut positions, mut left) = (Vec::with_capacity(events.len()), events);
        loop {
            let (piece, others) = left.split_at(piece_len(left));
            let slugs: BTreeSet<&str> =
                if cost > 0 { others.iter().filter_map(slug).collect() } else { BTreeSet::new() };
            let args: Vec<_> = piece.iter().flat_map(args_of).collect();
            let packed = slugs.iter().fold(Writer::default().array(slugs.len()), |to, slug| to.text(slug)).done();
            let call = Call { packed: packed.into(), ..Call::with_args(&functions::PUBLISH, &args) };
            let weight = piece.len().max(piece.iter().map(bytes_of).sum::<usize>() / BYTES_LIKE_AN_ITEM);
            let reply =
                self.call(caller, call.at_cost(cost).weighing(weight).in_mid_change(!positions.is_empty())).await?;
            match reply.status() {
                "OK" => positions.extend(reply.each(Reader::int)?),
                // A company was removed since the first piece; asking again names it.
                "UNKNOWN_COMPANY" if !positions.is_empty() => {
                    return Err(StoreError::Refused { code: reply.status().to_owned() }.in_mid_change());
                }
                "UNKNOWN_COMPANY" => {
                    let unknown = reply.each(Reader::boolean)?;
                    let (of_piece, of_others) =
                        unknown.split_at_checked(piece.len()).ok_or_else(|| reply.unexpected())?;
                    let unknown_slugs: BTreeSet<_> =
                        slugs.into_iter().zip(of_others).filter_map(|(slug, is_bad)| is_bad.then_some(slug)).collect();
                    let others =
                        others.iter().map(|event| slug(event).is_some_and(|slug| unknown_slugs.contains(slug)));
                    let unknown = of_piece.iter().copied().chain(others).collect();
                    return Ok(reply.stamped(PublishOutcome::UnknownCompany(unknown)));
                }
                _ => return Err(reply.unexpected()),
            }
            if others.is_empty() {
                return Ok(reply.stamped(PublishOutcome::Done(positions)));
            }
            (left, cost) = (others, 0);
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
        self.check_stored(caller).await?;
        let max_companies = caller.limits().companies.unwrap_or(0);
        let args = [
            Arg::Text(slug),
            Arg::Text(id.unwrap_or("")),
            Arg::Text(&random_id),
            Arg::Text(name),
            Arg::Number(max_companies as i64),
        ];
        let reply = self.ask(&functions::COMPANY_PUT, caller, &args).await?;
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
        let args = [Arg::Text(slug.unwrap_or(""))];
        let item = |reader: &mut Reader<'_>| {
            let slug = reader.text()?;
            read_company(slug, reader.bytes()?)
        };
        let companies = self.ask_in_pieces(&functions::COMPANY_READ, caller, &args, item).await?;
        Ok(companies.map(|mut companies| {
            companies.sort_by(|a, b| a.slug.cmp(&b.slug));
            companies.dedup_by(|a, b| a.slug == b.slug);
            companies
        }))
    }

    /// Removes a company; its events stay in the history.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn delete_company(&self, caller: &Caller, slug: &str) -> Result<Stamped<CompanyRemoval>, StoreError> {
        let reply = self.ask(&functions::COMPANY_DELETE, caller, &[Arg::Text(slug)]).await?;
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

/// How many of the first events one call of Redis may have; at least one.
fn piece_len(events: &[NewEvent]) -> usize {
    let mut bytes = 0;
    let fits = events.iter().take_while(|event| {
        bytes += bytes_of(event);
        bytes <= MAX_CALL_BYTES
    });
    fits.count().clamp(1, MAX_CALL_EVENTS).min(events.len())
}

fn bytes_of(event: &NewEvent) -> usize {
    event.kind.len() + event.data.len()
}

fn slug(event: &NewEvent) -> Option<&str> {
    if let Some(Company::Slug(slug)) = &event.company { Some(slug) } else { None }
}

fn args_of(event: &NewEvent) -> [Arg<'_>; 6] {
    let id = if let Some(Company::Id(id)) = &event.company { id.as_str() } else { "" };
    [
        Arg::Text(&event.kind),
        Arg::Text(id),
        Arg::Text(slug(event).unwrap_or("")),
        Arg::Text(&event.data),
        Arg::Number(event.timestamp_ms.unwrap_or(0)),
        Arg::Text(event.dedupe_id.as_deref().unwrap_or("")),
    ]
}
