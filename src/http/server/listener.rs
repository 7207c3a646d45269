//! Listening sockets: one per runtime, all on one port, over which the kernel spreads connections.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel queues until their runtime accepts them.
const BACKLOG: i32 = 4096;

/// Why the service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The address cannot be bound.
    #[error("HOLDFAST_LISTEN={address} cannot be listened on: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("HOLDFAST_TLS_CERT and HOLDFAST_TLS_KEY cannot be used: {0}")]
    Tls(String),
}

/// A bound port, with one socket for each runtime.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl Listener {
    /// Binds `count` sockets to one address.
    ///
    /// # Errors
    /// [`ListenerError::Bind`] when the address is taken, also by a process that would share it.
    pub fn bind(address: SocketAddr, count: usize) -> Result<Self, ListenerError> {
        let bind_error = |error| ListenerError::Bind { address, error };
        // With SO_REUSEPORT two services could bind the same port unnoticed; a bind without it finds the other one.
        let probe = bind_socket(address, false).map_err(bind_error)?;
        let address = probe.local_addr().map_err(bind_error)?.as_socket().unwrap_or(address);
        drop(probe);
        let sockets = (0..count)
            .map(|_| {
                let socket = bind_socket(address, true)?;
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                Ok(socket.into())
            })
            .collect::<io::Result<_>>()
            .map_err(bind_error)?;
        Ok(Self { address, sockets })
    }

    /// The bound address, with the port that the system chose if none was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sockets, one per runtime.
    #[must_use]
    pub fn into_sockets(self) -> Vec<TcpListener> {
        self.sockets
    }
}

fn bind_socket(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
