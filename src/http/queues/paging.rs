//! Page numbers of the lists of workers and queues, which are sorted as a whole.

use poem_openapi::Object;
use serde::Serialize;

use crate::{domain::field_errors::FieldErrors, http::queues::params};

/// A requested page.
pub(super) struct Paging {
    /// Number of the page, 1 for the first.
    page: usize,
    limit: usize,
}

impl Paging {
    /// Parses `page`, the first by default, and `limit`; `None`: one of them is wrong.
    pub(super) fn parse(errors: &mut FieldErrors, page: Option<i64>, limit: Option<i64>) -> Option<Self> {
        let page = page.map_or(Some(1), |page| {
            let positive = usize::try_from(page).ok().filter(|page| *page > 0);
            errors.check(|| "page".into(), positive.ok_or_else(|| "must be 1 or more".to_owned()))
        });
        let limit = params::limit(errors, limit);
        Some(Self { page: page?, limit: limit? })
    }

    /// Cuts the page out of all rows.
    pub(super) fn cut<T>(&self, rows: Vec<T>) -> (Vec<T>, Pages) {
        let pages = Pages {
            page: self.page as u64,
            limit: self.limit as u64,
            total: rows.len() as u64,
            total_pages: rows.len().div_ceil(self.limit) as u64,
        };
        let first = (self.page - 1).saturating_mul(self.limit);
        (rows.into_iter().skip(first).take(self.limit).collect(), pages)
    }
}

/// Which page this is, of how many.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "PagePagination", rename_all = "camelCase")]
pub(in crate::http) struct Pages {
    page: u64,
    limit: u64,
    /// How many there are on all pages.
    total: u64,
    total_pages: u64,
}
