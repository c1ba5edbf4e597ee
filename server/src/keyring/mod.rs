//! Step 6, the database of wrapped keys: the trait, and the proof that a key is kept.
//!
//! Holds wrapped keys and what is needed to unwrap them, never a plaintext key and never an object's name. In
//! production it lies on another host than the catalog and the data: none of them reads without it.

mod sqlite;

use async_trait::async_trait;
use strongroom_engine::{ContextDigest, KeyId, Kind};
use strongroom_hsm::{Alias, MasterKeyId, Version, WrappedKey};

use crate::error::KeyringError;
use crate::id::{SessionId, StoreId};

pub use sqlite::SqliteKeyring;

/// Stands for the session of what is made with the store itself.
pub const FOUNDING: SessionId = SessionId::from_bytes([0; 16]);

/// One wrapped key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Named by the header of every stream that it opens.
    pub id: KeyId,
    /// What it is: [`Kind::DataKey`], [`Kind::CatalogKey`] or [`Kind::StoreKey`].
    pub kind: Kind,
    /// The key, wrapped by its parent.
    pub wrapped: WrappedKey,
    /// What it was wrapped for; kept, so that rewrapping needs no catalog.
    pub context: ContextDigest,
    /// The session that kept it.
    pub session: SessionId,
}

/// Proof that a wrapped key would survive a power cut: only a keyring makes one.
#[derive(Debug)]
pub struct Kept {
    id: KeyId,
}

impl Kept {
    /// The key that is kept.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// One version of a master key, as the keyring knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKeyRow {
    /// For people.
    pub alias: Alias,
    /// For people; rises.
    pub version: Version,
    /// CKA_ID on the token.
    pub id: MasterKeyId,
    /// Whether it wraps; the others only unwrap.
    pub current: bool,
    /// A known key wrapped under it: tells a token that is away from a wrapped key that was tampered with.
    pub canary: WrappedKey,
}

/// What a keyring says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyringIdentity {
    /// The store that it belongs to.
    pub store: StoreId,
    /// The wrapped key that seals that store's configuration.
    pub store_key: KeyId,
}

/// The database of wrapped keys.
#[async_trait]
pub trait Keyring: Send + Sync {
    /// Whose keyring this is; `None` before [`Keyring::found`].
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn identity(&self) -> Result<Option<KeyringIdentity>, KeyringError>;

    /// Gives a new keyring its identity, its first master key and the wrapped store key, in one commit.
    ///
    /// # Errors
    /// [`KeyringError::Conflict`] if it has one already.
    async fn found(
        &self,
        identity: KeyringIdentity,
        master: MasterKeyRow,
        store_key: KeyRow,
    ) -> Result<(), KeyringError>;

    /// Every version of every master key.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn master_keys(&self) -> Result<Vec<MasterKeyRow>, KeyringError>;

    /// Commits one wrapped key. A key id that exists already is refused: a row is never replaced.
    ///
    /// # Errors
    /// [`KeyringError::Conflict`], [`KeyringError::UnknownParent`] if its master key is none of ours,
    /// [`KeyringError::OutcomeUnknown`].
    async fn keep(&self, row: KeyRow) -> Result<Kept, KeyringError>;

    /// The wrapped key with this id.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn row(&self, id: KeyId) -> Result<Option<KeyRow>, KeyringError>;

    /// Destroys wrapped keys for good: on return no byte of them is in the database's files. Absent ones count as
    /// destroyed.
    ///
    /// # Errors
    /// [`KeyringError::OutcomeUnknown`], [`KeyringError::Unavailable`].
    async fn erase(&self, ids: Vec<KeyId>) -> Result<(), KeyringError>;

    /// Every session that has kept keys here.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn sessions(&self) -> Result<Vec<SessionId>, KeyringError>;

    /// Ids of the keys of one session, after `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn kept_by(&self, session: SessionId, after: Option<KeyId>, limit: usize)
    -> Result<Vec<KeyId>, KeyringError>;
}
