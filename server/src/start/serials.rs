//! Which token the master keys lie on, by serial: remembered beside the keyring, so that another token under the same
//! label is refused by name before anything is asked of it.
//!
//! A serial is remembered once the token was seen to hold the alias's current version. No secret, and no authority: who
//! alters it makes a store refuse its token, no more. Lost, it is written again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use strongroom_hsm::Alias;

use super::{StartError, folder};
use crate::store::Store;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Serials by alias.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Serials(BTreeMap<Alias, String>);

impl Serials {
    /// Those that are remembered beside this keyring.
    pub(super) fn read(keyring: &Path) -> Result<Self, StartError> {
        let path = path(keyring);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(folder("read", &path)(error)),
        };
        serde_json::from_slice(&text).map(Self).map_err(|error| folder("read", &path)(error.into()))
    }

    /// Of the first alias that `is_meant`.
    pub(super) fn first(&self, is_meant: impl Fn(&Alias) -> bool) -> Option<&str> {
        self.0.iter().find(|(alias, _)| is_meant(alias)).map(|(_, serial)| serial.as_str())
    }

    /// Writes down where the master keys of `alias` lie, if there is a serial and it is not known yet.
    pub(super) fn remember(keyring: &Path, alias: &Alias, serial: Option<String>) -> Result<(), StartError> {
        let mut all = Self::read(keyring)?;
        match serial {
            Some(serial) if all.0.get(alias) != Some(&serial) => {
                tracing::info!(%alias, serial, "the token with this serial holds the master keys");
                all.0.insert(alias.clone(), serial);
                all.write(&path(keyring))
            }
            _ => Ok(()),
        }
    }

    /// As a whole, or not at all.
    fn write(&self, path: &Path) -> Result<(), StartError> {
        let making = path.with_extension("tokens.new");
        let write = || {
            let text = serde_json::to_vec_pretty(&self.0)?;
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&making)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&making, path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        write().map_err(folder("write", path))
    }
}

/// `keyring.sqlite.tokens`, for example.
fn path(keyring: &Path) -> PathBuf {
    let mut name = keyring.as_os_str().to_owned();
    name.push(".tokens");
    name.into()
}

/// Remembers what is not remembered yet, as long as the store is open: aliases that were made since, tokens that moved.
pub(super) async fn keep(store: Weak<Store>, keyring: PathBuf) {
    loop {
        match store.upgrade() {
            Some(store) => {
                if let Err(reason) = look(&store, &keyring).await {
                    tracing::debug!(reason, "serials of tokens are written down later");
                }
            }
            None => return,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(store: &Store, keyring: &Path) -> Result<(), String> {
    let rows = store.keyring.master_keys().await.map_err(|error| error.to_string())?;
    let known = Serials::read(keyring).map_err(|error| error.to_string())?;
    let is_new = |alias: &Alias, serial: &String| known.0.get(alias) != Some(serial);
    let current = rows.into_iter().filter(|row| row.current);
    let new: Vec<_> = current
        .filter_map(|row| Some((store.masters.serial_of(&row.alias)?, row)))
        .filter(|(serial, row)| is_new(&row.alias, serial))
        .collect();
    for (serial, row) in new {
        let held = store.masters.list_versions(&row.alias).await.map_err(|error| error.to_string())?;
        if held.iter().any(|key| key.id == row.id) {
            Serials::remember(keyring, &row.alias, Some(serial)).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_remembered_for_its_alias() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = folder.path().join("keyring.sqlite");
        let (first, other) = (Alias::default_alias(), Alias::new("team/other").unwrap());
        assert!(Serials::read(&keyring).unwrap() == Serials::default());
        Serials::remember(&keyring, &first, None).unwrap();
        assert!(!path(&keyring).exists());
        Serials::remember(&keyring, &first, Some("7".to_owned())).unwrap();
        Serials::remember(&keyring, &other, Some("8".to_owned())).unwrap();
        let read = Serials::read(&keyring).unwrap();
        assert_eq!(read.first(|alias| *alias == first), Some("7"));
        assert_eq!(read.first(|alias| *alias == other), Some("8"));
        assert_eq!(read.first(|_| false), None);
    }
}
