//! What is wrong with an input, in words that name the way out.

/// One fault of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where it is, as the client wrote it: `[3].ttlSeconds`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Collects every fault of one call, so that a client mends them all at once.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Adds a fault at `path`.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { path: path.into(), message: message.into() });
    }

    /// The value, or the fault is noted and `None` is given.
    pub fn keep<T>(&mut self, path: impl FnOnce() -> String, parsed: Result<T, String>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(message) => {
                self.add(path(), message);
                None
            }
        }
    }

    /// `value` when there was no fault at all, else all of them.
    ///
    /// # Errors
    /// Every fault that was added.
    pub fn or<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}
