//! The providers of master keys that the settings name, or a stand-in for a development token that is gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use strongroom_engine::{ContextDigest, DataKey};
use strongroom_hsm::{
    Alias, CreatedKey, DevToken, Health, KeyError, KnownKey, MasterKeyAdmin, MasterKeyId, MasterKeys, ProviderSettings,
    Providers, TokenKey, Version, WorkerCommand, WrappedKey, make_softhsm_token,
};

use super::StartError;
use super::serials::Serials;
use crate::config::{DEV_TOKEN_LABEL, MastersConfig, ServeConfig};
use crate::keyring::{Keyring, SqliteKeyring};
use crate::store::ForceToken;

/// Where the master keys are, as far as that can be found out without an HSM.
pub(super) enum Found {
    Providers(Vec<ProviderSettings>),
    Dev(DevToken, ProviderSettings),
    /// A development token that was there once: the store starts, and says what is missing.
    Gone(String),
}

/// Finds what the settings name; makes a development token or a key file, if this is the first start.
pub(super) fn find(config: &ServeConfig, is_first_start: bool) -> Result<Found, StartError> {
    match &config.masters {
        MastersConfig::NotTold => Err(KeyError::Misconfigured(NOT_TOLD.to_owned()).into()),
        MastersConfig::Providers(told) => {
            let mut all = told.clone();
            for one in &mut all {
                complete(one, config, is_first_start);
            }
            expect_serials(&mut all, config)?;
            all.iter().try_for_each(check)?;
            Ok(Found::Providers(all))
        }
        MastersConfig::Dev => {
            let parent = &config.places.token_parent;
            let found = match DevToken::find(parent)? {
                Some(found) => found,
                None if is_first_start => make_softhsm_token(&worker_command(), parent, DEV_TOKEN_LABEL)?,
                None => {
                    let reason = format!(
                        "the token {} is gone while its keyring is there: restore the folder and start again",
                        parent.join("token").display()
                    );
                    tracing::error!("{reason}; until then every request is answered 503");
                    return Ok(Found::Gone(reason));
                }
            };
            let mut only = [dev_settings(&found)?];
            expect_serials(&mut only, config)?;
            check(&only[0])?;
            let [settings] = only;
            Ok(Found::Dev(found, settings))
        }
    }
}

/// What to say where nobody told.
pub(crate) const NOT_TOLD: &str =
    "where are the master keys? give --config, --dev, --pkcs11-module and --token-label, or --keyfile";

/// What is not told and follows from the rest.
fn complete(one: &mut ProviderSettings, config: &ServeConfig, is_first_start: bool) {
    let options = &mut one.options;
    match one.kind.as_str() {
        "pkcs11" if !options.contains_key("refusal-file") => {
            let file = config.places.data.join(format!("refused-pin.{}", one.name));
            options.insert("refusal-file".to_owned(), file.to_string_lossy().into_owned());
        }
        "keyfile" if is_first_start => {
            options.entry("make".to_owned()).or_insert_with(|| "true".to_owned());
        }
        _ => {}
    }
}

/// Another token under the same label is refused: each provider is told the serial that is remembered for its aliases.
fn expect_serials(all: &mut [ProviderSettings], config: &ServeConfig) -> Result<(), StartError> {
    if config.accept_moved_token {
        return Ok(());
    }
    let serials = Serials::read(&config.places.keyring)?;
    let told = all.to_vec();
    for one in all.iter_mut().filter(|one| one.kind == "pkcs11" && !one.options.contains_key("expected-serial")) {
        if let Some(serial) = serials.first(|alias| one.takes(alias, &told)) {
            one.options.insert("expected-serial".to_owned(), serial.to_owned());
        }
    }
    Ok(())
}

/// What a worker or a provider will read; whether it can is told before anything starts.
fn check(one: &ProviderSettings) -> Result<(), KeyError> {
    let files = [("module", "PKCS#11 module"), ("pin-file", "PIN file"), ("passphrase-file", "passphrase file")];
    for (option, what) in files {
        if let Some(path) = one.options.get(option)
            && let Err(error) = std::fs::File::open(path)
        {
            return Err(KeyError::Misconfigured(format!("cannot read {what} {path}: {error}")));
        }
    }
    Ok(())
}

