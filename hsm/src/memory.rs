//! Master keys in memory, for tests of what stands on this crate. Real AES-256-GCM, real canaries, no token.
//!
//! It can be told to be away or to refuse. Behind the feature `testing`, so that no product holds it.

use crate::canary;
use crate::error::KeyError;
use crate::provider::{
    Alias, CreatedKey, Health, KnownKey, KnownKeys, MasterKeyAdmin, MasterKeyId, MasterKeys, Version,
};
use crate::rung::Rung;
use crate::wrapped::WrappedKey;
use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strongroom_engine::{ContextDigest, DataKey};
use zeroize::Zeroizing;

/// A [`MasterKeys`] without an HSM.
#[derive(Default)]
pub struct MemoryKeys(Mutex<State>);

#[derive(Default)]
struct State {
    masters: HashMap<MasterKeyId, LessSafeKey>,
    known: KnownKeys,
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
        let created = keys.state().create(alias, Version(1))?;
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
}

#[async_trait]
impl MasterKeys for MemoryKeys {
    async fn wrap(&self, alias: &Alias, key: &DataKey, context: &ContextDigest) -> Result<WrappedKey, KeyError> {
        let state = self.state();
        state.admit()?;
        let id = state.known.current(alias).ok_or_else(|| KeyError::NoSuchAlias { alias: alias.clone() })?.id;
        state.encrypt(&id, key.expose(), context.as_bytes())
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &ContextDigest) -> Result<DataKey, KeyError> {
        let state = self.state();
        state.admit()?;
        if state.refusing {
            return Err(KeyError::Refused);
        }
        state.decrypt(wrapped, context.as_bytes())
    }

    async fn health(&self) -> Health {
        match self.state().admit() {
            Ok(()) => Health::Ready,
            Err(error) => Health::Degraded { reason: error.to_string() },
        }
    }

    fn current(&self, alias: &Alias) -> Option<(MasterKeyId, Version)> {
        self.state().known.current(alias).map(|key| (key.id, key.version))
    }
}

#[async_trait]
impl MasterKeyAdmin for MemoryKeys {
    async fn create_master_key(&self, alias: &Alias, version: Version) -> Result<CreatedKey, KeyError> {
        self.state().create(alias, version)
    }

    fn register(&self, known: Vec<KnownKey>) {
        self.state().known.register(known);
    }
}

impl State {
    fn admit(&self) -> Result<(), KeyError> {
        if self.away { Err(KeyError::away("told to be")) } else { Ok(()) }
    }

    fn create(&mut self, alias: &Alias, version: Version) -> Result<CreatedKey, KeyError> {
        self.admit()?;
        let mut secret = Zeroizing::new([0; 32]);
        random(secret.as_mut_slice())?;
        let mut id = [0; 16];
        random(&mut id)?;
        let id = MasterKeyId::new(id);
        let key = UnboundKey::new(&AES_256_GCM, secret.as_slice()).map_err(unspecified)?;
        self.masters.insert(id, LessSafeKey::new(key));
        let canary = self.encrypt(&id, canary::VALUE, &canary::context(&id))?;
        Ok(CreatedKey { id, version, alias: alias.clone(), canary })
    }

    fn encrypt(&self, id: &MasterKeyId, key: &[u8; 32], context: &[u8; 32]) -> Result<WrappedKey, KeyError> {
        let master = self.masters.get(id).ok_or(KeyError::UnknownMasterKey { id: *id })?;
        let mut iv = [0; 12];
        random(&mut iv)?;
        let mut sealed = key.to_vec();
        let nonce = Nonce::assume_unique_for_key(iv);
        master.seal_in_place_append_tag(nonce, Aad::from(context), &mut sealed).map_err(unspecified)?;
        let ciphertext = [&[1, 12, 16], iv.as_slice(), &sealed].concat();
        Ok(WrappedKey { master: *id, rung: Rung::AesGcm, ciphertext })
    }

    fn decrypt(&self, wrapped: &WrappedKey, context: &[u8; 32]) -> Result<DataKey, KeyError> {
        let id = wrapped.master;
        let master = self.masters.get(&id).ok_or(KeyError::UnknownMasterKey { id })?;
        let parts = wrapped
            .ciphertext
            .split_first_chunk::<3>()
            .and_then(|(head, rest)| if *head == [1, 12, 16] { rest.split_first_chunk::<12>() } else { None });
        let (iv, sealed) = parts.ok_or(KeyError::Refused)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*iv);
        let opened = master.open_in_place(nonce, Aad::from(context), &mut sealed).map_err(|_| KeyError::Refused)?;
        let key: &mut [u8; 32] = opened.try_into().map_err(|_| KeyError::Refused)?;
        Ok(DataKey::from_bytes(key))
    }
}

fn random(out: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(out).map_err(|error| KeyError::Misconfigured(error.to_string()))
}

fn unspecified(_: Unspecified) -> KeyError {
    KeyError::Misconfigured("AES-256-GCM failed".to_owned())
}
