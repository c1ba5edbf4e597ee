//! For a request: the secret that it should be signed with, and who it is then.
//!
//! Both rows are read and compared at each request. What is remembered is only what came out of rows with these bytes.

use std::sync::{Arc, PoisonError};

use zeroize::Zeroizing;

use super::record::{AccessKeyRecord, Place, UserRecord, open};
use super::{OWNER, Users};
use crate::catalog::{AccessKeyRow, UserRow};
use crate::error::OpError;
use crate::id::UserId;
use crate::policy::language::{Policy, Principal};

/// Callers remembered at most; beyond it all are forgotten and opened again as they come.
const REMEMBERED: usize = 1024;

/// Who signed a request.
#[derive(Debug)]
pub struct Caller {
    /// The access key.
    pub access_key: String,
    /// The user, as policies see it.
    pub principal: Principal,
    /// The user's name.
    pub user: String,
    /// A user made again under the same name has another.
    pub user_id: String,
    /// Whether it may use every master key without a policy that says so: the owner, where one administrator has both
    /// roles.
    pub uses_every_key: bool,
    /// The user's own policies, by name.
    pub policies: Vec<Policy>,
}

/// A user, as policies see it.
pub(super) fn principal(user: &str) -> Principal {
    match user {
        OWNER => Principal::Owner,
        user => Principal::User(user.to_owned()),
    }
}

/// A caller, and the rows that it came from.
pub(super) struct Remembered {
    access_key: Vec<u8>,
    user: Vec<u8>,
    caller: Arc<Caller>,
}

impl Users {
    /// The secret of an access key that may sign.
    ///
    /// # Errors
    /// [`OpError::NoSuchAccessKey`], also of one that is disabled; [`OpError::Damaged`] if a row does not open or they do
    /// not belong together; [`OpError::Unavailable`].
    pub async fn secret(&self, id: &str) -> Result<Zeroizing<String>, OpError> {
        let (key_row, user_row) = self.rows(id).await?;
        Ok(self.opened(&key_row, &user_row).await?.0.secret.0)
    }

    /// Who signs with this access key.
    ///
    /// # Errors
    /// As for [`Self::secret`].
    pub async fn caller(&self, id: &str) -> Result<Arc<Caller>, OpError> {
        let (key_row, user_row) = self.rows(id).await?;
        // Also for one that is remembered: nobody is known while the store key cannot be used.
        let _usable = self.keys.store_key().await?;
        if let Some(known) = self.remembered().get(id)
            && known.access_key == key_row.sealed
            && known.user == user_row.sealed
        {
            return Ok(Arc::clone(&known.caller));
        }
        let (_, user) = self.opened(&key_row, &user_row).await?;
        let principal = principal(&user_row.name);
        let policies: Result<Vec<Policy>, _> =
            user.policies.iter().map(|policy| Policy::of_user(&policy.document)).collect();
        let policies = policies.map_err(|error| {
            OpError::Damaged(format!("a policy of user {} is none that this version knows: {error}", user_row.name))
        })?;
        let caller = Arc::new(Caller {
            access_key: key_row.id.clone(),
            user: user_row.name,
            user_id: UserId::from_bytes(user.id).to_string(),
            uses_every_key: principal == Principal::Owner && self.owner_uses_keys,
            principal,
            policies,
        });
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        let known = Remembered { access_key: key_row.sealed, user: user_row.sealed, caller: Arc::clone(&caller) };
        remembered.insert(key_row.id, known);
        Ok(caller)
    }

    async fn rows(&self, id: &str) -> Result<(AccessKeyRow, UserRow), OpError> {
        self.catalog.access_key(id).await?.ok_or(OpError::NoSuchAccessKey)
    }

    /// Both records, of an access key that may sign and of the user whose it is.
    async fn opened(
        &self,
        key_row: &AccessKeyRow,
        user_row: &UserRow,
    ) -> Result<(AccessKeyRecord, UserRecord), OpError> {
        let store_key = self.keys.store_key().await?;
        let key: AccessKeyRecord = open(&store_key, self.store, Place::AccessKey(&key_row.id), &key_row.sealed)?;
        let user: UserRecord = open(&store_key, self.store, Place::User(&user_row.name), &user_row.sealed)?;
        if key.user != user_row.name || key.user_id != user.id {
            return Err(OpError::Damaged(format!("access key {} was given to another user", key_row.id)));
        }
        if !key.is_enabled {
            return Err(OpError::NoSuchAccessKey);
        }
        Ok((key, user))
    }

    /// What the lock guards is replaced entry by entry, so a panic elsewhere cannot have left it half changed.
    fn remembered(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
