//! A proxy to a Redis whose connections can be made silent: they answer, and deliver no published message any more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    task::JoinHandle,
};

use crate::support::{
    redis_server::Redis,
    world::{Replica, World},
};

/// The proxy. Connections that are opened after [`SilentProxy::silence`] deliver.
pub struct SilentProxy {
    port: u16,
    accepting: JoinHandle<()>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// How often connections were silenced: those opened before the last time are silent.
    silenced: AtomicUsize,
    /// Whether a message was swallowed.
    has_swallowed: AtomicBool,
}

impl SilentProxy {
    async fn to(redis: &Redis) -> Self {
        let socket = redis.dir().join("redis.sock");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let accepting = tokio::spawn({
            let state = state.clone();
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    let far = UnixStream::connect(&socket).await.unwrap();
                    let (opened_at, state) = (state.silenced.load(Ordering::Relaxed), state.clone());
                    tokio::spawn(async move {
                        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                        tokio::join!(copy(near_in, far_out), filter(far_in, near_out, opened_at, &state))
                    });
                }
            }
        });
        Self { port, accepting, state }
    }

    /// A proxy to a world's Redis, and a replica that knows it by the proxy alone.
    pub async fn with_replica<const N: usize>(world: &World<N>) -> (Self, Replica) {
        let proxy = Self::to(&world.redis).await;
        let replica = Replica::start(&[("REDIS_URL", &proxy.url())]);
        replica.ready().await;
        (proxy, replica)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From here on the present connections deliver no message.
    pub fn silence(&self) {
        self.state.silenced.fetch_add(1, Ordering::Relaxed);
        self.state.has_swallowed.store(false, Ordering::Relaxed);
    }

    /// Whether a message was swallowed since.
    pub fn has_swallowed(&self) -> bool {
        self.state.has_swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for SilentProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// Carries replies on, without the messages where the connection is silent.
async fn filter(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, opened_at: usize, state: &State) {
    let (mut open, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        open.extend_from_slice(&chunk[..read]);
        while let Some(length) = reply_length(&open) {
            let reply: Vec<u8> = open.drain(..length).collect();
            if is_message(&reply) && state.silenced.load(Ordering::Relaxed) > opened_at {
                state.has_swallowed.store(true, Ordering::Relaxed);
            } else if to.write_all(&reply).await.is_err() {
                return;
            }
        }
    }
    let _ = to.shutdown().await;
}

/// Whether a reply is a published message, in RESP2 or RESP3.
fn is_message(reply: &[u8]) -> bool {
    reply.starts_with(b"*3\r\n$7\r\nmessage\r\n") || reply.starts_with(b">3\r\n$7\r\nmessage\r\n")
}

/// Length of the first reply; `None`: it is not whole yet.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let count = || std::str::from_utf8(&bytes[1..end - 2]).unwrap().parse::<i64>().unwrap().max(0) as usize;
    match bytes[0] {
        b'$' | b'=' | b'!' if bytes[1] == b'-' => Some(end),
        b'$' | b'=' | b'!' => Some(end + count() + 2).filter(|length| *length <= bytes.len()),
        kind @ (b'*' | b'>' | b'~' | b'%') => {
            let elements = if kind == b'%' { 2 * count() } else { count() };
            (0..elements).try_fold(end, |length, _| Some(length + reply_length(&bytes[length..])?))
        }
        _ => Some(end),
    }
}
