//! MessagePack as `cmsgpack` of Redis writes and reads it, decoded in place. An absent value is `false`, since Lua's tables end at a nil.

use rmp::Marker;

/// Decodes values one after the other. `None` means that the next value is of another type, or incomplete.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the first value of a sequence.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes left to decode; 0 at the end.
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    /// The head of an array: the number of values that follow.
    pub(super) fn array(&mut self) -> Option<usize> {
        rmp::decode::read_array_len(&mut self.bytes).ok().map(|len| len as usize)
    }

    /// The head of an array, if an array comes next; else nothing is consumed.
    pub(super) fn array_ahead(&mut self) -> Option<usize> {
        let before = self.bytes;
        let len = self.array();
        if len.is_none() {
            self.bytes = before;
        }
        len
    }

    /// The bytes of a string, which need not be UTF-8.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = rmp::decode::read_str_len(&mut self.bytes).ok()? as usize;
        let (value, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(value)
    }

    /// A string in UTF-8.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A string, if a string comes next; else nothing is consumed.
    pub(super) fn text_ahead(&mut self) -> Option<&'a str> {
        let before = self.bytes;
        let text = self.text();
        if text.is_none() {
            self.bytes = before;
        }
        text
    }

    /// An integer.
    pub(super) fn int(&mut self) -> Option<i64> {
        rmp::decode::read_int(&mut self.bytes).ok()
    }

    /// An integer, if one comes next; else nothing is consumed.
    pub(super) fn int_ahead(&mut self) -> Option<i64> {
        let before = self.bytes;
        let int = self.int();
        if int.is_none() {
            self.bytes = before;
        }
        int
    }

    /// A number. Lua writes an integer where the value is whole.
    pub(super) fn number(&mut self) -> Option<f64> {
        match Marker::from_u8(*self.bytes.first()?) {
            Marker::F32 => rmp::decode::read_f32(&mut self.bytes).ok().map(f64::from),
            Marker::F64 => rmp::decode::read_f64(&mut self.bytes).ok(),
            _ => self.int().map(|whole| whole as f64),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self) -> Option<bool> {
        rmp::decode::read_bool(&mut self.bytes).ok()
    }

    /// Whether `false` or nil comes next, which is consumed.
    pub(super) fn absent(&mut self) -> bool {
        let absent =
            self.bytes.first().is_some_and(|first| matches!(Marker::from_u8(*first), Marker::False | Marker::Null));
        if absent {
            self.bytes = &self.bytes[1..];
        }
        absent
    }

    /// Whether `true` comes next, which is consumed.
    pub(super) fn truth(&mut self) -> bool {
        let truth = self.bytes.first().is_some_and(|first| matches!(Marker::from_u8(*first), Marker::True));
        if truth {
            self.bytes = &self.bytes[1..];
        }
        truth
    }

    /// So many values, whatever they are.
    pub(super) fn skip(&mut self, values: usize) -> Option<()> {
        let mut left = values;
        while left > 0 {
            left -= 1;
            match Marker::from_u8(*self.bytes.first()?) {
                Marker::Null | Marker::False | Marker::True => self.bytes = &self.bytes[1..],
                Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => drop(self.bytes()?),
                Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => left = left.checked_add(self.array()?)?,
                _ => drop(self.number()?),
            }
        }
        Some(())
    }

    /// A string, or an absent value.
    pub(super) fn maybe_text(&mut self) -> Option<Option<String>> {
        if self.absent() { Some(None) } else { self.text().map(|text| Some(text.into())) }
    }

    /// Bytes, or an absent value.
    pub(super) fn maybe_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        if self.absent() { Some(None) } else { self.bytes().map(Some) }
    }

    /// An integer, or an absent value.
    pub(super) fn maybe_int(&mut self) -> Option<Option<i64>> {
        if self.absent() { Some(None) } else { self.int().map(Some) }
    }

    /// An array of strings.
    pub(super) fn texts(&mut self) -> Option<Vec<String>> {
        let len = self.array()?;
        (0..len).map(|_| self.text().map(Into::into)).collect()
    }

    /// An array of strings, or an absent value.
    pub(super) fn maybe_texts(&mut self) -> Option<Option<Vec<String>>> {
        if self.absent() { Some(None) } else { self.texts().map(Some) }
    }
}

/// Encodes a sequence of values, which a function unpacks at once.
pub(super) struct Writer(Vec<u8>);

/// Initial capacity in bytes: most sequences fit, and growing to it by doubling would cost more than the memory.
const INITIAL_CAPACITY: usize = 256;

impl Default for Writer {
    fn default() -> Self {
        Self(Vec::with_capacity(INITIAL_CAPACITY))
    }
}

impl Writer {
    /// Adds a sequence that is already encoded.
    pub(super) fn sequence(mut self, sequence: &[u8]) -> Self {
        self.0.extend_from_slice(sequence);
        self
    }

    /// Adds a string.
    pub(super) fn text(mut self, text: &str) -> Self {
        // Writing to a Vec cannot fail.
        let _ = rmp::encode::write_str(&mut self.0, text);
        self
    }

    /// Adds a string, or an absent value.
    pub(super) fn maybe_text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(text),
            None => self.boolean(false),
        }
    }

    /// Adds bytes as a string: `cmsgpack` has no binary type.
    pub(super) fn binary(mut self, bytes: &[u8]) -> Self {
        let _ = rmp::encode::write_str_len(&mut self.0, bytes.len() as u32);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds `true` or `false`; `false` is an absent value, too.
    pub(super) fn boolean(mut self, value: bool) -> Self {
        let _ = rmp::encode::write_bool(&mut self.0, value);
        self
    }

    /// Adds an integer.
    pub(super) fn int(mut self, value: i64) -> Self {
        let _ = rmp::encode::write_sint(&mut self.0, value);
        self
    }

    /// Adds an integer, or an absent value.
    pub(super) fn maybe_int(self, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.int(value),
            None => self.boolean(false),
        }
    }

    /// Adds a number that need not be whole.
    pub(super) fn float(mut self, value: f64) -> Self {
        let _ = rmp::encode::write_f64(&mut self.0, value);
        self
    }

    /// Adds the head of an array of `len` values, which follow.
    pub(super) fn array(mut self, len: usize) -> Self {
        let _ = rmp::encode::write_array_len(&mut self.0, len as u32);
        self
    }

    /// The encoded bytes.
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}
