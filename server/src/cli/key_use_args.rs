//! The options that say how keys are used and where that is told.

use std::path::PathBuf;
use std::time::Duration;

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
    /// What is given here comes before what was told elsewhere.
    pub(super) fn apply(&self, told: &mut KeyUseConfig) -> Result<(), Failure> {
        if let Some(path) = &self.audit_log {
            told.audit_log = Some(std::path::absolute(path)?);
        }
        Ok(())
    }
}

/// How keys are used.
#[derive(Args)]
pub(super) struct KeyUseArgs {
    #[command(flatten)]
    audit: AuditArgs,
    /// Data keys held unwrapped, so that a repeated GET asks no HSM; 0: none [default: 10000].
    #[arg(long, value_name = "COUNT")]
    key_cache_entries: Option<usize>,
    /// A data key is used so long before the HSM is asked again [default: 300].
    #[arg(long, value_name = "SECONDS")]
    key_cache_seconds: Option<u64>,
    /// And so often [default: 10000].
    #[arg(long, value_name = "COUNT")]
    key_cache_uses: Option<u64>,
    /// While the HSM is away, a data key is used so long, and as often as it is needed [default: 3600].
    #[arg(long, value_name = "SECONDS")]
    offline_seconds: Option<u64>,
    /// New buckets take writes with customers' keys (SSE-C). Without it they block them, as S3 does, until
    /// PutBucketEncryption says otherwise.
    #[arg(long)]
    new_buckets_take_sse_c: bool,
}

impl KeyUseArgs {
    /// What is given here comes before what was told elsewhere.
    pub(super) fn apply(&self, told: &mut KeyUseConfig) -> Result<(), Failure> {
        self.audit.apply(told)?;
        told.new_buckets_take_sse_c |= self.new_buckets_take_sse_c;
        let cache = &mut told.cache;
        cache.entries_max = self.key_cache_entries.unwrap_or(cache.entries_max);
        cache.lifetime = self.key_cache_seconds.map_or(cache.lifetime, Duration::from_secs);
        cache.uses_max = self.key_cache_uses.unwrap_or(cache.uses_max);
        cache.offline_lifetime = self.offline_seconds.map_or(cache.offline_lifetime, Duration::from_secs);
        Ok(())
    }
}
