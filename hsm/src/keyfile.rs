//! Provider without an HSM: master keys in a file that a passphrase protects. For laptops and tests, and loud about it.
//!
//! Whoever has file and passphrase has the master keys, and while the server runs they lie in its memory. The file is
//! replaced as a whole, never edited; two processes take turns by a lock beside it, and each finds what the other made.
//! The passphrase is read from a file of its own, never from an argument or a variable.

mod file;
mod passphrase;

use crate::error::KeyError;
use crate::provider::{
    Alias, CreatedKey, Health, KnownKey, MasterKeyAdmin, MasterKeyId, MasterKeys, TokenKey, Version,
};
use crate::providers::{Options, ProviderKind, ProviderSettings, Start};
use crate::software::SoftwareKeys;
use crate::wrapped::WrappedKey;
use async_trait::async_trait;
use file::KeyFile;
use futures_channel::oneshot;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_engine::{ContextDigest, DataKey};

/// Where the keys are, and what opens them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyfileConfig {
    /// The file with the keys; made, empty, if it is absent and `may_make` says so.
    pub file: PathBuf,
    /// The file with the passphrase; one newline at its end is left out.
    pub passphrase_file: PathBuf,
    /// Whether an absent file is made. Never where a keyring exists that was wrapped under it.
    pub may_make: bool,
    /// The aliases whose master keys lie there; any other is refused. None named: all.
    pub aliases: Vec<Alias>,
}

/// Master keys in a file.
pub struct KeyfileKeys(Arc<Shared>);

struct Shared {
    aliases: Vec<Alias>,
    state: Mutex<State>,
}

struct State {
    file: KeyFile,
    keys: SoftwareKeys,
}

impl KeyfileKeys {
    /// Reads the file and warns that it is no HSM. Blocks for the time of one Argon2id, some tenths of a second.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] for a wrong passphrase, a damaged or absent file.
    pub fn open(config: &KeyfileConfig, known: Vec<KnownKey>) -> Result<Self, KeyError> {
        let passphrase = passphrase::read(&config.passphrase_file)?;
        let (file, held) = KeyFile::open(&config.file, &passphrase, config.may_make)?;
        tracing::warn!(
            file = %config.file.display(),
            "MASTER KEYS LIE IN A FILE, NOT IN AN HSM: whoever has this file and its passphrase has every object"
        );
        let mut keys = SoftwareKeys { held, ..SoftwareKeys::default() };
        keys.known.register(known);
        let state = Mutex::new(State { file, keys });
        Ok(Self(Arc::new(Shared { aliases: config.aliases.clone(), state })))
    }

    /// A change, made durable before it is told; on a thread of its own, since files block.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut SoftwareKeys) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let shared = self.0.clone();
        let (answer, answered) = oneshot::channel();
        let work = move || {
            let mut state = shared.state();
            let State { file, keys } = &mut *state;
            let result = file.locked(|file| {
                keys.held = file.read()?;
                let done = change(keys)?;
                file.write(&keys.held)?;
                Ok(done)
            });
            // Fails where the caller has hung up.
            let _ = answer.send(result);
        };
        std::thread::Builder::new()
            .name("keyfile".to_owned())
            .spawn(work)
            .map_err(|error| KeyError::Misconfigured(format!("the operating system gives no thread: {error}")))?;
        answered.await.unwrap_or_else(|_| Err(KeyError::away("the thread that writes the key file failed")))
    }

    fn own(&self, alias: &Alias) -> Result<(), KeyError> {
        let aliases = &self.0.aliases;
        if aliases.is_empty() || aliases.contains(alias) {
            Ok(())
        } else {
            Err(KeyError::NoSuchAlias { alias: alias.clone() })
        }
    }
}

impl Shared {
    /// What the lock guards is changed as a whole after the file was written, so a panic leaves it as the file is or as
    /// it was before.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MasterKeys for KeyfileKeys {
    async fn wrap(&self, alias: &Alias, key: &DataKey, context: &ContextDigest) -> Result<WrappedKey, KeyError> {
        self.own(alias)?;
        self.0.state().keys.wrap(alias, key, context.as_bytes())
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &ContextDigest) -> Result<DataKey, KeyError> {
        self.0.state().keys.unwrap(wrapped, context.as_bytes())
    }

    async fn health(&self) -> Health {
        Health::Ready
    }

    fn current(&self, alias: &Alias) -> Option<(MasterKeyId, Version)> {
        self.own(alias).ok()?;
        self.0.state().keys.known.current(alias).map(|key| (key.id, key.version))
    }

    fn name_of(&self, id: &MasterKeyId) -> Option<(Alias, Version)> {
        self.0.state().keys.known.name_of(id)
    }
}

#[async_trait]
impl MasterKeyAdmin for KeyfileKeys {
    async fn create_master_key(&self, alias: &Alias, version: Version) -> Result<CreatedKey, KeyError> {
        self.own(alias)?;
        let alias = alias.clone();
        self.change(move |keys| keys.create(&alias, version)).await
    }

    fn register(&self, known: Vec<KnownKey>) {
        let mut state = self.0.state();
        let State { file, keys } = &mut *state;
        keys.known.register(known);
        // What is known and not held, another process has made: it is in the file by now.
        let is_held = |known: &KnownKey| keys.held.iter().any(|held| held.id == known.id);
        if !keys.known.as_slice().iter().all(is_held) {
            match file.locked(|file| file.read()) {
                Ok(held) => keys.held = held,
                Err(error) => tracing::error!(%error, "cannot read the key file again"),
            }
        }
    }

    fn forget(&self, id: &MasterKeyId) {
        self.0.state().keys.known.forget(id);
    }

    async fn list_master_keys(&self) -> Result<Vec<TokenKey>, KeyError> {
        self.change(|keys| Ok(keys.list())).await
    }

    async fn adopt_master_key(&self, id: &MasterKeyId) -> Result<CreatedKey, KeyError> {
        let id = *id;
        self.change(move |keys| keys.adopt(&id)).await
    }

    async fn retire_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        let id = *id;
        self.change(move |keys| keys.set_wraps(&id, false)).await
    }

    async fn reinstate_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        let id = *id;
        self.change(move |keys| keys.set_wraps(&id, true)).await
    }

    async fn destroy_master_key(&self, alias: &Alias, version: Version, id: &MasterKeyId) -> Result<(), KeyError> {
        let (alias, id) = (alias.clone(), *id);
        self.change(move |keys| {
            keys.destroy(&alias, version, &id);
            Ok(())
        })
        .await
    }
}

/// For [`Providers`](crate::Providers): `file`, `passphrase-file`, and `make = true` for an absent file.
pub(crate) const KIND: ProviderKind =
    ProviderKind { name: "keyfile", paths: &["file", "passphrase-file"], others: &["make"], start };

fn start(settings: &ProviderSettings, start: &Start) -> Result<Arc<dyn MasterKeyAdmin>, KeyError> {
    let mut options = Options::of(settings);
    let config = KeyfileConfig {
        file: options.path("file")?,
        passphrase_file: options.path("passphrase-file")?,
        may_make: options.flag("make")?,
        aliases: settings.aliases.clone(),
    };
    options.end()?;
    Ok(Arc::new(KeyfileKeys::open(&config, start.known.clone())?))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> KeyError {
    KeyError::Misconfigured(format!("cannot {what} {}: {error}", path.display()))
}
