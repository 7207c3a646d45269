//! Replies of functions: the head that all of them share, and what each adds to it.

use crate::{
    domain::{closed_set::ClosedSet, tier::LimitType},
    store::{Caller, StoreError, TooFast, codec::Reader, functions::Function},
};

/// A function's answer, with the instant and the position at which it was true.
#[derive(Debug, Clone)]
pub struct Stamped<T> {
    /// Redis' clock as the function read it, in microseconds since the Unix epoch.
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

/// What a function decided: done, or refused as a whole.
#[derive(Debug, Clone)]
pub enum Outcome<T> {
    /// It was done, item by item.
    Done(T),
    /// Refused: it would pass a limit of the tenant's tier.
    Limit(LimitReached),
    /// Refused: the token of each item marked `true` is wrong.
    WrongToken(Vec<bool>),
}

impl<T> Outcome<T> {
    /// The same outcome with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Done(answer) => Outcome::Done(change(answer)),
            Self::Limit(reached) => Outcome::Limit(reached),
            Self::WrongToken(wrong) => Outcome::WrongToken(wrong),
        }
    }
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

impl LimitReached {
    /// Decodes the four values that follow `LIMIT`.
    pub(in crate::store) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            limit_type: LimitType::of_name(reader.text()?)?,
            limit: reader.int()?,
            used: reader.int()?,
            until_ms: reader.maybe_int()?,
        })
    }
}

/// A function's reply: its head is decoded, its items are not yet.
pub(in crate::store) struct Reply {
    function: &'static Function,
    bytes: Vec<u8>,
    /// GCRA backlog of the tenant's rate in microseconds; 0 where no call is counted.
    pub(in crate::store) backlog_us: i64,
    /// The range of the status in `bytes`.
    status: (usize, usize),
    /// Redis' clock in microseconds since the Unix epoch.
    pub(in crate::store) now_us: i64,
    /// The tenant's latest position; 0 where it is not known.
    pub(in crate::store) position: i64,
    /// Where the items begin in `bytes`.
    items: usize,
}

impl Reply {
    /// Decodes the head: backlog, status, clock, position.
    pub(in crate::store) fn read(function: &'static Function, bytes: Vec<u8>) -> Result<Self, StoreError> {
        let mut reader = Reader::new(&bytes);
        let head = (|| {
            let backlog_us = reader.int()?;
            let status = reader.text()?.len();
            let end = bytes.len() - reader.left();
            let (now_us, position) = (reader.int()?, reader.int()?);
            Some((backlog_us, (end - status, end), now_us, position, bytes.len() - reader.left()))
        })();
        match head {
            Some((backlog_us, status, now_us, position, items)) => {
                Ok(Self { function, backlog_us, status, now_us, position, items, bytes })
            }
            None => Err(StoreError::UnexpectedReply {
                function: function.name,
                got: format!("{} bytes without a head", bytes.len()),
            }),
        }
    }

    /// The word that the function's header names: `OK`, `LIMIT`, `NOT_FOUND` ...
    pub(in crate::store) fn status(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.status.0..self.status.1]).unwrap_or("")
    }

    /// A reader of the items.
    pub(in crate::store) fn items(&self) -> Reader<'_> {
        Reader::new(&self.bytes[self.items..])
    }

    /// The error of a reply that is not what the function promises.
    pub(in crate::store) fn unexpected(&self) -> StoreError {
        let got = format!("{} and {} bytes of another shape", self.status(), self.bytes.len() - self.items);
        StoreError::UnexpectedReply { function: self.function.name, got }
    }

    /// The error of a call whose caller is too fast.
    pub(in crate::store) fn too_fast(&self, caller: &Caller) -> StoreError {
        let wait_us = self.whole(|reader| reader.int().and(reader.int())).ok();
        match (caller.limits().rate, wait_us) {
            (Some(rate), Some(wait_us)) => {
                StoreError::TooFast(TooFast { tier: caller.tenant().tier, rate, wait_us, now_us: Some(self.now_us) })
            }
            _ => self.unexpected(),
        }
    }

    /// An answer with the reply's clock and position.
    pub(in crate::store) fn stamped<T>(&self, answer: T) -> Stamped<T> {
        Stamped { now_us: self.now_us, position: self.position, answer }
    }

    /// Decodes items one after the other.
    pub(in crate::store) fn each<'r, T>(
        &'r self,
        mut item: impl FnMut(&mut Reader<'r>) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut reader = self.items();
        let mut items = Vec::new();
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
        self.whole(LimitReached::read)
    }

    /// Decodes the answer of a function that may also refuse for a limit.
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

    /// Decodes the answer of a function that may also refuse for a limit, a wrong token or a time to live.
    pub(in crate::store) fn outcome<T>(
        &self,
        done: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<Stamped<Outcome<T>>, StoreError> {
        let outcome = match self.status() {
            "OK" => Outcome::Done(done(self)?),
            "BAD_TOKEN" => Outcome::WrongToken(self.each(Reader::boolean)?),
            "LIMIT" => Outcome::Limit(self.limit()?),
            "TTL" => return Err(StoreError::TtlTooLong { max_ms: self.whole(Reader::int)? }),
            _ => return Err(self.unexpected()),
        };
        Ok(self.stamped(outcome))
    }
}
