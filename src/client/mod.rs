//! A typed client of the HTTP API: the command line uses it, and tests and examples may.
//!
//! It knows the wire contract alone and imports no other room. [`Client`] makes the calls, [`acquire()`] adds waiting, [`EventFollower`]
//! follows the event stream and resumes it. Every wait is measured on a clock that neither jumps nor stops while the machine is
//! suspended ([`BootInstant`]).

mod acquire;
mod answer;
mod backoff;
mod call;
mod clock;
mod connection;
mod endpoint;
mod error;
mod events;
mod reservations;
mod resources;
#[cfg(test)]
mod scripted_peer;
mod shapes;
mod tickets;
mod transport;

pub use acquire::{Acquisition, Progress, WaitPolicy, acquire};
pub use answer::{Acquired, Mode, WaitEnd};
pub use backoff::Backoff;
pub use call::Reply;
pub use clock::BootInstant;
pub use endpoint::{ApiKey, Endpoint, SettingError};
pub use error::{ClientError, Refusal};
pub use events::{EventFilter, EventFollower, Followed, ServerEvent};
pub use reservations::Client;
pub use resources::Definition;
pub use shapes::{
    ActiveReservation, Checked, ReleaseItem, ReleaseResult, RenewItem, RenewResult, ReserveItem, ReserveResult, Status,
    Transaction, TransactionResult, WaitFields,
};
pub use tickets::{Ticket, TicketStatus};
pub use transport::Transport;
