//! What administrators of data do to users and access keys. Whoever makes an access key sees its secret, once.

use serde::Serialize;

use super::policies::roles_of;
use super::record::{AccessKeyRecord, Place, Secret, UserRecord, open, seal};
use super::{Name, OWNER, UserError, Users, access, changed};
use crate::administrators::Roles;
use crate::catalog::{AccessKeyRow, UserRow};
use crate::credentials::AccessKey;
use crate::error::{CatalogError, OpError};
use crate::id::UserId;

/// Access keys that a user has at most: two, to change from one to the other, and some for several programs.
const ACCESS_KEYS_MAX: usize = 10;

/// A user, as it is shown to people and scripts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UserReport {
    /// Its name.
    pub user: String,
    /// As policies name it.
    pub arn: String,
    /// A user made again under the same name has another.
    pub id: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Those that it signs with.
    pub access_keys: Vec<AccessKeyReport>,
    /// Names of its policies.
    pub policies: Vec<String>,
}

/// An access key, as it is shown to people and scripts: no secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AccessKeyReport {
    /// Its id.
    pub access_key: String,
    /// Whether it signs anything.
    pub enabled: bool,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

impl Users {
    /// Makes the owner, with its first access key; nothing where they are there.
    ///
    /// # Errors
    /// [`OpError::Unavailable`] while the HSM is away.
    pub async fn found(&self, key: AccessKey) -> Result<(), OpError> {
        if self.catalog.user(OWNER).await?.is_none() {
            let row = self.fresh_user(OWNER).await?;
            match self.catalog.create_user(self.session, row).await {
                Ok(()) | Err(CatalogError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let row = self.catalog.user(OWNER).await?.ok_or(OpError::ConcurrentChange)?;
        let owner = self.open_user(&row).await?;
        match self.add_key(OWNER, &owner, key).await {
            // It came that far last time.
            Ok(()) | Err(OpError::ConcurrentChange) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a user, who may do nothing yet.
    ///
    /// # Errors
    /// [`UserError::UserExists`].
    pub async fn create(&self, name: &Name) -> Result<UserReport, UserError> {
        let row = self.fresh_user(name.as_str()).await?;
        match self.catalog.create_user(self.session, row).await {
            Err(CatalogError::Conflict) => Err(UserError::UserExists(name.clone())),
            other => Ok(other?),
        }?;
        self.show(name).await
    }

    /// Every user.
    ///
    /// # Errors
    /// The catalog's; [`OpError::Damaged`] if a row does not open.
    pub async fn list(&self) -> Result<Vec<UserReport>, UserError> {
        let mut reports = Vec::new();
        for row in self.catalog.users().await? {
            let user = self.open_user(&row).await?;
            reports.push(self.report(row, user).await?);
        }
        Ok(reports)
    }

    /// One user.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`].
    pub async fn show(&self, name: &Name) -> Result<UserReport, UserError> {
        let (row, user) = self.read(name).await?;
        self.report(row, user).await
    }

    /// Deletes a user with all access keys and policies.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], [`UserError::IsOwner`].
    pub async fn delete(&self, name: &Name) -> Result<(), UserError> {
        if name.as_str() == OWNER {
            return Err(UserError::IsOwner);
        }
        match self.catalog.delete_user(self.session, name.as_str()).await {
            Err(CatalogError::Conflict) => Err(UserError::NoSuchUser(name.clone())),
            other => Ok(other?),
        }
    }

    /// Makes an access key. Of a user whose policies need a role, whoever makes one needs it, too: else an administrator
    /// of data could sign as somebody who was given the use of master keys, by an access key that nobody knows of.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], [`UserError::TooMany`], [`UserError::NotAllowed`].
    pub async fn create_key(&self, name: &Name, roles: Roles) -> Result<AccessKey, UserError> {
        let (_, user) = self.read(name).await?;
        let needed = user.policies.iter().fold(Roles::DATA, |all, policy| all | roles_of(&policy.document));
        if !roles.cover(needed) {
            return Err(UserError::NotAllowed(format!(
                "user {name} may use master keys: an access key for it takes an administrator of keys as well; have its \
                 policies about kms deleted, make the access key, and have them put again"
            )));
        }
        if self.catalog.access_keys(name.as_str()).await?.len() >= ACCESS_KEYS_MAX {
            return Err(UserError::TooMany(format!("user {name} has {ACCESS_KEYS_MAX} access keys: delete one first")));
        }
        let key = AccessKey::generate().map_err(OpError::from)?;
        let shown = AccessKey { id: key.id.clone(), secret: key.secret.clone() };
        match self.add_key(name.as_str(), &user, key).await {
            Err(OpError::ConcurrentChange) => Err(UserError::Conflict(name.clone())),
            other => Ok(other?),
        }?;
        Ok(shown)
    }

    /// The access keys of a user.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`].
    pub async fn list_keys(&self, name: &Name) -> Result<Vec<AccessKeyReport>, UserError> {
        Ok(self.show(name).await?.access_keys)
    }

    /// Deletes an access key: it signs nothing from now on.
    ///
    /// # Errors
    /// [`UserError::NoSuchAccessKey`].
    pub async fn delete_key(&self, name: &Name, id: &str) -> Result<(), UserError> {
        self.read_key(name, id).await?;
        changed(self.catalog.delete_access_key(self.session, id).await, name)
    }

    /// Disables an access key, or takes that back.
    ///
    /// # Errors
    /// [`UserError::NoSuchAccessKey`], [`UserError::Conflict`].
    pub async fn set_key_enabled(&self, name: &Name, id: &str, is_enabled: bool) -> Result<(), UserError> {
        let row = self.read_key(name, id).await?;
        let store_key = self.keys.store_key().await?;
        let place = Place::AccessKey(id);
        let record: AccessKeyRecord = open(&store_key, self.store, place, &row.sealed)?;
        let sealed = seal(&store_key, self.store, place, &AccessKeyRecord { is_enabled, ..record })?;
        changed(self.catalog.change_access_key(self.session, AccessKeyRow { sealed, ..row }).await, name)
    }

    pub(super) async fn read(&self, name: &Name) -> Result<(UserRow, UserRecord), UserError> {
        let row = self.catalog.user(name.as_str()).await?.ok_or_else(|| UserError::NoSuchUser(name.clone()))?;
        let user = self.open_user(&row).await?;
        Ok((row, user))
    }

    /// Puts another record into the row that was read.
    pub(super) async fn change(&self, name: &Name, row: UserRow, user: &UserRecord) -> Result<(), UserError> {
        let sealed = self.seal_user(&row.name, user).await?;
        changed(self.catalog.change_user(self.session, UserRow { sealed, ..row }).await, name)
    }

    async fn read_key(&self, name: &Name, id: &str) -> Result<AccessKeyRow, UserError> {
        self.read(name).await?;
        let found = self.catalog.access_keys(name.as_str()).await?.into_iter().find(|row| row.id == id);
        found.ok_or_else(|| UserError::NoSuchAccessKey { user: name.clone(), id: id.to_owned() })
    }

    async fn report(&self, row: UserRow, user: UserRecord) -> Result<UserReport, UserError> {
        let store_key = self.keys.store_key().await?;
        let mut access_keys = Vec::new();
        for key in self.catalog.access_keys(&row.name).await? {
            let record: AccessKeyRecord = open(&store_key, self.store, Place::AccessKey(&key.id), &key.sealed)?;
            access_keys.push(AccessKeyReport {
                access_key: key.id,
                enabled: record.is_enabled,
                created_ms: record.created_ms,
            });
        }
        Ok(UserReport {
            arn: access::principal(&row.name).arn().unwrap_or_default(),
            user: row.name,
            id: UserId::from_bytes(user.id).to_string(),
            created_ms: user.created_ms,
            access_keys,
            policies: user.policies.into_iter().map(|policy| policy.name).collect(),
        })
    }

    async fn fresh_user(&self, name: &str) -> Result<UserRow, OpError> {
        let now_ms = self.clock.now_ms();
        let user = UserRecord { id: *UserId::fresh(now_ms)?.as_bytes(), created_ms: now_ms, policies: Vec::new() };
        Ok(UserRow { name: name.to_owned(), generation: 0, sealed: self.seal_user(name, &user).await? })
    }

    /// [`OpError::ConcurrentChange`] if it exists, or the user is gone.
    async fn add_key(&self, name: &str, user: &UserRecord, key: AccessKey) -> Result<(), OpError> {
        let store_key = self.keys.store_key().await?;
        let record = AccessKeyRecord {
            user: name.to_owned(),
            user_id: user.id,
            secret: Secret(key.secret),
            is_enabled: true,
            created_ms: self.clock.now_ms(),
        };
        let sealed = seal(&store_key, self.store, Place::AccessKey(&key.id), &record)?;
        let row = AccessKeyRow { id: key.id, user: name.to_owned(), generation: 0, sealed };
        Ok(self.catalog.add_access_key(self.session, row).await?)
    }

    async fn open_user(&self, row: &UserRow) -> Result<UserRecord, OpError> {
        open(&*self.keys.store_key().await?, self.store, Place::User(&row.name), &row.sealed)
    }

    async fn seal_user(&self, name: &str, user: &UserRecord) -> Result<Vec<u8>, OpError> {
        seal(&*self.keys.store_key().await?, self.store, Place::User(name), user)
    }
}
