//! Classification of connection errors, without their text: it may hold what a tenant must not read.

use std::{error::Error, sync::Arc};

use redis::{ErrorKind, RedisError};

use crate::domain::queue::connection::BrokerError;

/// Class of an error of a connection, with or without TLS.
pub(super) fn classify(error: &RedisError, tls: bool) -> BrokerError {
    match error.kind() {
        ErrorKind::AuthenticationFailed => return BrokerError::Auth,
        ErrorKind::RESP3NotSupported => return BrokerError::Protocol,
        _ => {}
    }
    match error.code() {
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => return BrokerError::Auth,
        Some(_) => return BrokerError::Protocol,
        None => {}
    }
    if error.is_timeout() {
        return BrokerError::Timeout;
    }
    if error.is_connection_refusal() {
        return BrokerError::Refused;
    }
    let Some(io) = io_error_of(error) else {
        return match error.kind() {
            ErrorKind::Io | ErrorKind::Client if tls => BrokerError::Tls,
            _ if error.is_connection_dropped() => BrokerError::Broken,
            _ => BrokerError::Protocol,
        };
    };
    use std::io::ErrorKind as Io;
    match io.kind() {
        Io::NetworkUnreachable | Io::HostUnreachable | Io::AddrNotAvailable | Io::NetworkDown => BrokerError::Refused,
        Io::InvalidData | Io::UnexpectedEof if tls => BrokerError::Tls,
        Io::TimedOut => BrokerError::Timeout,
        _ => BrokerError::Broken,
    }
}

/// Whether a connection could not be opened because its user may not choose the database: redis-rs keeps the text of that error alone.
pub(super) fn is_select_refused(error: &RedisError) -> bool {
    error.code() == Some("ERR") && error.detail().is_some_and(|detail| detail.contains("permission"))
}

/// The I/O error inside an error of the `redis` crate, which keeps it as a shared source.
fn io_error_of(error: &RedisError) -> Option<&std::io::Error> {
    let shared = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    shared.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_have_classes() {
        use std::io::{Error, ErrorKind::*};
        let class = |kind, tls| classify(&RedisError::from(Error::from(kind)), tls);
        assert_eq!((class(InvalidData, true), class(InvalidData, false)), (BrokerError::Tls, BrokerError::Broken));
        assert_eq!(
            (class(ConnectionRefused, false), class(TimedOut, true), class(HostUnreachable, false)),
            (BrokerError::Refused, BrokerError::Timeout, BrokerError::Refused)
        );
        assert_eq!(
            (class(ConnectionReset, false), class(UnexpectedEof, true)),
            (BrokerError::Broken, BrokerError::Tls)
        );
    }
}
