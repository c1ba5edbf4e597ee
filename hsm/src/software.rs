//! Master keys in this process's own memory: what the keyfile provider and the keys for tests share.
//!
//! Real AES-256-GCM in the token's own encoding, real canaries, and the same rules: a retired key only unwraps, a key's
//! label is its alias and version. No file, no passphrase, no HSM.

use crate::canary;
use crate::error::KeyError;
use crate::provider::{Alias, CreatedKey, KeyKind, KnownKey, KnownKeys, MasterKeyId, TokenKey, Version};
use crate::rung::Rung;
use crate::wrapped::WrappedKey;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use strongroom_engine::DataKey;
use zeroize::Zeroizing;

/// Place of the IV, its length, length of the tag: as a token records them.
const HEAD: [u8; 3] = [1, 12, 16];

/// One master key.
pub(crate) struct SoftwareKey {
    pub(crate) alias: Alias,
    pub(crate) version: Version,
    pub(crate) id: MasterKeyId,
    pub(crate) may_wrap: bool,
    pub(crate) secret: DataKey,
}

/// Master keys, and what the keyring said of them.
#[derive(Default)]
pub(crate) struct SoftwareKeys {
    pub(crate) held: Vec<SoftwareKey>,
    pub(crate) known: KnownKeys,
}

impl SoftwareKeys {
    pub(crate) fn create(&mut self, alias: &Alias, version: Version) -> Result<CreatedKey, KeyError> {
        let id = MasterKeyId::fresh(self.known.as_slice().first().map(|key| &key.id))?;
        let secret = DataKey::generate().map_err(|error| KeyError::Misconfigured(error.to_string()))?;
        self.held.push(SoftwareKey { alias: alias.clone(), version, id, may_wrap: true, secret });
        self.adopt(&id)
    }

    pub(crate) fn adopt(&self, id: &MasterKeyId) -> Result<CreatedKey, KeyError> {
        let key = self.find(id)?;
        let canary = key.encrypt(canary::VALUE, &canary::context(id))?;
        Ok(CreatedKey { id: *id, version: key.version, alias: key.alias.clone(), canary })
    }

    pub(crate) fn wrap(&self, alias: &Alias, key: &DataKey, context: &[u8; 32]) -> Result<WrappedKey, KeyError> {
        let known = self.known.to_wrap(alias)?;
        let is_ours = |held: &SoftwareKey| known.id.is_of_same_store(&held.id);
        let later =
            |held: &&SoftwareKey| held.alias == *alias && held.version > self.newest_known(alias) && is_ours(held);
        let master = self.find(&known.id)?;
        if !master.may_wrap || self.held.iter().any(|held| later(&held)) {
            return Err(KeyError::Superseded { alias: alias.clone() });
        }
        self.check_canary(known, master)?;
        let wrapped = master.encrypt(key.expose(), context)?;
        master.decrypt(&wrapped, context)?;
        Ok(wrapped)
    }

    pub(crate) fn unwrap(&self, wrapped: &WrappedKey, context: &[u8; 32]) -> Result<DataKey, KeyError> {
        self.known.to_unwrap(&wrapped.master)?;
        self.find(&wrapped.master)?.decrypt(wrapped, context)
    }

    pub(crate) fn set_wraps(&mut self, id: &MasterKeyId, wraps: bool) -> Result<(), KeyError> {
        let key = self.held.iter_mut().find(|key| key.id == *id);
        key.ok_or(KeyError::UnknownMasterKey { id: *id })?.may_wrap = wraps;
        Ok(())
    }

    pub(crate) fn destroy(&mut self, alias: &Alias, version: Version, id: &MasterKeyId) {
        self.held.retain(|key| key.id != *id || key.alias != *alias || key.version != version);
    }

    pub(crate) fn list(&self) -> Vec<TokenKey> {
        let listed = |key: &SoftwareKey| TokenKey {
            id: key.id,
            alias: key.alias.clone(),
            version: key.version,
            kind: KeyKind::Aes,
            may_wrap: Some(key.may_wrap),
            may_unwrap: Some(true),
            sensitive: Some(false),
            extractable: Some(true),
            always_sensitive: Some(false),
            never_extractable: Some(false),
            made_on_token: Some(false),
        };
        let mut keys: Vec<TokenKey> = self.held.iter().map(listed).collect();
        keys.sort_by(|a, b| (&a.alias, a.version, a.id).cmp(&(&b.alias, b.version, b.id)));
        keys
    }

    fn newest_known(&self, alias: &Alias) -> Version {
        let versions =
            self.known.as_slice().iter().filter(|key| key.alias == *alias).map(|key| key.version.max(key.begun));
        versions.max().unwrap_or(Version(0))
    }

    fn check_canary(&self, known: &KnownKey, master: &SoftwareKey) -> Result<(), KeyError> {
        match master.decrypt(&known.canary, &canary::context(&known.id)) {
            Ok(opened) if opened.expose() == canary::VALUE => Ok(()),
            _ => Err(KeyError::Misconfigured(format!(
                "the canary of master key {} does not open, so nothing is wrapped under it: restore its keyring row",
                known.id
            ))),
        }
    }

    fn find(&self, id: &MasterKeyId) -> Result<&SoftwareKey, KeyError> {
        self.held.iter().find(|key| key.id == *id).ok_or(KeyError::UnknownMasterKey { id: *id })
    }
}

impl SoftwareKey {
    fn encrypt(&self, key: &[u8; 32], context: &[u8; 32]) -> Result<WrappedKey, KeyError> {
        let mut iv = [0; 12];
        random(&mut iv)?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(48));
        sealed.extend_from_slice(key);
        let nonce = Nonce::assume_unique_for_key(iv);
        self.cipher()?.seal_in_place_append_tag(nonce, Aad::from(context), &mut *sealed).map_err(unspecified)?;
        let ciphertext = [HEAD.as_slice(), &iv, &sealed].concat();
        Ok(WrappedKey { master: self.id, rung: Rung::AesGcm, ciphertext })
    }

    fn decrypt(&self, wrapped: &WrappedKey, context: &[u8; 32]) -> Result<DataKey, KeyError> {
        let parts = wrapped
            .ciphertext
            .split_first_chunk::<3>()
            .and_then(|(head, rest)| if *head == HEAD { rest.split_first_chunk::<12>() } else { None });
        let (iv, sealed) = parts.filter(|_| wrapped.rung == Rung::AesGcm).ok_or(KeyError::Refused)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*iv);
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(context), &mut sealed);
        let key: &mut [u8; 32] = opened.map_err(|_| KeyError::Refused)?.try_into().map_err(|_| KeyError::Refused)?;
        Ok(DataKey::from_bytes(key))
    }

    fn cipher(&self) -> Result<LessSafeKey, KeyError> {
        UnboundKey::new(&AES_256_GCM, self.secret.expose()).map(LessSafeKey::new).map_err(unspecified)
    }
}

fn random(out: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(out).map_err(|error| KeyError::Misconfigured(error.to_string()))
}

fn unspecified(_: Unspecified) -> KeyError {
    KeyError::Misconfigured("AES-256-GCM failed".to_owned())
}
