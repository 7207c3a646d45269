//! The secret of the service, from which the vault derives its keys.

use std::{io, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    app::AppError,
    config::{Config, SecretText},
    trust::SecretKeys,
};

/// File of the generated secret, in the data directory of the private Redis whose data it protects.
const SECRET_FILE: &str = "secret-key";
/// Length of a generated secret, in random bytes.
const SECRET_BYTES: usize = 32;

/// The secrets of `SECRET_KEY`; else with a private Redis the one beside its data, made at the first start; else the admin key.
///
/// # Errors
/// [`AppError::NoSecret`], or [`AppError::Secret`] with what is wrong with the file.
pub(super) fn secret_keys(config: &Config) -> Result<SecretKeys, AppError> {
    if let Some(secrets) = &config.secret_keys {
        return SecretKeys::chosen(secrets.iter().map(SecretText::expose)).ok_or(AppError::NoSecret);
    }
    if config.redis_url.is_some() {
        // Derived keys do not reveal the admin key.
        return config.admin_key.as_ref().and_then(|key| SecretKeys::chosen([key.expose()])).ok_or(AppError::NoSecret);
    }
    let path = config.data_dir.join(SECRET_FILE);
    let fail = |error| AppError::Secret { file: path.display().to_string(), error };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => generate(&path).map_err(fail)?,
        Err(error) => return Err(fail(error)),
    };
    SecretKeys::generated(text.trim())
        .ok_or_else(|| fail(io::Error::other("it is too short; remove it to have a new one made")))
}

fn generate(path: &Path) -> io::Result<String> {
    let mut random = [0_u8; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let text = URL_SAFE_NO_PAD.encode(random);
    write_secret(path, &text)?;
    Ok(text)
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// The system's.
pub(super) fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")
}
