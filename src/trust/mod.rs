//! What signatures and ciphers prove: our own tokens and stored secrets, and the tokens of issuers that tenants trust.
//!
//! Pure: no IO and no clock. Whoever asks brings the time, which is Redis'.

mod issuer;
mod provider;
mod vault;

pub use issuer::{Keys, Registration, claimed};
pub use vault::{SecretKeys, TOKEN_LIFE_S, Vault};

/// Lends jsonwebtoken our cryptography. Every way into this room passes here first.
fn ready() {
    // Another call may have done it: then it is the same provider.
    let _ = provider::PROVIDER.install_default();
}
