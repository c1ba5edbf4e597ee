//! Whether a store can work: asks each of its parts, for `/-/health/ready`.
//!
//! Each part gets a moment; one that does not answer is in trouble too. Nothing is written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::Access;
use strongroom_hsm::Health;

use crate::http::{Readiness, Trouble};
use crate::store::Store;

const PATIENCE: Duration = Duration::from_secs(2);

/// The readiness of one open store.
pub struct StoreReadiness {
    store: Arc<Store>,
    blobs: PathBuf,
}

impl StoreReadiness {
    /// Of `store`, whose blobs lie in the folder `blobs`.
    pub fn new(store: Arc<Store>, blobs: PathBuf) -> Self {
        Self { store, blobs }
    }

    async fn hsm(&self) -> Result<(), String> {
        match self.store.masters.health().await {
            Health::Ready => Ok(()),
            Health::Degraded { reason } => Err(reason),
        }
    }

    async fn folder(&self) -> Result<(), String> {
        let folder = self.blobs.clone();
        let asked =
            tokio::task::spawn_blocking(move || rustix::fs::access(&folder, Access::WRITE_OK | Access::EXEC_OK));
        match asked.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("cannot write to {}: {error}", self.blobs.display())),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[async_trait]
impl Readiness for StoreReadiness {
    async fn troubles(&self) -> Vec<Trouble> {
        let catalog = async { self.store.catalog.store().await.map(drop).map_err(|error| error.to_string()) };
        let keyring = async { self.store.keyring.identity().await.map(drop).map_err(|error| error.to_string()) };
        let asked = tokio::join!(
            in_time("catalog", catalog),
            in_time("keyring", keyring),
            in_time("blobs", self.folder()),
            in_time("hsm", self.hsm()),
            in_time("audit", async { self.store.audit.check().map_err(|error| error.to_string()) }),
        );
        [asked.0, asked.1, asked.2, asked.3, asked.4].into_iter().flatten().collect()
    }
}

async fn in_time(part: &'static str, answer: impl Future<Output = Result<(), String>>) -> Option<Trouble> {
    let reason = match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(())) => return None,
        Ok(Err(reason)) => reason,
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    Some(Trouble { part, reason })
}
