//! Which service to call, and with which key: options, environment, profiles.

use std::{collections::BTreeMap, io, path::PathBuf};

use clap::{Args, ValueHint};
use serde::Deserialize;

use crate::{
    cli::{
        exit::{Exit, Failure},
        output,
    },
    client::{ApiKey, Client, Endpoint, Transport},
};

const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// The profile that is used where none is named.
const DEFAULT_PROFILE: &str = "default";

/// How to reach the service. A key is never an argument: arguments are seen by every user of the machine.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionArgs {
    /// Address of the service [env: HOLDFAST_URL] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// File with the API key; else HOLDFAST_KEY [env: HOLDFAST_KEY_FILE]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
    /// Profile of ~/.config/holdfast/config.toml [env: HOLDFAST_PROFILE]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

/// An address and the key for it.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// The service's address.
    pub endpoint: Endpoint,
    /// None calls as nobody, which a service with `HOLDFAST_AUTH=open` allows.
    pub key: Option<ApiKey>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    url: Option<String>,
    key: Option<String>,
    key_file: Option<PathBuf>,
}

/// The environment, as the settings of a connection see it.
struct Environment {
    variables: BTreeMap<String, String>,
    config: Option<(PathBuf, String)>,
}

impl ConnectionArgs {
    /// The connection that options, environment and profile name, in this order; a profile that an option names comes before the
    /// environment.
    ///
    /// # Errors
    /// [`Exit::Usage`]: a file that cannot be read, a profile that is not there, an address or a key that cannot be used.
    pub(super) fn resolve(&self) -> Result<Connection, Failure> {
        self.resolve_in(&Environment::read()?)
    }

    /// A client of the connection.
    ///
    /// # Errors
    /// As [`ConnectionArgs::resolve`].
    pub(super) fn client(&self) -> Result<Client, Failure> {
        self.resolve()?.client()
    }

    fn resolve_in(&self, environment: &Environment) -> Result<Connection, Failure> {
        let variable = |name: &str| environment.variables.get(name).filter(|value| !value.is_empty()).cloned();
        let named = self.profile.clone().or_else(|| variable("HOLDFAST_PROFILE"));
        let profile = environment.profile(named.as_deref())?;
        let by_option = |value: &Option<String>| self.profile.as_ref().and(value.clone());
        let chosen = self.url.clone().or_else(|| by_option(&profile.url)).or_else(|| variable("HOLDFAST_URL"));
        // A profile's key is for its own address: what the environment points elsewhere does not get it, unless the profile is named.
        let profile_fits = named.is_some() || chosen.is_none() || chosen == profile.url;
        let url = chosen.or(profile.url).unwrap_or_else(|| DEFAULT_URL.into());
        let endpoint = Endpoint::parse(&url)?;

        let profile_key = || match (&profile.key, &profile.key_file) {
            (Some(key), _) => {
                let name = named.as_deref().unwrap_or(DEFAULT_PROFILE);
                Some(ApiKey::parse(key).map(|key| key.found_in(format!("the profile {name}"))).map_err(Failure::from))
            }
            (None, Some(file)) => Some(read_key(file)),
            (None, None) => None,
        };
        let key = if let Some(file) = &self.key_file {
            Some(read_key(file))
        } else if let Some(key) = self.profile.as_ref().and_then(|_| profile_key()) {
            Some(key)
        } else if let Some(key) = variable("HOLDFAST_KEY") {
            Some(ApiKey::parse(&key).map(|key| key.found_in("HOLDFAST_KEY")).map_err(Failure::from))
        } else if let Some(file) = variable("HOLDFAST_KEY_FILE") {
            Some(read_key(&PathBuf::from(file)))
        } else if profile_fits {
            profile_key()
        } else {
            None
        };
        Ok(Connection { endpoint, key: key.transpose()? })
    }
}

impl Connection {
    /// A client of it. Connects at the first call.
    ///
    /// # Errors
    /// [`Exit::Unreachable`]: TLS cannot be used on this machine.
    pub(super) fn client(self) -> Result<Client, Failure> {
        Ok(Client::new(Transport::new(self.endpoint, self.key)?))
    }
}

impl Environment {
    fn read() -> Result<Self, Failure> {
        let variables: BTreeMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let home = |name: &str| variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = home("XDG_CONFIG_HOME").or_else(|| home("HOME").map(|home| home.join(".config")));
        let config = match directory.map(|directory| directory.join("holdfast/config.toml")) {
            None => None,
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => {
                    warn_if_shared(&path, &text);
                    Some((path, text))
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
                Err(error) => {
                    return Err(Failure::new(Exit::Usage, format!("{} cannot be read: {error}", path.display())));
                }
            },
        };
        Ok(Self { variables, config })
    }

