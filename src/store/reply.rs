//! Replies of scripts: the head that all of them share, and what each script adds to it.

use crate::{
    domain::{closed_set::ClosedSet, tier::LimitType},
    store::{
        StoreError,
        codec::Reader,
        scripts::{Script, Variants},
    },
};

/// A script's answer, with the instant and the position at which it was true.
#[derive(Debug, Clone)]
pub struct Stamped<T> {
    /// Redis' clock as the script read it, in microseconds since the Unix epoch.
    pub now_us: i64,
    /// The tenant's latest position.
    pub position: i64,
    /// The answer itself.
    pub answer: T,
}

impl<T> Stamped<T> {
    /// The same instant and position with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Stamped<U> {
        Stamped { now_us: self.now_us, position: self.position, answer: change(self.answer) }
    }

    /// The same instant and position with another answer, or the error of making one.
    ///
    /// # Errors
    /// The error of `change`.
    pub fn try_map<U, E>(self, change: impl FnOnce(T) -> Result<U, E>) -> Result<Stamped<U>, E> {
        Ok(Stamped { now_us: self.now_us, position: self.position, answer: change(self.answer)? })
    }
}

/// Outcome of a call that only a limit of the tier can refuse.
#[derive(Debug, Clone)]
pub enum Limited<T> {
    /// It was done.
    Done(T),
    /// Refused: it would pass a limit of the tenant's tier.
    Limit(LimitReached),
}

impl<T> Limited<T> {
    /// The same outcome with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Limited<U> {
        match self {
            Self::Done(answer) => Limited::Done(change(answer)),
            Self::Limit(reached) => Limited::Limit(reached),
        }
    }
}

/// What a script decided: done, or refused as a whole.
#[derive(Debug, Clone)]
pub enum Outcome<T> {
    /// It was done, item by item.
    Done(T),
    /// Refused: it would pass a limit of the tenant's tier.
    Limit(LimitReached),
    /// Refused: the token of each item marked `true` is wrong.
    WrongToken(Vec<bool>),
    /// Refused: it would change more physical resources than one call may.
    TooMany,
}

/// A limit of the tier that a call would have passed.
#[derive(Debug, Clone)]
pub struct LimitReached {
    /// The limit.
    pub limit_type: LimitType,
    /// The greatest number that the tier allows.
    pub limit: i64,
    /// The number in use now.
    pub used: i64,
    /// When the earliest of those in use ends, in milliseconds since the Unix epoch; absent where they do not end by themselves.
    pub until_ms: Option<i64>,
}

/// A script's reply: its head is decoded, its items are not yet.
pub(in crate::store) struct Reply {
    script: &'static Script,
    bytes: Vec<u8>,
    /// GCRA backlog of the tenant's rate in microseconds; 0 where the script does not count calls.
    pub(in crate::store) backlog_us: i64,
    /// The range of the status in `bytes`.
    status: (usize, usize),
    /// Redis' clock in microseconds since the Unix epoch.
    pub(in crate::store) now_us: i64,
    /// The tenant's latest position.
    pub(in crate::store) position: i64,
    /// Where the items begin in `bytes`.
    items: usize,
    /// The number of values left, where the reply is an array; other replies end with their bytes.
    left: Option<usize>,
}

impl Reply {
    /// Decodes the head: backlog (where calls are counted), status, clock, position.
    pub(in crate::store) fn read(script: &'static Script, bytes: Vec<u8>) -> Result<Self, StoreError> {
        let mut reader = Reader::new(&bytes);
        let head = (|| {
            let backlog_us = if script.is_counted() { reader.int()? } else { 0 };
            let mut left = reader.array_ahead();
            let status = reader.text()?.len();
            let end = bytes.len() - reader.left();
            let now_us = reader.int()?;
            left = left.map(|left| left.saturating_sub(2));
            let mut position = 0;
            if left.map_or(reader.left() > 0, |left| left > 0) {
                position = reader.int()?;
                left = left.map(|left| left - 1);
            }
            Some((backlog_us, (end - status, end), now_us, position, bytes.len() - reader.left(), left))
        })();
        match head {
            Some((backlog_us, status, now_us, position, items, left)) => {
                Ok(Self { script, backlog_us, status, now_us, position, items, left, bytes })
            }
            None => Err(StoreError::UnexpectedReply {
                script: script.name,
                got: format!("{} bytes without a head", bytes.len()),
            }),
        }
    }

