//! Which processes have a catalog open, as the operating system knows it: each holds a shared lock on a file beside it.
//!
//! Who gets that lock for itself is the only one at that moment, so the sessions that the catalog calls open then are of
//! processes that ended, and need no lease to run out. One of its own it opens only behind the shared lock: nobody who
//! comes later takes it for dead. A folder's lock would not do: another node names the catalog from a folder of its own.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{StartError, folder};
use crate::catalog::{Catalog, SessionState};
use crate::id::SessionId;

/// Holds the shared lock until it is dropped, or the process ends.
pub(super) struct Presence(#[expect(dead_code, reason = "held for its lock")] File);

impl Presence {
    /// Enters; and the sessions of processes that ended, as far as that is known at once.
    ///
    /// # Errors
    /// The file cannot be made or locked; the catalog's.
    pub(super) async fn enter(path: &Path, catalog: &dyn Catalog) -> Result<(Self, Vec<SessionId>), StartError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".nodes");
        let path = Path::new(&name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let file = file.map_err(folder("write to", path))?;
        let ended = match file.try_lock() {
            Ok(()) => open_sessions(catalog).await?,
            Err(TryLockError::WouldBlock) => Vec::new(),
            Err(TryLockError::Error(error)) => return Err(folder("lock", path)(error)),
        };
        // Waits for no more than another that is just here.
        file.lock_shared().map_err(folder("lock", path))?;
        Ok((Self(file), ended))
    }
}

async fn open_sessions(catalog: &dyn Catalog) -> Result<Vec<SessionId>, StartError> {
    let sessions = catalog.sessions().await?;
    Ok(sessions.into_iter().filter(|session| session.state == SessionState::Open).map(|session| session.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::SqliteCatalog;
    use crate::id::StoreId;

    #[tokio::test]
    async fn only_who_comes_when_nobody_is_there_calls_a_session_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        let catalog = SqliteCatalog::open(&path).unwrap();
        catalog.found(StoreId::from_bytes([1; 16])).await.unwrap();
        let [left, first, second] = [7, 8, 9].map(|byte| SessionId::from_bytes([byte; 16]));
        catalog.open_session(left).await.unwrap();

        let (present, ended) = Presence::enter(&path, &catalog).await.unwrap();
        assert_eq!(ended, [left]);
        catalog.open_session(first).await.unwrap();
        let (other, ended) = Presence::enter(&path, &catalog).await.unwrap();
        assert_eq!(ended, [], "the first is there");
        catalog.open_session(second).await.unwrap();
        drop(present);
        assert_eq!(Presence::enter(&path, &catalog).await.unwrap().1, [], "the second still is");
        drop(other);
        let (_present, mut ended) = Presence::enter(&path, &catalog).await.unwrap();
        ended.sort();
        assert_eq!(ended, [left, first, second]);
    }
}
