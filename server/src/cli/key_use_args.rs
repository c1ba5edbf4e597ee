//! The options that say how keys are used and where that is told.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::key::KeyUseConfig;

/// Where uses of master keys are told.
#[derive(Args)]
pub(super) struct AuditArgs {
    /// File to which every use of a master key is appended, a JSON object a line [default: DIR/audit.log].
    #[arg(long, global = true, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl AuditArgs {
    /// The settings these options make.
    pub(super) fn config(&self) -> Result<KeyUseConfig, Failure> {
        let audit_log = self.audit_log.as_deref().map(std::path::absolute).transpose()?;
        Ok(KeyUseConfig { audit_log })
    }
}

/// How keys are used.
#[derive(Args)]
pub(super) struct KeyUseArgs {
    #[command(flatten)]
    audit: AuditArgs,
}

impl KeyUseArgs {
    /// The settings these options make.
    pub(super) fn config(&self) -> Result<KeyUseConfig, Failure> {
        self.audit.config()
    }
}
