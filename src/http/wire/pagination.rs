//! Query parameters of lists that are read page by page.

use crate::domain::field_errors::FieldErrors;

/// Page of a list: how many rows, and from where on.
#[derive(Debug)]
pub(in crate::http) struct ListQuery<C> {
    /// Most rows of the page.
    pub(in crate::http) limit: usize,
    /// Where it begins; `None`: at the start of the list.
    pub(in crate::http) cursor: Option<C>,
}

/// Page sizes of a list.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct PageSizes {
    /// Rows of a page where the query does not say.
    pub(in crate::http) default: usize,
    /// Most rows that a query may ask for.
    pub(in crate::http) max: usize,
}

impl<C> ListQuery<C> {
    /// Checks `limit` and `cursor`; `decode` gives `None` for a cursor that this list did not give.
    pub(in crate::http) fn parse(
        errors: &mut FieldErrors,
        sizes: PageSizes,
        limit: Option<i64>,
        cursor: Option<&str>,
        decode: impl FnOnce(&str) -> Option<C>,
    ) -> Option<Self> {
        let limit = match limit {
            None => Some(sizes.default),
            Some(limit) => errors.check(|| "limit".into(), check_limit(limit, sizes.max)),
        };
        let cursor = match cursor {
            None => Some(None),
            Some(cursor) => errors.check(|| "cursor".into(), check_cursor(cursor, decode)).map(Some),
        };
        Some(Self { limit: limit?, cursor: cursor? })
    }
}

/// Checks the number of rows of a page.
pub(in crate::http) fn check_limit(limit: i64, max: usize) -> Result<usize, String> {
    usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| format!("must be from 1 to {max}"))
}

fn check_cursor<C>(cursor: &str, decode: impl FnOnce(&str) -> Option<C>) -> Result<C, String> {
    decode(cursor).ok_or_else(|| "is none that this service gave; begin again without it".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: PageSizes = PageSizes { default: 100, max: 1_000 };

    #[test]
    fn a_page_has_the_default_size_and_begins_at_the_start() {
        let mut errors = FieldErrors::default();
        let query = ListQuery::parse(&mut errors, SIZES, None, None, |text| text.parse::<u8>().ok()).unwrap();
        assert_eq!((query.limit, query.cursor), (100, None));
        let query = ListQuery::parse(&mut errors, SIZES, Some(1_000), Some("7"), |text| text.parse::<u8>().ok());
        assert_eq!(query.map(|query| (query.limit, query.cursor)), Some((1_000, Some(7))));
    }

    #[test]
    fn both_parameters_are_reported_together() {
        for limit in [0, -1, 1_001, i64::MAX, i64::MIN] {
            let mut errors = FieldErrors::default();
            let query = ListQuery::parse(&mut errors, SIZES, Some(limit), Some("x"), |text| text.parse::<u8>().ok());
            let paths: Vec<_> =
                errors.finish(|| query.map(drop)).unwrap_err().into_iter().map(|error| error.path).collect();
            assert_eq!(paths, ["limit", "cursor"], "{limit}");
        }
    }
}
