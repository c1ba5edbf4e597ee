//! Users and their access keys: who signs a request, and which policies that user has.
//!
//! Rows lie in the catalog, sealed under the store key: an access key's binds its secret to its user, so that a row that
//! was altered, moved or given to another user opens nothing, and is refused. They are read at each request, so that what
//! was deleted or disabled on any node signs nothing from then on. The owner is a user, too: the one whom a store has
//! from its first start and who cannot be deleted.

mod access;
mod administer;
mod name;
mod policies;
mod record;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::error::{CatalogError, OpError};
use crate::id::{SessionId, StoreId};
use crate::key::Keys;

pub use access::Caller;
pub use administer::{AccessKeyReport, UserReport};
pub use name::{InvalidName, Name};

use access::Remembered;

/// The name of the user who owns the store.
pub const OWNER: &str = "owner";

/// The users of one store.
pub struct Users {
    store: StoreId,
    session: SessionId,
    catalog: Arc<dyn Catalog>,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
    owner_uses_keys: bool,
    remembered: Mutex<HashMap<String, Remembered>>,
}

impl Users {
    /// Those of `store`. `owner_uses_keys`: whether the owner may use every master key without a policy that says so.
    pub fn new(
        store: StoreId,
        session: SessionId,
        catalog: Arc<dyn Catalog>,
        keys: Arc<Keys>,
        clock: Arc<dyn Clock>,
        owner_uses_keys: bool,
    ) -> Self {
        Self { store, session, catalog, keys, clock, owner_uses_keys, remembered: Mutex::default() }
    }
}

/// Why an administrator's command about users did nothing.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Correct the name.
    #[error("there is no user {0}: `strongroom users list` shows all")]
    NoSuchUser(Name),
    /// Name another.
    #[error("user {0} exists already")]
    UserExists(Name),
    /// Correct the id.
    #[error("user {user} has no access key {id}: `strongroom users keys list {user}` shows all")]
    NoSuchAccessKey {
        /// The user.
        user: Name,
        /// The id.
        id: String,
    },
    /// Correct the name.
    #[error("user {user} has no policy {policy}: `strongroom users policy list {user}` shows all")]
    NoSuchPolicy {
        /// The user.
        user: Name,
        /// The policy.
        policy: Name,
    },
    /// Delete the owner's access keys, if it is to sign nothing.
    #[error("the owner cannot be deleted: delete its access keys, if it is to sign nothing")]
    IsOwner,
    /// Correct the document.
    #[error("the policy was not put: {0}")]
    MalformedPolicy(String),
    /// Delete some first.
    #[error("{0}")]
    TooMany(String),
    /// Ask who may.
    #[error("{0}")]
    NotAllowed(String),
    /// Look, then decide.
    #[error("somebody changed user {0} at the same moment: look, and do it again")]
    Conflict(Name),
    /// As the store says.
    #[error(transparent)]
    Store(#[from] OpError),
}

impl From<CatalogError> for UserError {
    fn from(error: CatalogError) -> Self {
        Self::Store(error.into())
    }
}

/// A change that found another row than was read is a conflict over this user.
fn changed(result: Result<(), CatalogError>, user: &Name) -> Result<(), UserError> {
    match result {
        Err(CatalogError::Conflict) => Err(UserError::Conflict(user.clone())),
        other => Ok(other?),
    }
}
