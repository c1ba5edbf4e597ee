//! The options of every command that an administrator gives: where the store is, and where uses of keys are told.

use clap::Args;

use super::Failure;
use super::key_use_args::AuditArgs;
use super::store_args::StoreArgs;
use crate::admin::Admin;
use crate::config::ServeConfig;

/// Whom to reach.
#[derive(Args)]
pub(super) struct AdminArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    audit: AuditArgs,
}

impl AdminArgs {
    /// The settings these options make, for a command that a running server does.
    pub(super) fn config(&self) -> Result<ServeConfig, Failure> {
        let mut config = self.store.config_beside_server()?;
        self.audit.apply(&mut config.use_of_keys)?;
        Ok(config)
    }

    /// The server that runs, or the store itself where none does.
    pub(super) async fn reach(&self) -> Result<Admin, Failure> {
        Ok(Admin::reach(&self.config()?).await?)
    }
}
