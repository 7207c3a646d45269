//! Errors of input fields: where, what is wrong, and what would be right.

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field as the client wrote it: `[3].ttlSeconds`. Empty: the input as a whole.
    pub path: String,
    /// What is wrong and what would be right: a sentence without its subject, which is the path.
    pub message: String,
}

/// Field errors that one answer names, 20: what a program sends wrong, it mostly sends wrong everywhere.
pub const MAX_FIELD_ERRORS: usize = 20;

/// Collects the field errors of one call, up to [`MAX_FIELD_ERRORS`], so that a client can correct them at once.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Adds an error at `path`. Beyond [`MAX_FIELD_ERRORS`] it is dropped.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if !self.is_full() {
            self.0.push(FieldError { path: path.into(), message: message.into() });
        }
    }

    /// Whether further errors are dropped.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_FIELD_ERRORS
    }

    /// Adds errors that were found in a part of the input, whose own path is `prefix`.
    pub fn add_nested(&mut self, prefix: &str, errors: Vec<FieldError>) {
        for error in errors {
            self.add(format!("{prefix}{}", error.path), error.message);
        }
    }

    /// The parsed value; of a failure, adds the message at `path` and gives `None`.
    pub fn check<T>(&mut self, path: impl FnOnce() -> String, parsed: Result<T, String>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(message) => {
                self.add(path(), message);
                None
            }
        }
    }

    /// Builds the value from its checked parts; called only when no error was added.
    ///
    /// `build` gives `None` exactly where a check gave `None`, so the parts can be joined with `?` and need no defaults:
    /// `errors.finish(|| Some((name?, tier?)))`.
    ///
    /// # Errors
    /// Every error that was kept.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Vec<FieldError>> {
        if !self.0.is_empty() {
            return Err(self.0);
        }
        build().ok_or_else(|| vec![FieldError { path: String::new(), message: "the input is not valid".into() }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_reported_and_nothing_is_built_from_a_part_that_failed() {
        let mut errors = FieldErrors::default();
        let (a, b) =
            (errors.check(|| "a".into(), Ok(1)), errors.check(|| "b".into(), Err::<i64, _>("is wrong".into())));
        errors.add_nested("c", vec![FieldError { path: ".d".into(), message: "is wrong, too".into() }]);
        let errors = errors.finish(|| Some((a?, b?))).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), ["b", "c.d"]);
        assert_eq!(FieldErrors::default().finish(|| a), Ok(1));
    }

    #[test]
    fn no_more_errors_are_kept_than_one_answer_names() {
        let mut errors = FieldErrors::default();
        for item in 0..1_000 {
            errors.add(format!("[{item}]"), "is wrong");
        }
        assert_eq!(errors.finish(|| Some(())).unwrap_err().len(), MAX_FIELD_ERRORS);
    }
}
