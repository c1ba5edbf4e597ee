//! Forgets data keys whose time is over, whether or not anybody asks for them again.

use std::sync::Weak;
use std::time::Duration;

use crate::store::Store;

/// A key is in memory at most so much longer than its time.
const REST: Duration = Duration::from_secs(1);

/// Runs until the task is aborted.
pub async fn run(store: Weak<Store>) {
    loop {
        tokio::time::sleep(REST).await;
        let Some(store) = store.upgrade() else { return };
        store.keys.forget_old().await;
    }
}
