//! Answers that are held back. Thousands are at once, each for up to a minute, so while one is, only what makes the answer is kept: the
//! request, and with it its connection's buffer, and the futures of its route are gone.

use futures_util::FutureExt;
use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse,
    registry::{MetaResponses, Registry},
    types::Type,
};
use serde::Serialize;

use crate::http::{
    app_state::AppState,
    wire::{error::ApiError, response::Answer},
};

/// An answer that may be held back.
pub(in crate::http) enum Held<T> {
    /// It is not.
    Now(Answer<T>),
    /// It comes later: this stands for it until the route's own work is over.
    Later,
}

impl<T: Serialize + Send + 'static> Held<T> {
    /// The answer that a future makes, which owns all that it needs.
    pub(in crate::http) fn later(
        app_state: &AppState,
        answer: impl Future<Output = Result<Answer<T>, ApiError>> + Send + 'static,
    ) -> Self {
        let response = answer.map(|answer| answer.map(IntoResponse::into_response).map_err(Into::into));
        app_state.respond_later(response.boxed());
        Self::Later
    }
}

impl<T: Serialize + Send> IntoResponse for Held<T> {
    fn into_response(self) -> Response {
        match self {
            Self::Now(answer) => answer.into_response(),
            Self::Later => Response::default(),
        }
    }
}

impl<T: Type> ApiResponse for Held<T> {
    fn meta() -> MetaResponses {
        Answer::<T>::meta()
    }

    fn register(registry: &mut Registry) {
        Answer::<T>::register(registry);
    }
}
