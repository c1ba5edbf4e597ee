//! This process's session: opened once, shown to be alive while the process lives.
//!
//! Blobs and keyring rows carry its id and every catalog commit checks it. Whoever finds that a session's beat stood
//! still for a whole [`LEASE`], by its own monotonic clock, may close it; its process then commits nothing any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{error, warn};

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::id::SessionId;

/// A session that does not beat for so long is taken for dead.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// Often enough that several beats may fail within a lease.
const BEAT: Duration = Duration::from_secs(10);

/// Renews `session` until the handle is aborted, or the session is found closed.
pub(crate) fn keep_alive(catalog: Arc<dyn Catalog>, session: SessionId) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(BEAT).await;
            match catalog.renew_session(session).await {
                Ok(()) => {}
                Err(CatalogError::SessionClosed) => {
                    error!(%session, "this process was taken for dead and commits nothing any more: restart it");
                    return;
                }
                Err(error) => warn!(%session, %error, "cannot renew the session"),
            }
        }
    })
}
