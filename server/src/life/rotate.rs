//! New aliases, new versions, and versions that were found on the token.

use std::time::Duration;

use strongroom_hsm::{Alias, CreatedKey, MasterKeyId, Version};
use tracing::{info, warn};

use super::{LifeError, MasterKeyName, row};
use crate::error::KeyringError;
use crate::keyring::{AliasRow, MasterKeyRow};
use crate::store::Store;

/// From so many wraps on, a new version is made without being asked: half of what random IVs allow (SP 800-38D).
pub const WRAPS_MAX: u64 = 1 << 31;

/// Requests that chose the old version before they heard of the new one have ended by then.
const RETIRE_AFTER: Duration = Duration::from_secs(60);

/// Makes the first version of a new alias.
///
/// # Errors
/// [`LifeError::AliasExists`]; the HSM's.
pub async fn create(store: &Store, alias: &Alias) -> Result<MasterKeyRow, LifeError> {
    let rows = store.keyring.master_keys().await?;
    if rows.iter().any(|row| row.alias == *alias) {
        return Err(LifeError::AliasExists(alias.clone()));
    }
    new_version(store, alias, &rows).await
}

/// Makes a new version of an alias, which wraps from now on. Older ones unwrap what lies under them.
///
/// # Errors
/// [`LifeError::Conflict`] if another node rotated at the same moment; the HSM's.
pub async fn rotate(store: &Store, alias: &Alias) -> Result<MasterKeyRow, LifeError> {
    let rows = store.keyring.master_keys().await?;
    if rows.iter().all(|row| row.alias != *alias) {
        return Err(LifeError::NoSuchKey(alias.to_string()));
    }
    new_version(store, alias, &rows).await
}

/// How often an alias is rotated by itself: `None` for never, but for the wrap limit.
///
/// # Errors
/// [`LifeError::NoSuchKey`]; the keyring's.
pub async fn set_rotation(store: &Store, alias: &Alias, days: Option<u32>) -> Result<(), LifeError> {
    if store.keyring.master_keys().await?.iter().all(|row| row.alias != *alias) {
        return Err(LifeError::NoSuchKey(alias.to_string()));
    }
    Ok(store.keyring.set_alias(AliasRow { alias: alias.clone(), rotation_days: days }).await?)
}

/// Takes up a version that the token holds and the keyring does not know, as after a restore. It wraps from now on, unless
/// the keyring knows a later one.
///
/// # Errors
/// [`LifeError::NoSuchKey`]; [`LifeError::Conflict`]; the HSM's.
pub async fn adopt(store: &Store, name: &MasterKeyName) -> Result<MasterKeyRow, LifeError> {
    let rows = store.keyring.master_keys().await?;
    let mut found = store.masters.list_versions(&name.alias).await?;
    found.retain(|key| name.version.is_none_or(|version| version == key.version));
    found.retain(|key| rows.iter().all(|row| row.id != key.id));
    let others = found.len();
    found.retain(|key| is_of_this_store(&rows, &key.id));
    if found.is_empty() && others > 0 {
        return Err(LifeError::OfAnotherStore(name.to_string()));
    }
    let newest = found.into_iter().max_by_key(|key| key.version);
    let newest = newest.ok_or_else(|| LifeError::NoSuchKey(format!("{name} that only the token knows")))?;
    let adopted = store.masters.adopt_master_key(&newest.id).await?;
    take_up(store, adopted, &rows).await
}

/// Whether a key on a token may be this store's. Another store's of the same alias is nothing to it.
pub(super) fn is_of_this_store(rows: &[MasterKeyRow], id: &MasterKeyId) -> bool {
    rows.iter().any(|row| row.id.is_of_same_store(id))
}

/// A version number that neither the keyring nor the token has seen is made, and put to use.
async fn new_version(store: &Store, alias: &Alias, rows: &[MasterKeyRow]) -> Result<MasterKeyRow, LifeError> {
    let on_token = store.masters.list_versions(alias).await?;
    let known = rows.iter().filter(|row| row.alias == *alias).map(|row| row.version.max(row.begun));
    let seen = on_token.iter().filter(|key| is_of_this_store(rows, &key.id)).map(|key| key.version);
    let version = Version(known.chain(seen).max().map_or(1, |version| version.0 + 1));
    // Whatever becomes of the making, writes go on: the token then holds a version that is known to be nobody else's.
    store.keyring.begin_version(alias, version).await?;
    store.keys.refresh().await?;
    let created = store.masters.create_master_key(alias, version).await?;
    store.sync_token().await?;
    let id = created.id;
    match take_up(store, created, rows).await {
        // Only what we made ourselves is destroyed, by its own name.
        Err(LifeError::Conflict(why)) => {
            store.masters.destroy_master_key(alias, version, &id).await?;
            Err(LifeError::Conflict(why))
        }
        outcome => outcome,
    }
}

/// The compare-and-set that decides; afterwards this node uses the version.
async fn take_up(store: &Store, made: CreatedKey, rows: &[MasterKeyRow]) -> Result<MasterKeyRow, LifeError> {
    let old = rows.iter().find(|row| row.alias == made.alias && row.current);
    let is_newest = old.is_none_or(|old| old.version < made.version);
    let old = old.map(|old| old.id).filter(|_| is_newest);
    let new = row(made.into_known(is_newest), store.clock.now_ms());
    match store.keyring.add_version(new.clone(), old).await {
        Ok(()) => {}
        Err(KeyringError::Conflict) => {
            store.keys.refresh().await?;
            let is_new = rows.iter().all(|row| row.alias != new.alias);
            let what = if is_new { "somebody else made alias" } else { "another node rotated" };
            return Err(LifeError::Conflict(format!("{what} {} at the same moment", new.alias)));
        }
        Err(error) => return Err(error.into()),
    }
    store.keys.refresh().await?;
    let (alias, version, id) = (&new.alias, new.version, new.id);
    info!(%alias, %version, %id, wraps = is_newest, "this version of the master key is known from now on");
    // What does not wrap: the version before, or one that was adopted late.
    if let Some(id) = if is_newest { old } else { Some(id) } {
        retire_later(store, id);
    }
    Ok(new)
}

/// The token itself keeps an old version from wrapping, once no request can have chosen it.
fn retire_later(store: &Store, id: MasterKeyId) {
    let masters = store.masters.clone();
    store.run_beside(async move {
        tokio::time::sleep(RETIRE_AFTER).await;
        if let Err(error) = masters.retire_master_key(&id).await {
            warn!(%id, %error, "the token keeps letting an old version wrap; the keyring does not");
        }
    });
}
