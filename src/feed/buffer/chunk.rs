//! Chunks of HTTP/1.1's chunked transfer coding (RFC 9112, section 7.1): `<size in hex>\r\n<bytes>\r\n`.
//!
//! Frames are built as chunks, so that a socket can be handed the same bytes as they are, without a copy per stream.

use bytes::Bytes;

/// Space reserved in front of the content for the size line: up to eight hexadecimal digits and `\r\n`.
pub(super) const SIZE_LINE_BYTES: usize = 10;
/// Line end after a chunk's size and after its content.
pub(super) const CRLF: &[u8] = b"\r\n";

/// Builds one chunk: the content is appended piece by piece, and the size line is written in front of it at the end.
#[derive(Debug, Default)]
pub(in crate::feed) struct ChunkBuilder(Vec<u8>);

impl ChunkBuilder {
    pub(super) fn with_capacity(content_bytes: usize) -> Self {
        Self(Vec::with_capacity(SIZE_LINE_BYTES + content_bytes + CRLF.len()))
    }

    /// Length of the content so far, in bytes.
    pub(in crate::feed) fn len(&self) -> usize {
        self.0.len().saturating_sub(SIZE_LINE_BYTES)
    }

    pub(in crate::feed) fn push(&mut self, content: &[u8]) {
        if self.0.is_empty() {
            self.0.extend_from_slice(&[0; SIZE_LINE_BYTES]);
        }
        self.0.extend_from_slice(content);
    }

    /// The whole buffer, in which the content begins at [`SIZE_LINE_BYTES`], and the offset at which the chunk begins.
    pub(super) fn into_buffer(mut self) -> (Bytes, usize) {
        let mut size = self.len();
        // The digits are written from the last to the first, right before the line end.
        let mut start = SIZE_LINE_BYTES - CRLF.len();
        self.0[start..SIZE_LINE_BYTES].copy_from_slice(CRLF);
        loop {
            start -= 1;
            self.0[start] = b"0123456789abcdef"[size % 16];
            size /= 16;
            if size == 0 || start == 0 {
                break;
            }
        }
        self.0.extend_from_slice(CRLF);
        (Bytes::from(self.0), start)
    }

    /// The chunk and the offset at which its content begins; no bytes if there is no content, since an empty chunk
    /// would end the body.
    pub(in crate::feed) fn finish(self) -> (Bytes, usize) {
        if self.0.is_empty() {
            return (Bytes::new(), 0);
        }
        let (buffer, start) = self.into_buffer();
        (buffer.slice(start..), SIZE_LINE_BYTES - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_line_fits_the_content() {
        for size in [0, 1, 15, 16, 255, 256, 4_095, 70_000] {
            let content = vec![b'x'; size];
            let mut builder = ChunkBuilder::default();
            builder.push(&content);
            let (chunk, start) = builder.finish();
            assert_eq!(chunk, [format!("{size:x}\r\n").as_bytes(), &content, b"\r\n"].concat());
            assert_eq!(&chunk[start..chunk.len() - 2], content);
        }
    }

    #[test]
    fn no_content_makes_no_chunk() {
        assert!(ChunkBuilder::default().finish().0.is_empty());
    }
}
