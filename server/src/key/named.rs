//! Which master key a client means by a key id, and whether it may be used: as the keyring says at this moment.

use strongroom_hsm::{Alias, MasterKeyId};

use super::Keys;
use crate::arn::{self, KeyName};
use crate::error::{KeyringError, OpError};
use crate::keyring::{MasterKeyRow, MasterKeyState};

/// A master key as a client named it, looked up. Who may use it is asked before [`NamedKey::usable`] says what state it
/// is in: a caller without the right learns nothing of it.
pub struct NamedKey {
    /// As it was sent; the ARN of the default alias where nothing was.
    pub key_id: String,
    name: Option<KeyName>,
    found: Option<Found>,
}

struct Found {
    alias: Alias,
    /// Of the version that was named, where one was, and of the one that wraps.
    versions: Vec<(MasterKeyId, MasterKeyState)>,
}

impl NamedKey {
    /// The alias, and the ids of the version that was named and of the one that wraps; nothing where there is no such key.
    pub fn alias(&self) -> Option<&Alias> {
        self.found.as_ref().map(|found| &found.alias)
    }

    /// The ARNs that a policy may call it by: of the alias, and of the versions that are meant; where there is no such
    /// key, of what was named.
    pub fn arns(&self) -> Vec<String> {
        match (&self.found, &self.name) {
            (Some(found), _) => {
                let ids = found.versions.iter().map(|(id, _)| arn::of_master_key(id));
                std::iter::once(arn::of_alias(&found.alias)).chain(ids).collect()
            }
            (None, Some(KeyName::Alias(alias))) => vec![arn::of_alias(alias)],
            (None, Some(KeyName::Id(id) | KeyName::Either(id, _))) => vec![arn::of_master_key(id)],
            (None, None) => vec![self.key_id.clone()],
        }
    }

    /// The alias, if it may wrap now.
    ///
    /// # Errors
    /// [`OpError::NoSuchMasterKey`], [`OpError::KeyDisabled`], [`OpError::KeyPendingDestruction`].
    pub fn usable(self) -> Result<(Alias, String), OpError> {
        let Some(Found { alias, versions }) = self.found else { return Err(OpError::NoSuchMasterKey(self.key_id)) };
        for (id, state) in versions {
            match state {
                MasterKeyState::Enabled => {}
                MasterKeyState::Disabled => return Err(OpError::KeyDisabled(format!("master key {id} is disabled"))),
                MasterKeyState::PendingDestruction { .. } => return Err(OpError::KeyPendingDestruction(id)),
                MasterKeyState::Destroyed => return Err(OpError::NoSuchMasterKey(self.key_id)),
            }
        }
        Ok((alias, self.key_id))
    }
}

impl Keys {
    /// The master key that a client means by `key_id`; without one, that of the default alias.
    ///
    /// # Errors
    /// The keyring's. That there is none is told by [`NamedKey::usable`].
    pub async fn named(&self, key_id: Option<String>) -> Result<NamedKey, KeyringError> {
        let key_id = key_id.unwrap_or_else(|| arn::of_alias(&self.alias));
        let name = KeyName::parse(&key_id);
        let rows = self.keyring.master_keys().await?;
        let found = match &name {
            None => None,
            Some(KeyName::Alias(alias)) => by_alias(&rows, alias),
            Some(KeyName::Id(id)) => by_id(&rows, id),
            Some(KeyName::Either(id, alias)) => by_id(&rows, id).or_else(|| by_alias(&rows, alias)),
        };
        Ok(NamedKey { key_id, name, found })
    }
}

fn by_alias(rows: &[MasterKeyRow], alias: &Alias) -> Option<Found> {
    let current = rows.iter().find(|row| row.alias == *alias && row.current)?;
    Some(Found { alias: alias.clone(), versions: vec![(current.id, current.state)] })
}

/// A version stands for its alias, of which the current one wraps; yet what was done to itself counts.
fn by_id(rows: &[MasterKeyRow], id: &MasterKeyId) -> Option<Found> {
    let named = rows.iter().find(|row| row.id == *id)?;
    let mut versions = vec![(named.id, named.state)];
    let current = rows.iter().find(|row| row.alias == named.alias && row.current && row.id != named.id);
    versions.extend(current.map(|row| (row.id, row.state)));
    Some(Found { alias: named.alias.clone(), versions })
}
