//! The life of master keys: made, shown, rotated, disabled, destroyed; and the wrapped keys under them moved, checked,
//! counted, copied and destroyed for good.
//!
//! Everything here is an administrator's, or a job's that serves one. The keyring decides, by compare-and-set; the token
//! follows; the provider of this process is told last. So a crash anywhere leaves at most a key on the token that the
//! keyring does not know, which wraps nothing, and which `keys list` shows.

mod backup;
mod impact;
mod invalidate;
mod missing;
mod name;
mod rewrap;
mod rotate;
mod show;
mod state;
mod verify;

use futures::stream::{self, Stream, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use strongroom_engine::KeyId;
use strongroom_hsm::{Alias, KeyError, KnownKey};

use crate::audit::{AuditError, UseError};
use crate::error::{KeyringError, OpError};
use crate::keyring::{Entry, KeyRow, MasterKeyRow, MasterKeyState};
use crate::store::Store;

pub use backup::{Restored, back_up, restore};
pub use impact::{Impact, LostObject, impact};
pub use invalidate::{Invalidated, invalidate};
pub use name::{InvalidName, MasterKeyName};
pub use rewrap::{RewrapOptions, Rewrapped, rewrap};
pub use rotate::{WRAPS_MAX, adopt, create, rotate, set_rotation};
pub use show::{KeyList, VersionReport, describe, list};
pub use state::{cancel_destruction, destroy, disable, enable, schedule_destruction};
pub use verify::{Unreadable, Verified, VerifyOptions, verify};

/// Why an administrator's command did nothing, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// Correct the name.
    #[error(
        "the keyring knows no master key {0}: `strongroom keys list` shows all; one that only a token holds is to be adopted first"
    )]
    NoSuchKey(String),
    /// Nothing is to be done.
    #[error("{0} on the token was made by another store, which has this alias there, too: it is not adopted")]
    OfAnotherStore(String),
    /// Name another.
    #[error("alias {0} exists already: rotate it to make a new version")]
    AliasExists(Alias),
    /// Another node did the same at the same moment, or the key is in another state: look, then decide.
    #[error("{0}: list the keys and see whether that is what you want")]
    Conflict(String),
    /// Do something else first.
    #[error("{0}")]
    NotNow(String),
    /// As the HSM says.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Make room for the audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// As the keyring says.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// As the store says.
    #[error(transparent)]
    Store(#[from] OpError),
}

impl From<UseError> for LifeError {
    fn from(error: UseError) -> Self {
        match error {
            UseError::Key(error) => Self::Key(error),
            UseError::Audit(error) => Self::Audit(error),
        }
    }
}

impl From<crate::error::CatalogError> for LifeError {
    fn from(error: crate::error::CatalogError) -> Self {
        Self::Store(error.into())
    }
}

/// How far long work has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// So many are done.
    pub done: u64,
    /// Of so many, as far as is known.
    pub total: u64,
}

/// Hears of progress.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

fn state_name(state: MasterKeyState) -> &'static str {
    match state {
        MasterKeyState::Enabled => "enabled",
        MasterKeyState::Disabled => "disabled",
        MasterKeyState::PendingDestruction { .. } => "pending-destruction",
        MasterKeyState::Destroyed => "destroyed",
    }
}

/// As the keyring keeps a version that the provider has just made.
pub fn row(known: KnownKey, created_ms: u64) -> MasterKeyRow {
    MasterKeyRow {
        alias: known.alias,
        version: known.version,
        id: known.id,
        current: known.current,
        canary: known.canary,
        state: MasterKeyState::Enabled,
        created_ms,
        wraps: 0,
        begun: known.begun,
    }
}

/// As the provider is told of it; nothing of what was destroyed.
pub fn known(row: MasterKeyRow) -> Option<KnownKey> {
    let enabled = row.state == MasterKeyState::Enabled;
    (row.state != MasterKeyState::Destroyed).then_some(KnownKey {
        alias: row.alias,
        version: row.version,
        id: row.id,
        canary: row.canary,
        current: row.current,
        enabled,
        begun: row.begun,
    })
}

/// The wrapped keys of the whole keyring, page by page in the order of their ids.
struct Walk<'a> {
    store: &'a Store,
    after: Option<KeyId>,
}

/// Rows read at once.
const PAGE: usize = 256;

impl<'a> Walk<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, after: None }
    }

    /// One by one; ends with the first failure.
    fn stream(self) -> impl Stream<Item = Result<Entry, KeyringError>> {
        let pages = stream::try_unfold(self, async |mut walk| {
            let page = walk.next().await?;
            Ok::<_, KeyringError>((!page.is_empty()).then_some((stream::iter(page.into_iter().map(Ok)), walk)))
        });
        pages.try_flatten()
    }

    /// The next page; an empty one at the end.
    async fn next(&mut self) -> Result<Vec<Entry>, KeyringError> {
        let page = self.store.keyring.page(self.after, PAGE).await?;
        self.after = page.last().map(|entry| entry.id).or(self.after);
        Ok(page)
    }
}

/// `data`, `bucket`, `catalog` or `store`: what a wrapped key is, for people.
fn kind_name(row: &KeyRow) -> &'static str {
    match row.kind {
        strongroom_engine::Kind::BucketKey => "bucket",
        strongroom_engine::Kind::CatalogKey => "catalog",
        strongroom_engine::Kind::StoreKey => "store",
        _ => "data",
    }
}
