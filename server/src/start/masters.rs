//! The provider of master keys that the settings name: workers over a token, or a stand-in for a token that is gone.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use strongroom_engine::{ContextDigest, DataKey};
use strongroom_hsm::{
    Alias, CreatedKey, DevToken, Health, KeyError, KnownKey, MasterKeyAdmin, MasterKeyId, MasterKeys, ModuleConfig,
    PinSource, Supervisor, TokenKey, TokenSelector, Version, WorkerCommand, WrappedKey, make_softhsm_token,
};

use super::StartError;
use crate::config::{DEV_TOKEN_LABEL, MastersConfig, ServeConfig};
use crate::keyring::{Keyring, SqliteKeyring};
use crate::store::ForceToken;

/// The token that the settings name.
pub(super) enum Token {
    Dev(DevToken),
    Configured(ModuleConfig),
    /// A development token that was there once: the store starts, and says what is missing.
    Gone(String),
}

/// Finds the token; makes a development token, if this is the first start.
pub(super) fn token(config: &ServeConfig, is_first_start: bool) -> Result<Token, StartError> {
    match &config.masters {
        MastersConfig::Pkcs11 { module, token_label, pin } => {
            check_readable("PKCS#11 module", module)?;
            if let PinSource::File(path) = pin {
                check_readable("PIN file", path)?;
            }
            Ok(Token::Configured(ModuleConfig {
                refusal_file: Some(config.places.data.join("refused-pin")),
                ..ModuleConfig::new(module.clone(), TokenSelector::Label(token_label.clone()), pin.clone())
            }))
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
                    return Ok(Token::Gone(reason));
                }
            };
            check_readable("PIN file", &found.pin_file)?;
            Ok(Token::Dev(found))
        }
    }
}

/// The worker reads it; whether it can is told before anything starts.
fn check_readable(what: &str, path: &Path) -> Result<(), KeyError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(KeyError::Misconfigured(format!("cannot read {what} {}: {error}", path.display()))),
    }
}

/// The master keys that the keyring knows.
pub(super) async fn known(keyring: &SqliteKeyring) -> Result<Vec<KnownKey>, StartError> {
    Ok(keyring.master_keys().await?.into_iter().filter_map(crate::life::known).collect())
}

/// This program again, as the worker: the same file, also when it was replaced on disk meanwhile.
fn worker_command() -> WorkerCommand {
    WorkerCommand { program: "/proc/self/exe".into(), args: vec!["hsm-worker".into()] }
}

/// The provider, and how its token is made durable.
pub(super) struct Masters {
    provider: Provider,
    dev: Option<DevToken>,
}

enum Provider {
    Workers(Arc<Supervisor>),
    Gone(Arc<Gone>),
}

impl Masters {
    /// Starts the workers; returns at once.
    pub(super) fn start(token: Token, known: Vec<KnownKey>) -> Result<Self, StartError> {
        let (config, dev) = match token {
            Token::Gone(reason) => return Ok(Self { provider: Provider::Gone(Arc::new(Gone { reason })), dev: None }),
            Token::Dev(dev) => (dev.module_config(DEV_TOKEN_LABEL, vec![]), Some(dev)),
            Token::Configured(config) => (config, None),
        };
        let supervisor = Supervisor::start(worker_command(), config, known)?;
        Ok(Self { provider: Provider::Workers(Arc::new(supervisor)), dev })
    }

    pub(super) fn keys(&self) -> Arc<dyn MasterKeyAdmin> {
        match &self.provider {
            Provider::Workers(supervisor) => supervisor.clone(),
            Provider::Gone(gone) => gone.clone(),
        }
    }

    /// What forces the token to disk where it does not do so itself.
    pub(super) fn force_token(&self) -> ForceToken {
        let dev = self.dev.clone();
        Arc::new(move || dev.as_ref().map_or(Ok(()), DevToken::sync))
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
