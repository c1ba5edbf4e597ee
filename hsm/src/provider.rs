//! The provider interface: what the server knows of master keys, whatever holds them.
//!
//! A provider wraps and unwraps data keys; it never shows a master key. What it wrapped it has also unwrapped and
//! compared before the caller sees it. Its calls wait, but never block the thread they are polled on.

use crate::error::KeyError;
use crate::wrapped::WrappedKey;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt;
use strongroom_engine::{ContextDigest, DataKey};

/// The name of a master key for people: 1 to 250 of `A-Z a-z 0-9 / _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Alias(String);

/// The text is no alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an alias is 1 to 250 characters of A-Z, a-z, 0-9, slash, underscore, hyphen")]
pub struct InvalidAlias;

impl Alias {
    /// Checks length and characters.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidAlias> {
        let name = name.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
        if (1..=250).contains(&name.len()) && name.bytes().all(allowed) { Ok(Self(name)) } else { Err(InvalidAlias) }
    }

    /// `default`: the alias that wraps where no other is asked for.
    pub fn default_alias() -> Self {
        Self("default".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Alias {
    type Err = InvalidAlias;

    fn from_str(name: &str) -> Result<Self, InvalidAlias> {
        Self::new(name)
    }
}

impl TryFrom<String> for Alias {
    type Error = InvalidAlias;

    fn try_from(name: String) -> Result<Self, InvalidAlias> {
        Self::new(name)
    }
}

impl From<Alias> for String {
    fn from(alias: Alias) -> Self {
        alias.0
    }
}

/// The version of a master key under its alias; rises by one, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// CKA_ID of a master key: random, never used twice. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MasterKeyId([u8; 16]);

/// The text is no CKA_ID of a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a master key is 32 hexadecimal digits")]
pub struct InvalidMasterKeyId;

impl std::str::FromStr for MasterKeyId {
    type Err = InvalidMasterKeyId;

    fn from_str(digits: &str) -> Result<Self, InvalidMasterKeyId> {
        if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InvalidMasterKeyId);
        }
        u128::from_str_radix(digits, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| InvalidMasterKeyId)
    }
}

impl TryFrom<String> for MasterKeyId {
    type Error = InvalidMasterKeyId;

    fn try_from(digits: String) -> Result<Self, InvalidMasterKeyId> {
        digits.parse()
    }
}

impl From<MasterKeyId> for String {
    fn from(id: MasterKeyId) -> Self {
        id.to_string()
    }
}

impl MasterKeyId {
    /// From the bytes of a CKA_ID.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the CKA_ID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A new random id; where another is given, for the same store.
    pub(crate) fn fresh(of_store: Option<&Self>) -> Result<Self, KeyError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|_| KeyError::Misconfigured("the operating system gave no random bytes".to_owned()))?;
        if let Some(other) = of_store {
            bytes[..STORE_LEN].copy_from_slice(&other.0[..STORE_LEN]);
        }
        Ok(Self(bytes))
    }

    /// Whether both were made for one store: several may have master keys of one alias on one token.
    pub fn is_of_same_store(&self, other: &Self) -> bool {
        self.0[..STORE_LEN] == other.0[..STORE_LEN]
    }
}

/// All ids that one store makes on one token begin with the same bytes, so many.
const STORE_LEN: usize = 4;

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A master key that the keyring knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Its name for people.
    pub alias: Alias,
    /// Its version under that name.
    pub version: Version,
    /// Its name for wrapped keys.
    pub id: MasterKeyId,
    /// Made with it; tells a lost HSM from an altered wrapped key.
    pub canary: WrappedKey,
    /// Whether this version wraps. Of one alias at most one does.
    pub current: bool,
    /// Whether it may be used at all: a disabled version neither wraps nor unwraps.
    pub enabled: bool,
    /// The highest version of its alias that was begun by who shares the keyring: one on the token above that is not theirs.
    pub begun: Version,
}

/// A master key just made, to be written to the keyring and then registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedKey {
    /// Its random CKA_ID.
    pub id: MasterKeyId,
    /// The version that was asked for.
    pub version: Version,
    /// The alias that was asked for.
    pub alias: Alias,
    /// Wrapped under it and opened again.
    pub canary: WrappedKey,
}

