//! MessagePack as `cmsgpack` writes it inside Redis, read in place. An absent value is `false` there: Lua's tables end at a nil.

use rmp::Marker;

/// Reads values one after the other. `None` means that the next value is of another kind, or cut short.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    /// The head of an array: how many values follow.
    pub(super) fn array(&mut self) -> Option<usize> {
        rmp::decode::read_array_len(&mut self.bytes).ok().map(|len| len as usize)
    }

    /// The head of an array that comes next, or `None`, and nothing is taken, when something else does.
    pub(super) fn array_ahead(&mut self) -> Option<usize> {
        let before = self.bytes;
        let len = self.array();
        if len.is_none() {
            self.bytes = before;
        }
        len
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = rmp::decode::read_str_len(&mut self.bytes).ok()? as usize;
        let (value, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(value)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The text that comes next, or `None`, and nothing is taken, when something else does.
    pub(super) fn text_ahead(&mut self) -> Option<&'a str> {
        let before = self.bytes;
        let text = self.text();
        if text.is_none() {
            self.bytes = before;
        }
        text
    }

    pub(super) fn int(&mut self) -> Option<i64> {
        rmp::decode::read_int(&mut self.bytes).ok()
    }

    /// A number that need not be whole: Lua writes it whole where it is.
    pub(super) fn number(&mut self) -> Option<f64> {
        match Marker::from_u8(*self.bytes.first()?) {
            Marker::F32 => rmp::decode::read_f32(&mut self.bytes).ok().map(f64::from),
            Marker::F64 => rmp::decode::read_f64(&mut self.bytes).ok(),
            _ => self.int().map(|whole| whole as f64),
        }
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        rmp::decode::read_bool(&mut self.bytes).ok()
    }

    /// Takes `false` or nil, and says whether it was there.
    pub(super) fn absent(&mut self) -> bool {
        let absent =
            self.bytes.first().is_some_and(|first| matches!(Marker::from_u8(*first), Marker::False | Marker::Null));
        if absent {
            self.bytes = &self.bytes[1..];
        }
        absent
    }

    /// Takes `true`, and says whether it was there.
    pub(super) fn truth(&mut self) -> bool {
        let truth = self.bytes.first().is_some_and(|first| matches!(Marker::from_u8(*first), Marker::True));
        if truth {
            self.bytes = &self.bytes[1..];
        }
        truth
    }

    pub(super) fn maybe_text(&mut self) -> Option<Option<String>> {
        if self.absent() { Some(None) } else { self.text().map(|text| Some(text.into())) }
    }

    pub(super) fn maybe_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        if self.absent() { Some(None) } else { self.bytes().map(Some) }
    }

    pub(super) fn maybe_int(&mut self) -> Option<Option<i64>> {
        if self.absent() { Some(None) } else { self.int().map(Some) }
    }

    pub(super) fn texts(&mut self) -> Option<Vec<String>> {
        let len = self.array()?;
        (0..len).map(|_| self.text().map(Into::into)).collect()
    }

    pub(super) fn maybe_texts(&mut self) -> Option<Option<Vec<String>>> {
        if self.absent() { Some(None) } else { self.texts().map(Some) }
    }
}

/// Writes a sequence of values for a script to unpack.
pub(super) struct Writer(Vec<u8>);

/// Room for what most sequences are: growing to that by doubling costs more than the room.
const ROOM: usize = 256;

impl Default for Writer {
    fn default() -> Self {
        Self(Vec::with_capacity(ROOM))
    }
}

impl Writer {
    /// Adds a sequence that was written before.
    pub(super) fn sequence(mut self, sequence: &[u8]) -> Self {
        self.0.extend_from_slice(sequence);
        self
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        // Writing to memory cannot fail.
        let _ = rmp::encode::write_str(&mut self.0, text);
        self
    }

    pub(super) fn maybe_text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(text),
            None => self.boolean(false),
        }
    }

    /// Bytes, as a text: `cmsgpack` knows no binary.
    pub(super) fn binary(mut self, bytes: &[u8]) -> Self {
        let _ = rmp::encode::write_str_len(&mut self.0, bytes.len() as u32);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn boolean(mut self, value: bool) -> Self {
        let _ = rmp::encode::write_bool(&mut self.0, value);
        self
    }

    pub(super) fn int(mut self, value: i64) -> Self {
        let _ = rmp::encode::write_sint(&mut self.0, value);
        self
    }

    pub(super) fn maybe_int(self, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.int(value),
            None => self.boolean(false),
        }
    }

    pub(super) fn float(mut self, value: f64) -> Self {
        let _ = rmp::encode::write_f64(&mut self.0, value);
        self
    }

    /// The head of an array of so many values, which follow.
    pub(super) fn array(mut self, len: usize) -> Self {
        let _ = rmp::encode::write_array_len(&mut self.0, len as u32);
        self
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}
