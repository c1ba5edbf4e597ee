//! Step 6, the database of wrapped keys: the trait, and the proof that a key is kept.
//!
//! Holds wrapped keys and what is needed to unwrap them, never a plaintext key and never an object's name. In
//! production it lies on another host than the catalog and the data: none of them reads without it. [`Keyring`] is what
//! requests need; [`KeyringAdmin`] is the life of master keys, for administrators and the jobs that serve them.

mod sqlite;

use std::path::Path;

use async_trait::async_trait;
use strongroom_engine::{ContextDigest, KeyId, Kind};
use strongroom_hsm::{Alias, MasterKeyId, Version, WrappedKey};

use crate::error::KeyringError;
use crate::id::{SessionId, StoreId};

pub use sqlite::SqliteKeyring;

/// Stands for the session of what is made with the store itself.
pub const FOUNDING: SessionId = SessionId::from_bytes([0; 16]);

/// A key under its parent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrapped {
    /// By a master key.
    ByMaster(WrappedKey),
    /// By a bucket key, in small sealing: a data key.
    ByBucketKey {
        /// Which bucket key.
        bucket_key: KeyId,
        /// As [`strongroom_engine::seal_small`] made it.
        sealed: Vec<u8>,
    },
    /// By a customer's key, which is nowhere in the store, in small sealing: a data key.
    ByCustomerKey {
        /// As [`strongroom_engine::seal_small`] made it.
        sealed: Vec<u8>,
    },
}

impl Wrapped {
    /// The parent's id: CKA_ID of a master key, or key id of a bucket key; zeros for a customer's key, which has none.
    pub fn parent(&self) -> &[u8; 16] {
        match self {
            Self::ByMaster(wrapped) => wrapped.master.as_bytes(),
            Self::ByBucketKey { bucket_key, .. } => bucket_key.as_bytes(),
            Self::ByCustomerKey { .. } => &[0; 16],
        }
    }
}

/// One wrapped key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Named by the header of every stream that it opens.
    pub id: KeyId,
    /// What it is: [`Kind::DataKey`], [`Kind::BucketKey`], [`Kind::CatalogKey`] or [`Kind::StoreKey`].
    pub kind: Kind,
    /// The key, wrapped by its parent.
    pub wrapped: Wrapped,
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

/// What may be done with a version of a master key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MasterKeyState {
    /// Unwraps, and wraps if it is current.
    Enabled,
    /// Neither wraps nor unwraps, until it is enabled again.
    Disabled,
    /// Nothing is wrapped under it, and nothing will be: from `after_ms` (milliseconds since 1970) on it may be destroyed.
    PendingDestruction {
        /// The end of the waiting period.
        after_ms: u64,
    },
    /// Gone from the token for good. The row stays, so that its version is never used again.
    Destroyed,
}

/// One version of a master key, as the keyring knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKeyRow {
    /// For people.
    pub alias: Alias,
    /// For people; rises, and is never used again.
    pub version: Version,
    /// CKA_ID on the token.
    pub id: MasterKeyId,
    /// Whether it wraps; the others only unwrap.
    pub current: bool,
    /// A known key wrapped under it: tells a token that is away from a wrapped key that was tampered with.
    pub canary: WrappedKey,
    /// What may be done with it.
    pub state: MasterKeyState,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Wraps that processes have set aside for themselves: at least as many as were made.
    pub wraps: u64,
    /// The highest version of its alias that was begun, finished or not.
    pub begun: Version,
}

/// Settings of an alias.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AliasRow {
    /// The alias.
    pub alias: Alias,
    /// A new version is made so many days after the current one; nothing: by hand, and before the wrap limit.
    pub rotation_days: Option<u32>,
}

/// One of all wrapped keys.
pub struct Entry {
    /// Its id.
    pub id: KeyId,
    /// [`KeyringError::Damaged`] if only its id can be read.
    pub row: Result<KeyRow, KeyringError>,
}

