//! Cryptography: our own tokens, stored secrets, and the JWTs of issuers that tenants trust.
//!
//! Pure: no IO and no clock. The caller passes the time, which is Redis'.

mod issuer;
mod provider;
mod public_key;
mod vault;

pub use issuer::{IssuerKeys, Registration, claimed_pairs};
pub use vault::{SecretKeys, TOKEN_LIFE_S, Vault};

/// Installs our cryptography in jsonwebtoken. Every entry to this room calls it first.
fn install_provider() {
    // A second installation fails, and changes nothing: it is the same provider.
    let _ = provider::PROVIDER.install_default();
}
