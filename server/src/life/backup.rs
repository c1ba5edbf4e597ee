//! Copies of the keyring: made while it is in use, and brought back without bringing back what was erased.
//!
//! A copy holds wrapped keys only: without the token it opens nothing. Erasing is complete when the last copy that holds
//! the key is gone, or was restored by [`restore`], which erases again what the catalog no longer names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strongroom_engine::{KeyId, Kind};

use super::missing::missing;
use super::{LifeError, PAGE};
use crate::catalog::{Catalog, Condemnation};
use crate::error::OpError;
use crate::keyring::{Entry, Keyring as _, KeyringAdmin as _, SqliteKeyring};
use crate::store::Store;

/// Writes a copy of the keyring to a file that does not exist yet.
///
/// # Errors
/// The keyring's, with the path.
pub async fn back_up(store: &Store, to: &Path) -> Result<(), LifeError> {
    Ok(store.keyring.back_up(to).await?)
}

/// What a restore did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Restored {
    /// Wrapped keys that are back.
    pub kept: u64,
    /// Wrapped keys that had been erased since the copy was made, and are erased again.
    pub erased_again: u64,
    /// Keys that the catalog names and the copy does not have: what they sealed since is lost.
    pub missing: u64,
}

/// Puts the copy `from` in the place of the keyring `to`, of the store that `catalog` belongs to. Nobody may have the
/// keyring open. Until the copy is whole and what was erased is erased again, nothing stands in its place. A log that the
/// lost keyring left is set aside: it would be read as the copy's own.
///
/// # Errors
/// [`LifeError::NotNow`] if there is a keyring already, or the copy is of another store.
pub async fn restore(from: &Path, to: &Path, catalog: &dyn Catalog) -> Result<Restored, LifeError> {
    let [_, log, index] = files_of(to);
    let lost_log = with_ending(&log, ".lost");
    let in_the_way = [to.to_owned()].into_iter().chain(exists(&log)?.then(|| lost_log.clone()));
    for path in in_the_way {
        if exists(&path)? {
            return Err(LifeError::NotNow(format!(
                "{} is there: move it away first; keys made since the copy are in it alone",
                path.display()
            )));
        }
    }
    let unfinished = with_ending(to, ".restoring");
    remove(&unfinished)?;
    let restored = copy_without_erased(from, &unfinished, catalog).await;
    let restored = restored.inspect_err(|_| drop(remove(&unfinished)))?;
    if exists(&log)? {
        std::fs::rename(&log, &lost_log).map_err(|error| on(&log, &error))?;
        tracing::warn!(path = %lost_log.display(), "what the lost keyring left of its log is kept here");
    }
    remove_file(&index)?;
    std::fs::rename(&unfinished, to).map_err(|error| on(to, &error))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| on(folder, &error))?;
    Ok(restored)
}

/// Makes the copy, and leaves one file that is whole.
async fn copy_without_erased(from: &Path, to: &Path, catalog: &dyn Catalog) -> Result<Restored, LifeError> {
    SqliteKeyring::copy(from, to).await?;
    let copy = SqliteKeyring::open(to)?;
    // Erasing, be it of nothing, empties the log, which goes when the copy is closed.
    without_erased(&copy, catalog).await
}

/// Erases what no catalog row names, and what was destroyed on purpose; counts what is missing.
async fn without_erased(copy: &SqliteKeyring, catalog: &dyn Catalog) -> Result<Restored, LifeError> {
    let identity = copy.identity().await?.map(|identity| identity.store);
    if identity.is_none() || identity != catalog.store().await? {
        return Err(LifeError::NotNow("the copy and the catalog belong to different stores".to_owned()));
    }
    let (mut restored, mut after) = (Restored { kept: 0, erased_again: 0, missing: 0 }, None);
    loop {
        let page = copy.page(after, PAGE).await?;
        let ids: Vec<KeyId> = page.iter().map(|entry| entry.id).collect();
        let Some(last) = ids.last().copied() else { break };
        after = Some(last);
        let named = catalog.named(ids.iter().copied().map(Condemnation::Key).collect()).await?;
        let destroyed = catalog.destroyed(ids).await?;
        let mut erased = Vec::new();
        for Entry { id, row } in page {
            // The catalog names neither the store key nor bucket keys.
            let stays = matches!(row?.kind, Kind::StoreKey | Kind::BucketKey)
                || (named.contains(&Condemnation::Key(id)) && !destroyed.contains(&id));
            if stays { restored.kept += 1 } else { erased.push(id) }
        }
        restored.erased_again += erased.len() as u64;
        copy.erase(erased).await?;
    }
    let unused = copy.erase_unused_bucket_keys(KeyId::from_bytes([0xff; 16])).await?;
    restored.kept -= unused;
    restored.erased_again += unused;
    restored.missing = missing(catalog, copy).await?;
    Ok(restored)
}

/// A database file, its log, and what belongs to that.
fn files_of(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|ending| with_ending(path, ending))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn exists(path: &Path) -> Result<bool, LifeError> {
    path.try_exists().map_err(|error| on(path, &error))
}

/// Removes a database that nobody has open.
fn remove(path: &Path) -> Result<(), LifeError> {
    files_of(path).iter().try_for_each(|path| remove_file(path))
}

fn remove_file(path: &Path) -> Result<(), LifeError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(on(path, &error)),
        _ => Ok(()),
    }
}

fn on(path: &Path, error: &std::io::Error) -> LifeError {
    LifeError::Store(OpError::Unavailable(format!("{}: {error}", path.display())))
}
