//! `POST /api/ingest`: clients push observations of their jobs, workers and queues.

mod credential;
mod parse;
mod payload;

use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use crate::{
    http::{
        app_state::{AppState, Tag},
        wire::{error::ApiError, outcome::within_limit, request::Large, response::Answer},
    },
    store::ObservationCounts,
};

use credential::{IngestCaller, unauthorized};
use payload::IngestRequest;

pub(in crate::http) struct Ingest;

#[OpenApi(tag = "Tag::Queues")]
impl Ingest {
    /// Push what happened to jobs, workers and queues: up to 1,000 events, all or none.
    ///
    /// The key is the connection's ingest key. An event that was pushed or seen before changes nothing and counts as a duplicate. The
    /// order in which events come does not matter: a job's state follows from the times at which they happened.
    ///
    /// Types are `job:state_change`, `worker:state_change`, `worker:heartbeat` and `queue:snapshot`, also spelled with `.` or `_` for
    /// the colon. New events count against the day of the tenant's tier (UTC); beyond it 429 says when the day ends.
    #[oai(path = "/ingest", method = "post", operation_id = "ingest")]
    async fn ingest(
        &self,
        caller: IngestCaller,
        app_state: AppState,
        body: Large<IngestRequest>,
    ) -> Result<Answer<Ingested, 202>, ApiError> {
        let caller = caller.0;
        let connection = caller.connection().ok_or_else(unauthorized)?;
        let (framework, observations) = body.then(move |pushed| parse::parse(connection, pushed)).await?;
        let stamped = app_state.store().ingest(&caller, framework, &observations).await?;
        Ok(Answer(within_limit(stamped, &caller)?.map(Into::into)))
    }
}

/// What became of the events.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "IngestResult")]
pub(in crate::http) struct Ingested {
    /// New events.
    accepted: u64,
    /// Events that were known.
    duplicates: u64,
}

impl From<ObservationCounts> for Ingested {
    fn from(counts: ObservationCounts) -> Self {
        Self { accepted: counts.accepted as u64, duplicates: counts.duplicates as u64 }
    }
}

/// Parses a body of `POST /ingest`; returns the number of its observations.
#[cfg(any(test, fuzzing))]
pub(in crate::http) fn parse_ingest(bytes: &[u8]) -> Result<usize, ApiError> {
    let request: IngestRequest = crate::http::wire::request::parse_pushed(bytes)?;
    parse::parse(uuid::Uuid::nil(), request).map(|(_, observations)| observations.len())
}