impl CreatedKey {
    /// As the keyring knows it once its row is committed.
    pub fn into_known(self, current: bool) -> KnownKey {
        KnownKey {
            alias: self.alias,
            version: self.version,
            id: self.id,
            canary: self.canary,
            current,
            enabled: true,
            begun: self.version,
        }
    }
}

/// What kind of key a master key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// AES-256.
    Aes,
    /// An RSA key pair, and another that signs what it wraps.
    Rsa,
}

/// A master key as its provider holds it, found by its label: what a node can see without being told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// Its CKA_ID.
    pub id: MasterKeyId,
    /// Alias of its label.
    pub alias: Alias,
    /// Version of its label.
    pub version: Version,
    /// What it is.
    pub kind: KeyKind,
    /// CKA_ENCRYPT; nothing where the token does not tell.
    pub may_wrap: Option<bool>,
    /// CKA_DECRYPT.
    pub may_unwrap: Option<bool>,
    /// CKA_SENSITIVE.
    pub sensitive: Option<bool>,
    /// CKA_EXTRACTABLE.
    pub extractable: Option<bool>,
    /// CKA_ALWAYS_SENSITIVE.
    pub always_sensitive: Option<bool>,
    /// CKA_NEVER_EXTRACTABLE.
    pub never_extractable: Option<bool>,
    /// CKA_LOCAL: generated on the token. One module says no for keys that it made itself.
    pub made_on_token: Option<bool>,
}

/// Whether calls have a chance just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The HSM answers.
    Ready,
    /// It does not; recovery is under way by itself unless the reason says what to do.
    Degraded {
        /// What was seen last.
        reason: String,
    },
}

/// Wraps and unwraps data keys under master keys that cannot be seen.
#[async_trait]
pub trait MasterKeys: Send + Sync {
    /// Wraps `key` for `context` under the current version of `alias`, unwraps it again inside the token and compares.
    async fn wrap(&self, alias: &Alias, key: &DataKey, context: &ContextDigest) -> Result<WrappedKey, KeyError>;

    /// Unwraps under the master key that `wrapped` names; [`KeyError::Refused`] for any other context.
    async fn unwrap(&self, wrapped: &WrappedKey, context: &ContextDigest) -> Result<DataKey, KeyError>;

    /// Unwraps, and wraps again under the current version of `alias`, which may be another provider's. Where one token
    /// does both, the key does not leave its worker.
    async fn rewrap(
        &self,
        alias: &Alias,
        wrapped: &WrappedKey,
        context: &ContextDigest,
    ) -> Result<WrappedKey, KeyError> {
        self.wrap(alias, &self.unwrap(wrapped, context).await?, context).await
    }

    /// What was seen last; asks nobody and answers at once.
    async fn health(&self) -> Health;

    /// The version of `alias` that wraps.
    fn current(&self, alias: &Alias) -> Option<(MasterKeyId, Version)>;

    /// Alias and version of a master key that is known, for an audit.
    fn name_of(&self, _id: &MasterKeyId) -> Option<(Alias, Version)> {
        None
    }
}

/// What HSMs hold, as far as they could be asked: what is missing must not look like what is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Master keys of those that answered.
    pub keys: Vec<TokenKey>,
    /// Why others did not, each by its name if it has one.
    pub missing: Vec<String>,
}

/// Makes, shows and ends master keys. What administrators do, kept apart from what requests do.
///
/// Rotation: [`create_master_key`](Self::create_master_key) with the next version, one compare-and-set in the keyring,
/// then [`register`](Self::register) and, shortly after, [`retire_master_key`](Self::retire_master_key) of the old
/// version. Who loses the compare-and-set destroys what it created, by
/// [`destroy_master_key`](Self::destroy_master_key).
#[async_trait]
pub trait MasterKeyAdmin: MasterKeys {
    /// Makes a key on the token, reads its attributes back, and makes and opens its canary. It does not wrap before
    /// it is [registered](Self::register): first the keyring, then use.
    async fn create_master_key(&self, alias: &Alias, version: Version) -> Result<CreatedKey, KeyError>;

    /// Tells of keys that the keyring knows. Replaces what was known under the same id; a current version takes that
    /// place from the one before it.
    fn register(&self, known: Vec<KnownKey>);

    /// No longer known: call it when the keyring has forgotten a destroyed version.
    fn forget(&self, id: &MasterKeyId);

    /// Every master key that the provider holds, of every alias, also those that the keyring does not know. Whole: fails
    /// if an HSM is away.
    async fn list_master_keys(&self) -> Result<Vec<TokenKey>, KeyError>;

