//! Entry for fuzzing (`fuzz/`): replies of our own Redis. Compiled for that and for unit tests alone.

use super::resp;

/// Decodes the first reply, and the bytes as a published message.
///
/// # Panics
/// Where what is decoded depends on what follows it.
pub fn reply(bytes: &[u8]) {
    if let Ok(Some((value, size))) = resp::read(bytes) {
        assert!(size > 0 && size <= bytes.len());
        assert_eq!(resp::read(&bytes[..size]).ok().flatten(), Some((value, size)));
    }
    let message = [resp::MESSAGE_PREFIX, bytes].concat();
    if let Ok(Some((payload, size))) = resp::read_message(&message) {
        assert!(size <= message.len() && payload.len() < size);
    }
}
