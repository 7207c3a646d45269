//! Authentication and authorization: who calls, and whether the credential has the scope that the route requires.
//!
//! A known credential is checked in memory; Redis proves it again inside the script of the call.

mod authorize;
mod client_address;
mod credential;
mod extractors;
mod limiters;
pub(super) mod origin;

pub(in crate::http) use authorize::{authenticate, authenticate_sign_out, authorize, authorize_stream, identify};
pub(in crate::http) use credential::{COOKIE, SECURE_COOKIE, api_key};
pub(in crate::http) use extractors::{Admin, Administrator, AnyScope, Authorized, Read, Write};
pub use limiters::Limiters;
pub(in crate::http) use limiters::{
    admit, body_share, check_lookups, count_failure, count_lookups, count_sign_in_failure,
};