    /// The word that the script's header names: `OK`, `LIMIT`, `NOT_FOUND` ...
    pub(in crate::store) fn status(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.status.0..self.status.1]).unwrap_or("")
    }

    /// A reader of the items.
    pub(in crate::store) fn items(&self) -> Reader<'_> {
        Reader::new(&self.bytes[self.items..])
    }

    /// Whether the fast variant answered.
    pub(in crate::store) fn is_fast(&self, variants: &Variants) -> bool {
        std::ptr::eq(self.script, variants.fast)
    }

    /// The error of a reply that is not what the script promises.
    pub(in crate::store) fn unexpected(&self) -> StoreError {
        let got = format!("{} and {} bytes of another shape", self.status(), self.bytes.len() - self.items);
        StoreError::UnexpectedReply { script: self.script.name, got }
    }

    /// An answer with the reply's clock and position.
    pub(in crate::store) fn stamped<T>(&self, answer: T) -> Stamped<T> {
        Stamped { now_us: self.now_us, position: self.position, answer }
    }

    /// Decodes items of `width` values each.
    pub(in crate::store) fn each<'r, T>(
        &'r self,
        width: usize,
        mut item: impl FnMut(&mut Reader<'r>) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        if self.left.is_some_and(|left| left % width != 0) {
            return Err(self.unexpected());
        }
        let mut reader = self.items();
        let mut items = Vec::with_capacity(self.left.map_or(1, |left| left / width));
        while reader.left() > 0 {
            items.push(item(&mut reader).ok_or_else(|| self.unexpected())?);
        }
        Ok(items)
    }

    /// Decodes all items by one function.
    pub(in crate::store) fn whole<'r, T>(
        &'r self,
        read: impl FnOnce(&mut Reader<'r>) -> Option<T>,
    ) -> Result<T, StoreError> {
        let mut reader = self.items();
        read(&mut reader).ok_or_else(|| self.unexpected())
    }

    /// Decodes the limit that the call would have passed.
    pub(in crate::store) fn limit(&self) -> Result<LimitReached, StoreError> {
        self.whole(|reader| {
            Some(LimitReached {
                limit_type: LimitType::of_name(reader.text()?)?,
                limit: reader.int()?,
                used: reader.int()?,
                until_ms: reader.maybe_int()?,
            })
        })
    }

    /// Decodes the answer of a script that may also refuse for a limit.
    pub(in crate::store) fn limited<T>(
        &self,
        done: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<Stamped<Limited<T>>, StoreError> {
        let outcome = match self.status() {
            "OK" => Limited::Done(done(self)?),
            "LIMIT" => Limited::Limit(self.limit()?),
            _ => return Err(self.unexpected()),
        };
        Ok(self.stamped(outcome))
    }

    /// Decodes the answer of a script that may also refuse for a limit or a wrong token.
    pub(in crate::store) fn outcome<T>(
        &self,
        done: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<Stamped<Outcome<T>>, StoreError> {
        let outcome = match self.status() {
            "OK" => Outcome::Done(done(self)?),
            "TOO_MANY" => Outcome::TooMany,
            "BAD_TOKEN" => Outcome::WrongToken(self.each(1, Reader::boolean)?),
            "LIMIT" => Outcome::Limit(self.limit()?),
            _ => return Err(self.unexpected()),
        };
        Ok(self.stamped(outcome))
    }
}