/// How many wrapped keys of one kind lie under one master key, those under its bucket keys included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    /// CKA_ID of the master key.
    pub parent: MasterKeyId,
    /// What they are.
    pub kind: Kind,
    /// How many.
    pub count: u64,
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
    /// [`KeyringError::Conflict`], [`KeyringError::UnknownParent`] if its master key, or that of its bucket key, is none
    /// of ours or is not enabled, or its bucket key is gone,
    /// [`KeyringError::OutcomeUnknown`].
    async fn keep(&self, row: KeyRow) -> Result<Kept, KeyringError>;

    /// The wrapped key with this id.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn row(&self, id: KeyId) -> Result<Option<KeyRow>, KeyringError>;

    /// The wrapped key with this id, and what may be done now with the master key that wrapped it, if one did.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn row_to_use(&self, id: KeyId) -> Result<Option<(KeyRow, Option<MasterKeyState>)>, KeyringError>;

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

    /// Ids of the keys of one session that catalog rows name, so no bucket keys, after `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn kept_by(&self, session: SessionId, after: Option<KeyId>, limit: usize)
    -> Result<Vec<KeyId>, KeyringError>;
}

/// The life of master keys, and what walks over all wrapped keys.
///
/// Every change is a compare-and-set, since several nodes share a keyring.
#[async_trait]
pub trait KeyringAdmin: Keyring {
    /// Takes up a version that is on the token. A current one takes that place from `replaces`, and only from it;
    /// `None` if the alias has had no current version.
    ///
    /// # Errors
    /// [`KeyringError::Conflict`] if another version is current, or this version exists: another node was first.
    async fn add_version(&self, row: MasterKeyRow, replaces: Option<MasterKeyId>) -> Result<(), KeyringError>;

    /// Changes a version's state from `from` to `to`. To [`MasterKeyState::PendingDestruction`] only while no wrapped
    /// key names it and it is not current.
    ///
    /// # Errors
    /// [`KeyringError::Conflict`] if it is in another state; [`KeyringError::InUse`].
    async fn set_state(&self, id: MasterKeyId, from: MasterKeyState, to: MasterKeyState) -> Result<(), KeyringError>;

    /// Says that this version of an alias is about to be made. Where that is never finished, the token holds a version
    /// that is known not to be another keyring's.
    ///
    /// # Errors
    /// [`KeyringError::OutcomeUnknown`], [`KeyringError::Unavailable`].
    async fn begin_version(&self, alias: &Alias, version: Version) -> Result<(), KeyringError>;

    /// Every alias that has settings.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn aliases(&self) -> Result<Vec<AliasRow>, KeyringError>;

    /// Keeps the settings of an alias.
    ///
    /// # Errors
    /// [`KeyringError::OutcomeUnknown`], [`KeyringError::Unavailable`].
    async fn set_alias(&self, row: AliasRow) -> Result<(), KeyringError>;

    /// Sets `count` wraps aside for the caller; gives how many have been set aside in all.
    ///
    /// # Errors
    /// [`KeyringError::UnknownParent`], [`KeyringError::OutcomeUnknown`].
    async fn take_wraps(&self, id: MasterKeyId, count: u64) -> Result<u64, KeyringError>;

    /// How many wrapped keys lie under each master key.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], [`KeyringError::Damaged`].
    async fn tally(&self) -> Result<Vec<Tally>, KeyringError>;

    /// How many wrapped keys there are.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`].
    async fn count(&self) -> Result<u64, KeyringError>;

    /// All wrapped keys after `after`, in the order of their ids, at most `limit`.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`]; [`KeyringError::Damaged`] if an id is none.
    async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<Entry>, KeyringError>;

    /// Which of these are not kept.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`].
    async fn absent(&self, ids: Vec<KeyId>) -> Result<Vec<KeyId>, KeyringError>;

    /// Puts `new` where `old` still stands; false if it does not, which includes a key that was erased.
    ///
    /// # Errors
    /// [`KeyringError::UnknownParent`], [`KeyringError::OutcomeUnknown`].
    async fn replace(&self, id: KeyId, old: WrappedKey, new: WrappedKey) -> Result<bool, KeyringError>;

    /// Destroys the bucket keys under which nothing lies, of those made before `before`, as [`Keyring::erase`] does;
    /// gives how many. A data key that is being made under one is refused by [`Keyring::keep`] then.
    ///
    /// # Errors
    /// [`KeyringError::OutcomeUnknown`], [`KeyringError::Unavailable`].
    async fn erase_unused_bucket_keys(&self, before: KeyId) -> Result<u64, KeyringError>;

    /// Returns once nothing that was replaced or erased is in the database's files any more.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`].
    async fn forget_replaced(&self) -> Result<(), KeyringError>;

    /// Writes a whole copy to a file that must not exist, while the keyring goes on. Durable on return; readable by its
    /// owner only.
    ///
    /// # Errors
    /// [`KeyringError::Unavailable`], with the path.
    async fn back_up(&self, to: &Path) -> Result<(), KeyringError>;
}
