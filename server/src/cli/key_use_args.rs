//! The options that say how keys are used and where that is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use strongroom_hsm::CacheLimits;

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
        Ok(KeyUseConfig { audit_log, ..KeyUseConfig::default() })
    }
}

/// How keys are used.
#[derive(Args)]
pub(super) struct KeyUseArgs {
    #[command(flatten)]
    audit: AuditArgs,
    /// Data keys held unwrapped, so that a repeated GET asks no HSM; 0: none.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    key_cache_entries: usize,
    /// A data key is used so long before the HSM is asked again.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    key_cache_seconds: u64,
    /// And so often.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    key_cache_uses: u64,
    /// While the HSM is away, a data key is used so long, and as often as it is needed.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    offline_seconds: u64,
    /// New buckets take writes with customers' keys (SSE-C). Without it they block them, as S3 does, until
    /// PutBucketEncryption says otherwise.
    #[arg(long)]
    new_buckets_take_sse_c: bool,
}

impl KeyUseArgs {
    /// The settings these options make.
    pub(super) fn config(&self) -> Result<KeyUseConfig, Failure> {
        let cache = CacheLimits {
            entries_max: self.key_cache_entries,
            lifetime: Duration::from_secs(self.key_cache_seconds),
            uses_max: self.key_cache_uses,
            offline_lifetime: Duration::from_secs(self.offline_seconds),
        };
        let new_buckets_take_sse_c = self.new_buckets_take_sse_c;
        Ok(KeyUseConfig { cache, new_buckets_take_sse_c, ..self.audit.config()? })
    }
}