fn dev_settings(token: &DevToken) -> Result<ProviderSettings, KeyError> {
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| KeyError::Misconfigured(format!("the path {} is no UTF-8", path.display())))
    };
    let options = [
        ("module", text(&token.module)?),
        ("label", DEV_TOKEN_LABEL.to_owned()),
        ("pin-file", text(&token.pin_file)?),
        ("environment.SOFTHSM2_CONF", text(&token.config_file)?),
    ];
    let options: BTreeMap<String, String> = options.map(|(name, value)| (name.to_owned(), value)).into();
    Ok(ProviderSettings { name: "dev".to_owned(), kind: "pkcs11".to_owned(), aliases: Vec::new(), options })
}

/// The master keys that the keyring knows.
pub(super) async fn known(keyring: &SqliteKeyring) -> Result<Vec<KnownKey>, StartError> {
    Ok(keyring.master_keys().await?.into_iter().filter_map(crate::life::known).collect())
}

/// This program again, as the worker: the same file, also when it was replaced on disk meanwhile.
pub(crate) fn worker_command() -> WorkerCommand {
    WorkerCommand { program: "/proc/self/exe".into(), args: vec!["hsm-worker".into()] }
}

/// The providers as one, and how a token is made durable that does not do so itself.
pub(super) struct Masters {
    pub(super) keys: Arc<dyn MasterKeyAdmin>,
    pub(super) force_token: ForceToken,
}

impl Masters {
    /// Starts them; returns at once, but for a key file.
    pub(super) fn start(found: Found, known: &[KnownKey]) -> Result<Self, StartError> {
        let (all, dev) = match found {
            Found::Providers(all) => (all, None),
            Found::Dev(token, settings) => (vec![settings], Some(token)),
            Found::Gone(reason) => {
                return Ok(Self { keys: Arc::new(Gone { reason }), force_token: Arc::new(|| Ok(())) });
            }
        };
        let keys = Arc::new(Providers::start(&all, &worker_command(), known)?);
        Ok(Self { keys, force_token: Arc::new(move || dev.as_ref().map_or(Ok(()), DevToken::sync)) })
    }
}

/// Stands for a token that is not there: every call says so, and nothing is made in its place.
struct Gone {
    reason: String,
}

impl Gone {
    fn away(&self) -> KeyError {
        KeyError::Away { reason: self.reason.clone() }
    }
}

#[async_trait]
impl MasterKeys for Gone {
    async fn wrap(&self, _: &Alias, _: &DataKey, _: &ContextDigest) -> Result<WrappedKey, KeyError> {
        Err(self.away())
    }

    async fn unwrap(&self, _: &WrappedKey, _: &ContextDigest) -> Result<DataKey, KeyError> {
        Err(self.away())
    }

    async fn health(&self) -> Health {
        Health::Degraded { reason: self.reason.clone() }
    }

    fn current(&self, _: &Alias) -> Option<(MasterKeyId, Version)> {
        None
    }
}

#[async_trait]
impl MasterKeyAdmin for Gone {
    async fn create_master_key(&self, _: &Alias, _: Version) -> Result<CreatedKey, KeyError> {
        Err(self.away())
    }

    fn register(&self, _: Vec<KnownKey>) {}

    fn forget(&self, _: &MasterKeyId) {}

    async fn list_master_keys(&self) -> Result<Vec<TokenKey>, KeyError> {
        Err(self.away())
    }

    async fn adopt_master_key(&self, _: &MasterKeyId) -> Result<CreatedKey, KeyError> {
        Err(self.away())
    }

    async fn retire_master_key(&self, _: &MasterKeyId) -> Result<(), KeyError> {
        Err(self.away())
    }

    async fn reinstate_master_key(&self, _: &MasterKeyId) -> Result<(), KeyError> {
        Err(self.away())
    }

    async fn destroy_master_key(&self, _: &Alias, _: Version, _: &MasterKeyId) -> Result<(), KeyError> {
        Err(self.away())
    }
}
