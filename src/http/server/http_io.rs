//! The bytes of a connection between the socket and the HTTP library: raw characters of a path are percent-encoded on
//! the way in, and the library's own refusals, which have no body, get ours on the way out.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::{pipeline::refusal, server::activity::Activity};

/// First bytes of a connection that speaks HTTP/2.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Longest head of a refusal by the HTTP library.
const MAX_REFUSAL_BYTES: usize = 200;

/// A connection's bytes as the HTTP library gets them.
pub(super) struct HttpIo<S> {
    stream: S,
    activity: Arc<Activity>,
    /// Whether what comes next belongs to a request line.
    in_request_line: bool,
    /// Bytes that were read and did not fit.
    unread: Vec<u8>,
    /// A refusal of ours, and how much of it is written.
    refusal: Option<(Vec<u8>, usize)>,
}

impl<S> HttpIo<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, in_request_line: true, unread: Vec::new(), refusal: None }
    }

    /// Changes what was read into `buffer` after its first `before` bytes, if it has raw characters of a path.
    fn encode(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let read = &buffer.filled()[before..];
        if read.starts_with(HTTP2_PREFACE) {
            self.activity.record_http2();
            self.in_request_line = false;
            return;
        }
        let end = read.iter().position(|byte| *byte == b'\n');
        self.in_request_line = end.is_none();
        let line = end.unwrap_or(read.len());
        if !read[..line].iter().copied().any(is_raw) {
            return;
        }
        let mut encoded = Vec::with_capacity(read.len() + 64);
        for byte in &read[..line] {
            match is_raw(*byte) {
                true => encoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                false => encoded.push(*byte),
            }
        }
        encoded.extend_from_slice(&read[line..]);
        buffer.set_filled(before);
        self.unread = encoded;
        self.give_unread(buffer);
    }

    fn give_unread(&mut self, buffer: &mut ReadBuf<'_>) {
        let fits = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..fits]);
        self.unread.drain(..fits);
    }

    /// Our answer in place of `head`, if that is a refusal by the HTTP library.
    fn begin_refusal(&mut self, head: &[u8]) {
        if self.refusal.is_none() && head.len() <= MAX_REFUSAL_BYTES && self.activity.is_between_requests() {
            self.refusal = library_refusal(head).map(|status| (refusal(status), 0));
        }
    }
}

/// Whether a byte of a request line is a character of a path that must not stand there raw. `#` is one: no client sends
/// a fragment, so it belongs to a name.
fn is_raw(byte: u8) -> bool {
    matches!(byte, b'<' | b'>' | b'`' | b'#' | 0x80..)
}

/// The status of an answer that the HTTP library gave by itself: such a one closes the connection and has no body, which
/// none of ours does.
fn library_refusal(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?;
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let is_bare = text.contains("\r\nconnection: close\r\n") && text.contains("\r\ncontent-length: 0\r\n");
    (status.starts_with('4') && is_bare && text.ends_with("\r\n\r\n")).then(|| status.parse().ok())?
}

impl<S: AsyncRead + Unpin> AsyncRead for HttpIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            self.give_unread(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.in_request_line |= self.activity.record_read();
            if self.in_request_line {
                self.encode(buffer, before);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> HttpIo<S> {
    /// Writes the refusal that stands for `length` bytes of the HTTP library's.
    fn poll_refusal(&mut self, context: &mut Context<'_>, length: usize) -> Option<Poll<io::Result<usize>>> {
        let (answer, written) = self.refusal.as_mut()?;
        while *written < answer.len() {
            match Pin::new(&mut self.stream).poll_write(context, &answer[*written..]) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(more)) => *written += more,
                other => return Some(other),
            }
        }
        self.refusal = None;
        Some(Poll::Ready(Ok(length)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HttpIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.begin_refusal(bytes);
        if let Some(written) = self.poll_refusal(context, bytes.len()) {
            return written;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = bytes {
            self.begin_refusal(head);
            if let Some(written) = self.poll_refusal(context, head.len()) {
                return written;
            }
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    /// What the HTTP library reads of bytes that arrive in these pieces, through a buffer of `size` bytes.
    fn read_through(pieces: &[&[u8]], size: usize) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut builder = tokio_test_io(pieces);
            let mut io = HttpIo::new(&mut builder, Activity::new());
            let (mut all, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                let read = io.read(&mut buffer).await.unwrap();
                if read == 0 {
                    return all;
                }
                all.extend_from_slice(&buffer[..read]);
            }
        })
    }

    /// A reader that gives one piece per read.
    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    fn tokio_test_io(pieces: &[&[u8]]) -> Pieces {
        Pieces(pieces.iter().map(|piece| piece.to_vec()).collect())
    }

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn raw_characters_of_the_request_line_are_encoded_and_nothing_else() {
        let whole = "GET /check/Plant>Line`1#\u{5d0}?prefix=A<B HTTP/1.1\r\nx: <a>#\r\n\r\n<body>";
        let wanted = "GET /check/Plant%3ELine%601%23%D7%90?prefix=A%3CB HTTP/1.1\r\nx: <a>#\r\n\r\n<body>";
        for size in [1, 7, 1_000] {
            assert_eq!(read_through(&[whole.as_bytes()], size), wanted.as_bytes(), "{size}");
            let (one, two) = whole.as_bytes().split_at(20);
            assert_eq!(read_through(&[one, two], size), wanted.as_bytes(), "in two pieces, {size}");
        }
    }

    #[test]
    fn only_the_librarys_own_refusals_are_replaced() {
        let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        assert_eq!(library_refusal(refusal.as_bytes()), Some(400));
        for other in [
            refusal.replace("content-length: 0", "content-length: 10"),
            refusal.replace("400 Bad Request", "200 OK"),
            refusal.replace("connection: close", "connection: keep-alive"),
            format!("{refusal}{{}}"),
            String::new(),
        ] {
            assert_eq!(library_refusal(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_pass_through(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..50) {
            let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
            let mut wanted = Vec::new();
            for byte in &bytes[..line] {
                match is_raw(*byte) {
                    true => wanted.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                    false => wanted.push(*byte),
                }
            }
            wanted.extend_from_slice(&bytes[line..]);
            prop_assert_eq!(read_through(&[&bytes], size), wanted);
        }
    }
}
