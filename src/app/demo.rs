//! The demo tenant: for a person's first minute.

use std::{io::Write, path::Path};

use crate::{
    app::secrets::write_secret,
    domain::{names::TenantId, tier::Tier},
    store::{Bearer, Secret, Store, StoreError},
};

/// File of the demo tenant's key, in the data directory.
const DEMO_FILE: &str = "demo-key";

/// The key of the demo tenant, which is made at the first start and kept beside the data.
///
/// # Errors
/// [`StoreError::OutcomeUnknown`]: there may be a demo tenant whose key nobody knows; the next start makes another one.
pub(super) async fn demo_key(store: &Store, dir: &Path) -> Result<String, StoreError> {
    let file = dir.join(DEMO_FILE);
    if let Ok(key) = std::fs::read_to_string(&file)
        && store.caller(&Bearer::Key(Secret::of(key.trim()))).await?.is_some()
    {
        return Ok(key.trim().to_owned());
    }
    let made = store.create_tenant(TenantId::random(), "demo", Tier::Pro).await?;
    let key = made.map(|(_, key)| key.text).unwrap_or_default();
    if let Err(error) = write_secret(&file, &key) {
        tracing::warn!(%error, file = %file.display(), "the demo key could not be kept; the next start makes another demo tenant");
    }
    Ok(key)
}

/// Prints where to look, signed in, and lines to paste. What stands behind `#` no server and no log sees.
pub(super) fn print_demo(url: &str, key: &str) {
    let directory = std::env::current_exe().ok().and_then(|file| file.parent().map(Path::to_owned));
    let path = directory.map(|directory| format!(" PATH='{}':$PATH", directory.display())).unwrap_or_default();
    // Where nobody reads it the service goes on.
    let _ = writeln!(
        std::io::stdout(),
        "\nHoldfast is serving.\n\n  dashboard  {url}/#/sign-in?key={key}\n  guide      {url}/guide/\n  API        {url}/docs\n  \
         demo key   {key}\n\nThe command line, in another terminal:\n\n  \
         export HOLDFAST_URL={url} HOLDFAST_KEY={key}{path}\n\nReserve something:\n\n  \
         curl -s {url}/api/v1/Reservation/reserve -H 'X-Api-Key: {key}' -H 'Content-Type: application/json' \
         -d '[{{\"requester\":\"me\",\"resource\":\"printer\",\"ttlSeconds\":60}}]'\n\nWatch it happen:\n\n  \
         curl -sN {url}/api/v1/events -H 'X-Api-Key: {key}'\n"
    );
}