    /// The named profile, or the default one where there is one.
    fn profile(&self, name: Option<&str>) -> Result<Profile, Failure> {
        let Some((path, text)) = &self.config else {
            return match name {
                None => Ok(Profile::default()),
                Some(name) => Err(Failure::new(
                    Exit::Usage,
                    format!("there is no profile {name:?}: ~/.config/holdfast/config.toml does not exist"),
                )),
            };
        };
        let mut file: ConfigFile = toml::from_str(text)
            .map_err(|error| Failure::new(Exit::Usage, format!("{}: {}", path.display(), error.message())))?;
        match (file.profile.remove(name.unwrap_or(DEFAULT_PROFILE)), name) {
            (Some(profile), _) => Ok(profile),
            (None, None) => Ok(Profile::default()),
            (None, Some(name)) => {
                let known: Vec<_> = file.profile.into_keys().collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                Err(Failure::new(
                    Exit::Usage,
                    format!("there is no profile {name:?} in {}; there are: {known}", path.display()),
                ))
            }
        }
    }
}

fn read_key(file: &PathBuf) -> Result<ApiKey, Failure> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::Usage, format!("the key file {shown} cannot be read: {error}")))?;
    Ok(ApiKey::parse(&text)?.found_in(shown.to_string()))
}

/// A file with a key in it that others may read is worth a word.
fn warn_if_shared(path: &PathBuf, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let has_key = text
        .lines()
        .any(|line| line.trim_start().strip_prefix("key").is_some_and(|rest| rest.trim_start().starts_with('=')));
    if has_key && metadata.permissions().mode() & 0o077 != 0 {
        output::note(&format!("{} has a key in it and others may read it; chmod 600 keeps it yours", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "[profile.default]\nurl = \"http://d:1\"\nkey = \"dk\"\n[profile.prod]\nurl = \"https://p\"\nkey = \"pk\"\n";

    fn resolved(args: &ConnectionArgs, variables: &[(&str, &str)], file: Option<&str>) -> (String, Option<String>) {
        let environment = Environment {
            variables: variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            config: file.map(|text| ("config.toml".into(), text.into())),
        };
        let connection = args.resolve_in(&environment).unwrap();
        (connection.endpoint.to_string(), connection.key.map(|key| key.expose().into()))
    }

    #[test]
    fn options_come_before_environment_and_profiles() {
        let none = ConnectionArgs::default();
        let url = ConnectionArgs { url: Some("http://o".into()), ..none.clone() };
        let prod = ConnectionArgs { profile: Some("prod".into()), ..none.clone() };
        let env: &[_] = &[("HOLDFAST_URL", "http://e"), ("HOLDFAST_KEY", "ek")];
        let key = |text: &str| Some(text.to_owned());
        assert_eq!(resolved(&none, &[], None), (DEFAULT_URL.into(), None));
        assert_eq!(resolved(&none, &[], Some(FILE)), ("http://d:1".into(), key("dk")));
        assert_eq!(resolved(&none, env, Some(FILE)), ("http://e".into(), key("ek")));
        assert_eq!(resolved(&prod, env, Some(FILE)), ("https://p".into(), key("pk")));
        assert_eq!(resolved(&url, env, Some(FILE)), ("http://o".into(), key("ek")));
        assert_eq!(resolved(&none, &[("HOLDFAST_PROFILE", "prod")], Some(FILE)), ("https://p".into(), key("pk")));
    }

    #[test]
    fn a_profiles_key_does_not_go_to_another_address() {
        let url = ConnectionArgs { url: Some("http://o".into()), ..ConnectionArgs::default() };
        assert_eq!(resolved(&url, &[], Some(FILE)), ("http://o".into(), None));
        let same = ConnectionArgs { url: Some("http://d:1".into()), ..ConnectionArgs::default() };
        assert_eq!(resolved(&same, &[], Some(FILE)).1, Some("dk".into()));
    }

    #[test]
    fn a_key_says_where_it_was_found() {
        let hint = |args: &ConnectionArgs, variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let environment = Environment { variables, config: Some(("c".into(), FILE.into())) };
            args.resolve_in(&environment).unwrap().key.unwrap().hint()
        };
        let none = ConnectionArgs::default();
        let prod = ConnectionArgs { profile: Some("prod".into()), ..none.clone() };
        assert_eq!(hint(&none, &[("HOLDFAST_KEY", "ek")]), "the key of HOLDFAST_KEY");
        assert_eq!(hint(&none, &[]), "the key of the profile default");
        assert_eq!(hint(&prod, &[]), "the key of the profile prod");
    }

    #[test]
    fn a_profile_that_is_not_there_names_those_that_are() {
        let args = ConnectionArgs { profile: Some("x".into()), ..ConnectionArgs::default() };
        let environment = Environment { variables: BTreeMap::new(), config: Some(("c".into(), FILE.into())) };
        let failure = args.resolve_in(&environment).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("default, prod"), "{}", failure.message);
    }
}
