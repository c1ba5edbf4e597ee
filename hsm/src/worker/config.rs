//! What a supervisor is told: which program is the worker, which module and token, and its limits.

use crate::pkcs11::{PinSource, TokenSelector};
use crate::provider::Alias;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The program whose `main` calls [`run_worker`](super::run_worker), and the arguments that make it do so.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments; never a secret.
    pub args: Vec<OsString>,
}

/// One PKCS#11 module and one token in it.
#[derive(Debug, Clone)]
pub struct ModuleConfig {
    /// The shared object.
    pub module: PathBuf,
    /// Which of its tokens.
    pub token: TokenSelector,
    /// Where the worker finds the PIN.
    pub pin: PinSource,
    /// The aliases whose master keys lie there; any other is refused.
    pub aliases: Vec<Alias>,
    /// Variables that the module reads, set in the worker over what it inherits. Only names that would be inherited
    /// are taken (`SOFTHSM2_CONF`, `KRYOPTIC_CONF`, `P11_KIT_SERVER_ADDRESS`, `TPM2_PKCS11_*`).
    pub environment: Vec<(String, OsString)>,
    /// Bounds on workers, waiting callers and time.
    pub limits: Limits,
}

/// Bounds on workers, waiting callers and time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Worker processes; each is inside the module with one call at a time. Default 2.
    pub workers: usize,
    /// Callers that may wait; one more is told [`Away`](crate::KeyError::Away) at once. Default 1,024.
    pub waiting: usize,
    /// A worker that has not answered a call for so long is killed. Default 10 s.
    pub deadline: Duration,
    /// A worker idle for so long opens a canary, to notice a lost HSM before a request does. Default 2 s.
    pub probe_every: Duration,
    /// Longest pause between attempts to reach a lost HSM. Default 1 s.
    pub retry_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 2,
            waiting: 1024,
            deadline: Duration::from_secs(10),
            probe_every: Duration::from_secs(2),
            retry_every: Duration::from_secs(1),
        }
    }
}

/// Whether the worker gets this variable: what modules and the loader need, nothing of the server's.
pub(super) fn may_inherit(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "CREDENTIALS_DIRECTORY",
        "HOME",
        "KRYOPTIC_CONF",
        "LANG",
        "P11_KIT_SERVER_ADDRESS",
        "PATH",
        "SOFTHSM2_CONF",
        "TMPDIR",
        "TZ",
    ];
    NAMES.contains(&name) || name.starts_with("TPM2_PKCS11_") || name.starts_with("LC_")
}
