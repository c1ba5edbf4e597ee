//! What is known of master keys: what the keyring says, and what only a token knows.
//!
//! Reads alone. The keyring answers also while an HSM is away; then what is missing is said beside what is there.

use serde::{Deserialize, Serialize};
use strongroom_hsm::{Alias, MasterKeyId, TokenKey, Version};

use super::rotate::is_of_this_store;
use super::{LifeError, MasterKeyName, state_name};
use crate::keyring::{AliasRow, MasterKeyRow, MasterKeyState, Tally};
use crate::store::Store;

/// Versions of master keys, as they are shown to people and scripts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyList {
    /// The versions.
    pub keys: Vec<VersionReport>,
    /// HSMs that could not be asked, and why: keys that the keyring does not know and they do are not in the list.
    pub missing: Vec<String>,
}

/// One version of a master key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionReport {
    /// Its alias.
    pub alias: Alias,
    /// Its version.
    pub version: Version,
    /// CKA_ID, in hexadecimal.
    pub id: MasterKeyId,
    /// Whether it wraps.
    pub current: bool,
    /// `enabled`, `disabled`, `pending-destruction`, `destroyed`, or `unknown-to-keyring`.
    pub state: String,
    /// Where destruction is pending: the earliest time, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub destroy_after_ms: Option<u64>,
    /// Milliseconds since 1970; 0 for one that the keyring does not know.
    pub created_ms: u64,
    /// How many wrapped keys lie under it.
    pub wrapped: u64,
    /// How many wraps processes have set aside: at least as many as were made. It is rotated before 2^32.
    pub wraps: u64,
    /// A new version comes by itself so many days after this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rotation_days: Option<u32>,
    /// Name of the provider that holds it, as configured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
}

/// Every version of every master key, those that lie on a token and are not known to the keyring included, as far as
/// HSMs can be asked.
///
/// # Errors
/// The keyring's.
pub async fn list(store: &Store) -> Result<KeyList, LifeError> {
    let rows = store.keyring.master_keys().await?;
    let tally = store.keyring.tally().await?;
    let aliases = store.keyring.aliases().await?;
    let on_token = store.masters.holdings().await;
    let known = rows.iter().map(|row| in_keyring(row, &tally, &aliases));
    let is_missing = |id: &MasterKeyId| is_of_this_store(&rows, id) && rows.iter().all(|row| row.id != *id);
    let strays = on_token.keys.iter().filter(|key| is_missing(&key.id)).map(on_token_alone);
    let mut keys: Vec<VersionReport> = known.chain(strays).collect();
    for key in &mut keys {
        key.provider = store.masters.provider_of(&key.alias);
    }
    Ok(KeyList { keys, missing: on_token.missing })
}

/// As [`list`], of one alias, or of one version of it.
///
/// # Errors
/// [`LifeError::NoSuchKey`]; [`LifeError::NotNow`] if an HSM that is away may have it; the keyring's.
pub async fn describe(store: &Store, name: &MasterKeyName) -> Result<KeyList, LifeError> {
    let mut found = list(store).await?;
    found.keys.retain(|key| name.covers(&key.alias, key.version));
    match (found.keys.is_empty(), found.missing.is_empty()) {
        (false, _) => Ok(found),
        (true, true) => Err(LifeError::NoSuchKey(name.to_string())),
        (true, false) => Err(LifeError::NotNow(format!(
            "the keyring knows no master key {name}, and not every HSM can be asked: {}",
            found.missing.join("; ")
        ))),
    }
}

fn in_keyring(row: &MasterKeyRow, tally: &[Tally], aliases: &[AliasRow]) -> VersionReport {
    VersionReport {
        alias: row.alias.clone(),
        version: row.version,
        id: row.id,
        current: row.current,
        state: state_name(row.state).to_owned(),
        destroy_after_ms: match row.state {
            MasterKeyState::PendingDestruction { after_ms } => Some(after_ms),
            _ => None,
        },
        created_ms: row.created_ms,
        wrapped: tally.iter().filter(|tally| tally.parent == row.id).map(|tally| tally.count).sum(),
        wraps: row.wraps,
        rotation_days: aliases.iter().find(|own| own.alias == row.alias).and_then(|own| own.rotation_days),
        provider: None,
    }
}

fn on_token_alone(key: &TokenKey) -> VersionReport {
    VersionReport {
        alias: key.alias.clone(),
        version: key.version,
        id: key.id,
        current: false,
        state: "unknown-to-keyring".to_owned(),
        destroy_after_ms: None,
        created_ms: 0,
        wrapped: 0,
        wraps: 0,
        rotation_days: None,
        provider: None,
    }
}