    /// As [`list_master_keys`](Self::list_master_keys), as far as HSMs can be asked.
    async fn holdings(&self) -> Holdings {
        let mut holdings = Holdings::default();
        match self.list_master_keys().await {
            Ok(keys) => holdings.keys = keys,
            Err(error) => holdings.missing.push(error.to_string()),
        }
        holdings
    }

    /// As [`list_master_keys`](Self::list_master_keys), of one alias: fails if its HSM is away.
    async fn list_versions(&self, alias: &Alias) -> Result<Vec<TokenKey>, KeyError> {
        let mut keys = self.list_master_keys().await?;
        keys.retain(|key| key.alias == *alias);
        Ok(keys)
    }

    /// Makes a canary under a key that the provider holds and the keyring does not know, for the keyring to take it up.
    async fn adopt_master_key(&self, id: &MasterKeyId) -> Result<CreatedKey, KeyError>;

    /// From now on this version only unwraps, by the token's own will. [`KeyError::Misconfigured`] where the token does
    /// not change the attribute: then the keyring alone keeps it from wrapping.
    async fn retire_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError>;

    /// Takes back [`retire_master_key`](Self::retire_master_key).
    async fn reinstate_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError>;

    /// Destroys a version for good. The caller has seen that nothing is wrapped under it, or has just lost the race to
    /// make it known. Only what bears this id and this label is touched.
    async fn destroy_master_key(&self, alias: &Alias, version: Version, id: &MasterKeyId) -> Result<(), KeyError>;

    /// Serial of the token that holds the keys of `alias`, once it has been opened: to be kept with them and given back
    /// as [`ModuleConfig::expected_serial`](crate::ModuleConfig::expected_serial). Nothing where there is no token.
    fn serial_of(&self, _alias: &Alias) -> Option<String> {
        None
    }

    /// Name of the provider that has the keys of `alias`, as configured. Nothing where none has a name.
    fn provider_of(&self, _alias: &Alias) -> Option<String> {
        None
    }
}

/// The keys of one provider, as the keyring told them.
#[derive(Debug, Default, Clone)]
pub(crate) struct KnownKeys(Vec<KnownKey>);

impl KnownKeys {
    pub(crate) fn register(&mut self, known: Vec<KnownKey>) {
        for key in known {
            self.0.retain(|old| old.id != key.id);
            if key.current {
                self.0.iter_mut().filter(|old| old.alias == key.alias).for_each(|old| old.current = false);
            }
            self.0.push(key);
        }
    }

    pub(crate) fn forget(&mut self, id: &MasterKeyId) {
        self.0.retain(|key| key.id != *id);
    }

    /// The key under which `alias` wraps now.
    pub(crate) fn to_wrap(&self, alias: &Alias) -> Result<&KnownKey, KeyError> {
        let key = self.current(alias).ok_or_else(|| KeyError::NoSuchAlias { alias: alias.clone() })?;
        if key.enabled { Ok(key) } else { Err(KeyError::Disabled { id: key.id }) }
    }

    /// The key that unwraps what names this id.
    pub(crate) fn to_unwrap(&self, id: &MasterKeyId) -> Result<&KnownKey, KeyError> {
        let key = self.find(id).ok_or(KeyError::UnknownMasterKey { id: *id })?;
        if key.enabled { Ok(key) } else { Err(KeyError::Disabled { id: *id }) }
    }

    pub(crate) fn current(&self, alias: &Alias) -> Option<&KnownKey> {
        self.0.iter().find(|key| key.current && key.alias == *alias)
    }

    pub(crate) fn find(&self, id: &MasterKeyId) -> Option<&KnownKey> {
        self.0.iter().find(|key| key.id == *id)
    }

    pub(crate) fn name_of(&self, id: &MasterKeyId) -> Option<(Alias, Version)> {
        self.find(id).map(|key| (key.alias.clone(), key.version))
    }

    pub(crate) fn as_slice(&self) -> &[KnownKey] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_1_to_250_plain_characters() {
        for good in ["default", "a", "team/Key_1-x", &"a".repeat(250)] {
            assert!(Alias::new(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "ä", "a b", "a:b", "a\n", &"a".repeat(251)] {
            assert_eq!(Alias::new(bad), Err(InvalidAlias), "{bad:?}");
        }
    }
}
