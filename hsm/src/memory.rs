//! Master keys in memory, for tests of what stands on this crate. Real AES-256-GCM, real canaries, no token.
//!
//! It can be told to be away or to refuse. Behind the feature `testing`, so that no product holds it.

use crate::error::KeyError;
use crate::provider::{
    Alias, CreatedKey, Health, KnownKey, MasterKeyAdmin, MasterKeyId, MasterKeys, TokenKey, Version,
};
use crate::software::SoftwareKeys;
use crate::wrapped::WrappedKey;
use async_trait::async_trait;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strongroom_engine::{ContextDigest, DataKey};

/// A [`MasterKeys`] without an HSM.
#[derive(Default)]
pub struct MemoryKeys(Mutex<State>);

#[derive(Default)]
struct State {
    keys: SoftwareKeys,
    away: bool,
    refusing: bool,
}

impl MemoryKeys {
    /// No master key yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One current master key, version 1 of `alias`.
    pub fn with_key(alias: &Alias) -> Result<Self, KeyError> {
        let keys = Self::new();
        let created = keys.ready()?.keys.create(alias, Version(1))?;
        keys.register(vec![created.into_known(true)]);
        Ok(keys)
    }

    /// While true, every call answers [`KeyError::Away`].
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// While true, every unwrap answers [`KeyError::Refused`].
    pub fn set_refusing(&self, refusing: bool) {
        self.state().refusing = refusing;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Result<MutexGuard<'_, State>, KeyError> {
        let state = self.state();
        if state.away { Err(KeyError::away("told to be")) } else { Ok(state) }
    }
}

#[async_trait]
impl MasterKeys for MemoryKeys {
    async fn wrap(&self, alias: &Alias, key: &DataKey, context: &ContextDigest) -> Result<WrappedKey, KeyError> {
        self.ready()?.keys.wrap(alias, key, context.as_bytes())
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &ContextDigest) -> Result<DataKey, KeyError> {
        let state = self.ready()?;
        if state.refusing {
            return Err(KeyError::Refused);
        }
        state.keys.unwrap(wrapped, context.as_bytes())
    }

    async fn health(&self) -> Health {
        match self.ready() {
            Ok(_) => Health::Ready,
            Err(error) => Health::Degraded { reason: error.to_string() },
        }
    }

    fn current(&self, alias: &Alias) -> Option<(MasterKeyId, Version)> {
        self.state().keys.known.current(alias).map(|key| (key.id, key.version))
    }

    fn name_of(&self, id: &MasterKeyId) -> Option<(Alias, Version)> {
        self.state().keys.known.name_of(id)
    }
}

#[async_trait]
impl MasterKeyAdmin for MemoryKeys {
    async fn create_master_key(&self, alias: &Alias, version: Version) -> Result<CreatedKey, KeyError> {
        self.ready()?.keys.create(alias, version)
    }

    fn register(&self, known: Vec<KnownKey>) {
        self.state().keys.known.register(known);
    }

    fn forget(&self, id: &MasterKeyId) {
        self.state().keys.known.forget(id);
    }

    async fn list_master_keys(&self) -> Result<Vec<TokenKey>, KeyError> {
        Ok(self.ready()?.keys.list())
    }

    async fn adopt_master_key(&self, id: &MasterKeyId) -> Result<CreatedKey, KeyError> {
        self.ready()?.keys.adopt(id)
    }

    async fn retire_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        self.ready()?.keys.set_wraps(id, false)
    }

    async fn reinstate_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        self.ready()?.keys.set_wraps(id, true)
    }

    async fn destroy_master_key(&self, alias: &Alias, version: Version, id: &MasterKeyId) -> Result<(), KeyError> {
        self.ready()?.keys.destroy(alias, version, id);
        Ok(())
    }
}
